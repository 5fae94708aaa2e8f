"""What it takes to fold many records into tables, without the bootstrap: time and memory of the command.

python benchmarks/leaderboard.py                  # 10,000 records: 60 methods on 15 categories, 11 or 12 seeds each
python benchmarks/leaderboard.py --records 1000 --turns 1

What else runs on a machine only adds to a command's time: the fastest of some turns is told.
The records are made up from a published one in leaderboards/records, each with a fingerprint of its own.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from copy import deepcopy
from pathlib import Path

from bench.config.cell import fingerprint_of
from bench.data.datasets.mvtec_ad_facts import mvtec_categories
from bench.records.record import RECORD, SCHEMA

METHODS = 60
EXAMPLE = Path(__file__).parents[1] / "leaderboards" / "records"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, help="where to leave the tables")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, out = Path(folder) / "runs", arguments.out or Path(folder) / "tables"
        write_records(runs, arguments.records)
        seconds, mebibytes = map(min, zip(*(measure(runs, out) for _ in range(arguments.turns)), strict=True))
    print(f"{arguments.records} records: {seconds:.2f} s of one core, {mebibytes:.0f} MiB")


def measure(runs: Path, out: Path) -> tuple[float, float]:
    """Processor seconds of the whole command, interpreter and imports included, and its peak memory in MiB."""
    command = [sys.executable, "-m", "bench", "leaderboard", str(runs), "--out", str(out), "--no-bootstrap"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)  # of this process alone, not the largest of all children so far
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def write_records(runs: Path, count: int) -> None:
    """Write `count` finished records, of as many cells."""
    example = json.loads(next(iter(sorted(EXAMPLE.rglob(f"vae_cpu/screw/*/{RECORD}")))).read_text(encoding="utf-8"))
    assert example["schema"] == SCHEMA
    rng = random.Random(0)
    categories = list(mvtec_categories())
    for number in range(count):
        method, rest = number % METHODS, number // METHODS
        category, seed = categories[rest % len(categories)], rest // len(categories)
        record = deepcopy(example)
        record |= {"model": f"vae_{method:02}", "category": category, "seed": seed, "overrides": {"seed": seed}}
        record["config"] |= {"category": category, "seed": seed}
        record["config"]["model"] |= {"name": record["model"], "latent_dim": 8 + method}
        record["metrics"] = {name: rng.random() for name in example["metrics"]}
        record["data"] |= {"digest": f"{category:0<64}", "predictions_sha256": None}
        record["fingerprint"] = fingerprint_of(record["config"], record["weights"], record["data"]["digest"])
        folder = runs / record["model"] / category / record["fingerprint"]
        folder.mkdir(parents=True)
        (folder / RECORD).write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
