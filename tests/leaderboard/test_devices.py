"""A row over runs of different devices says so, in every format."""

import csv
from pathlib import Path

import pytest

from fake_records import make_cost, make_record, write_record

NAME = "leaderboards/mvtec_ad-one-class"


@pytest.fixture
def fold(bench, own_folder):
    """Fold one method's runs, of which seed 1 ran on `device`, on these categories; the text of a format."""

    def run(device: str, ending: str, *categories: str) -> str:
        for category in categories or ("screw",):
            for seed, where in enumerate(("cpu", device)):
                cost = make_cost(10.0).model_copy(update={"device": where})
                write_record(own_folder / "runs", make_record("padim", category, seed, cost=cost))
        outcome = bench("leaderboard", "runs", "--no-bootstrap")
        assert outcome.status == 0, outcome.stderr
        return Path(f"{NAME}.{ending}").read_text()

    return run


@pytest.mark.parametrize("ending", ["md", "html"])
def test_seeds_on_two_devices_are_marked_and_named(fold, ending):
    text = fold("NVIDIA H200", ending)
    assert "0 1 ‡" in text or "2 ‡" in text
    assert (
        "Seeds on different devices, whose costs do not compare: padim on NVIDIA H200 (seed 1), cpu (seed 0)." in text
    )


@pytest.mark.parametrize("ending", ["md", "html"])
def test_a_mean_over_categories_on_two_devices_is_marked_and_named(fold, ending):
    assert "Runs on different devices: padim on NVIDIA H200, cpu." in fold("NVIDIA H200", ending, "screw", "bottle")


def test_a_csv_names_the_devices_of_each_line(fold):
    rows = list(csv.DictReader(fold("NVIDIA H200", "csv").splitlines()))
    assert {row["devices"] for row in rows} == {"NVIDIA H200; cpu"}


@pytest.mark.parametrize("ending", ["md", "html"])
def test_seeds_on_one_device_are_not_marked(fold, ending):
    assert "‡" not in fold("cpu", ending, "screw", "bottle")


def test_a_run_on_the_processor_of_a_machine_with_a_gpu_is_the_processor_s(bench, own_folder):
    environment = {"processor": "a processor", "threads": 2, "gpu": "NVIDIA H200"}
    write_record(own_folder / "runs", make_record(environment=environment))
    assert bench("leaderboard", "runs").status == 0
    text = Path(f"{NAME}.md").read_text()
    assert "a processor, 2 threads" in text
    assert "NVIDIA" not in text
