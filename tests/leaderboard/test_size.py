"""A leaderboard of many records does not keep its reader waiting."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "leaderboard.py"


@pytest.mark.slow
def test_ten_thousand_records_take_ten_seconds_of_one_core_and_500_megabytes(own_folder):
    # As a command: a process that pytest itself starts would be told to have had pytest's memory.
    ran = subprocess.run([sys.executable, BENCHMARK, "--out", own_folder], check=True, capture_output=True, text=True)
    seconds, mebibytes = map(
        float, re.fullmatch(r"10000 records: ([\d.]+) s of one core, (\d+) MiB\n", ran.stdout).groups()
    )
    assert seconds < 10  # five on an idle machine
    assert mebibytes < 500
    lines = (own_folder / "mvtec_ad-one-class.csv").read_text().splitlines()
    assert sum(",image_auroc," in line for line in lines) == 60 * (15 + 3), "every category of every method, and means"
