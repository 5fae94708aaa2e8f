"""A leaderboard of many records does not keep its reader waiting."""

import importlib.util
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "leaderboard.py"


@pytest.mark.slow
def test_ten_thousand_records_take_seconds_of_one_core_and_under_500_megabytes(own_folder):
    specification = importlib.util.spec_from_file_location("leaderboard_benchmark", BENCHMARK)
    benchmark = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(benchmark)
    benchmark.write_records(own_folder / "runs", 10_000)
    # 4.5 s by benchmarks/leaderboard.py; where others use the machine, its caches are theirs as well.
    turns = [benchmark.measure(own_folder / "runs", own_folder / "tables") for _ in range(3)]
    assert min(seconds for seconds, _ in turns) < 8
    assert min(megabytes for _, megabytes in turns) < 500
    lines = (own_folder / "tables" / "mvtec_ad-one-class.csv").read_text().splitlines()
    assert sum(",image_auroc," in line for line in lines) == 60 * (15 + 3), "every category of every method, and means"
