"""What workers bring: twelve short cells by one worker and by two, and what a cell costs beyond its work.

Whole commands, one after the other, each into an empty folder of runs, from a warm image cache. Run it on an otherwise
idle machine of two cores or more:

    python benchmarks/sweep.py
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

CELLS = (
    *("--models", "vae", "--data", "synthetic", "--categories", "screw"),
    *("--set", "model.latent_dim=8,16"),
    *("--data.image_size", "64", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--wandb", "disabled"),
)
LAUNCHES = {
    "two workers of one thread": (2, 1),
    "one worker of one thread": (1, 1),
    "one worker of two threads": (1, 2),
}


def sweep(workers: int, threads: int, seeds: int, samples: int, runs: Path) -> tuple[float, list[dict[str, Any]]]:
    """Wall time of the whole command in seconds, and its cells."""
    command = [sys.executable, "-m", "bench", "sweep", *CELLS, "--json", "--runs", str(runs)]
    command += ["--data.samples_per_epoch", str(samples), "--seeds", ",".join(map(str, range(seeds)))]
    command += ["--launcher.workers", str(workers), "--launcher.threads", str(threads)]
    start = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    cells: list[dict[str, Any]] = json.loads(done.stdout)
    return time.perf_counter() - start, cells


def beyond_work(cells: list[dict[str, Any]]) -> list[float]:
    """Seconds of each cell that were neither training nor test."""
    costs = [json.loads((Path(cell["folder"]) / "record.json").read_text())["cost"] for cell in cells]
    return [
        cell["seconds"] - cost["fit_seconds"] - cost["test_seconds"] for cell, cost in zip(cells, costs, strict=True)
    ]


def main() -> None:
    """Print seconds, ratios, and the cost of a cell beyond its work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1600, help="images per training epoch: the length of a cell")
    parser.add_argument("--seeds", type=int, default=6, help="two cells each")
    options = parser.parse_args()
    print(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    seconds: dict[str, float] = {}
    cells: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["BENCH_CACHE"] = str(Path(folder) / "cache")
        sweep(1, 1, 1, 16, Path(folder) / "warm")  # draws the images and fills the cache
        for number, (name, launch) in enumerate(LAUNCHES.items()):
            seconds[name], cells[name] = sweep(*launch, options.seeds, options.samples, Path(folder) / str(number))
        beyond = beyond_work(cells["one worker of one thread"])
    two, one, threaded = (seconds[name] for name in LAUNCHES)
    for name, value in seconds.items():
        own = sum(cell["seconds"] for cell in cells[name])
        print(f"{name:<28}{value:7.1f} s, {own:7.1f} s of it in cells")
    print(f"two workers against one of one thread    {one / two:.2f} times faster")
    print(f"two workers against one of two threads   {threaded / two:.2f} times faster")
    print(
        f"a cell beyond training and test: {median(beyond[1:]):.2f} s, at most {max(beyond[1:]):.2f} s; "
        f"the first of a worker {beyond[0]:.2f} s"
    )


if __name__ == "__main__":
    main()
