"""Time and peak memory of the exact pixel metrics: `python benchmarks/metrics.py --images 83 --size 900`."""

import argparse
import resource
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bench.metrics.pixel import PixelMetrics

TYPES = 3  # besides good; every fourth image is good


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9  # Linux counts in KiB


def images(count: int, size: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Noise (1, size, size) with two brighter discs of 1 % of the area in every defective image."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:size, :size]
    radius = size * (0.01 / np.pi) ** 0.5
    for index in range(count):
        defect_type = index % (TYPES + 1)
        mask = np.zeros((size, size), dtype=bool)
        for row, column in rng.uniform(radius, size - radius, (2 if defect_type else 0, 2)):
            mask |= (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        scores = rng.standard_normal((size, size), dtype=np.float32)
        scores[mask] += 1.5
        yield torch.from_numpy(scores)[None], torch.from_numpy(mask)[None], torch.tensor([defect_type])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=83)
    parser.add_argument("--size", type=int, default=900, help="height and width in pixels")
    arguments = parser.parse_args()

    imported = peak_gigabytes()
    metrics = PixelMetrics()
    updating = 0.0
    anomalous = 0
    for maps, masks, defect_types in images(arguments.images, arguments.size):
        anomalous += int(masks.numpy().sum())
        start = time.perf_counter()
        metrics.update(maps, masks, defect_types)
        updating += time.perf_counter() - start
    updated = peak_gigabytes()
    start, working = time.perf_counter(), time.process_time()
    result = metrics.compute()
    computing, working = time.perf_counter() - start, time.process_time() - working
    peak = peak_gigabytes()

    pixels = arguments.images * arguments.size**2
    print(f"{pixels / 1e6:.1f} million pixels, {anomalous / pixels:.2%} anomalous")
    print(f"update  {updating:5.2f} s in {arguments.images} calls, peak {updated:.2f} GB")
    print(
        f"compute {computing:5.2f} s ({working:.2f} s of CPU), peak {peak:.2f} GB, {peak - imported:.2f} above imports"
    )
    print(", ".join(f"{name} {value:.6f}" for name, value in result.overall.items()))


if __name__ == "__main__":
    main()
