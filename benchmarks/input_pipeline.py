"""How much a training epoch waits for its images: epochs from the warm cache against a loop over tensors in memory.

Both train the same autoencoder in turns. Run it on an otherwise idle machine:

    python benchmarks/input_pipeline.py --data synthetic --category screw
"""

import argparse
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median

import torch

from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.datasets.synthetic import Synthetic
from bench.data.loading import Batch
from bench.models.autoencoder import Autoencoder


def seconds_per_epoch(model: Autoencoder, optimizer: torch.optim.Optimizer, batches: Iterable[Batch]) -> float:
    """One epoch of plain training steps."""
    start = time.perf_counter()
    for batch in batches:
        optimizer.zero_grad()
        model.loss(model.on_after_batch_transfer(batch, 0))["loss"].backward()
        optimizer.step()
    return time.perf_counter() - start


def main() -> None:
    """Print the median seconds of each kind of epoch and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("mvtec_ad", "synthetic"), default="synthetic")
    parser.add_argument("--root", type=Path)
    parser.add_argument("--category", default="screw")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args()

    kind = Synthetic if options.data == "synthetic" else MVTecAD
    data = {
        augmented: kind(
            options.category,
            0,
            "model",
            root=options.root,
            batch_size=16,
            augmentation="symmetries" if augmented else "none",
            num_workers=options.workers,
        )
        for augmented in (False, True)
    }
    data[False].prepare_data()
    torch.manual_seed(0)
    model = Autoencoder(data[False].spec, residual="l2", grey=False)
    optimizer = model.configure_optimizers()
    plain, augmented = data[False].train_dataloader(), data[True].train_dataloader()
    in_memory = list(plain)
    kinds = {"in memory": in_memory, "warm cache": plain, "warm cache, augmented": augmented}
    for batches in kinds.values():  # warm-up: page cache, allocator, worker processes
        seconds_per_epoch(model, optimizer, batches)
    seconds: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.epochs):
        for name, batches in kinds.items():
            seconds[name].append(seconds_per_epoch(model, optimizer, batches))
    base = seconds["in memory"]
    spec = data[False].spec
    print(f"{spec.train_images} images of {spec.size} pixels, {torch.get_num_threads()} threads")
    for name, times in seconds.items():
        ratio = median(a / b for a, b in zip(times, base, strict=True))
        print(f"{name:<24}{median(times):8.2f} s an epoch   ratio {ratio:.3f}")


if __name__ == "__main__":
    main()
