"""Runs of few or dirty training images: their own tables and page, and no row elsewhere."""

import csv
import json
import re
from pathlib import Path

import pytest

import bench
from bench.serve.site import Site
from fake_records import change_record, make_record, write_record

SHOTS = Path("leaderboards/mvtec_ad-one-class-shots")
PLAIN = Path("leaderboards/mvtec_ad-one-class.md")


@pytest.fixture
def runs(own_folder: Path) -> Path:
    return own_folder / "runs"


@pytest.fixture
def command(request):
    """`bench` on a command line; here that word is the package."""
    return request.getfixturevalue("bench")


@pytest.fixture
def compile_tables(command):
    def run(*words: str) -> None:
        outcome = command("leaderboard", "runs", *words)
        assert outcome.status == 0, outcome.stderr

    return run


def add(runs: Path, shots: int | None, auroc: float, seed: int = 0, model: str = "one", **values) -> None:
    setting = {} if shots is None else {"shots": shots}
    overrides = {} if shots is None else {"data.shots": shots}
    record = make_record(model, seed=seed, auroc=auroc, data_settings=setting, overrides=overrides, train=320, **values)
    write_record(runs, record)


def fill(runs: Path) -> None:
    for seed, shift in enumerate((-0.1, 0.0, 0.1)):
        add(runs, 1, 0.5 + shift, seed)
        add(runs, 16, 0.8 + shift, seed)
        add(runs, None, 0.9, seed)


def cells(text: str, heading: str) -> list[list[str]]:
    part = next(each for each in re.split(r"^### ", text, flags=re.MULTILINE) if each.startswith(heading))
    rows = [line for line in part.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in rows]


def test_a_column_for_each_number_holds_mean_and_deviation_over_the_seeds(compile_tables, runs):
    fill(runs)
    compile_tables()
    titles, row = cells(SHOTS.with_suffix(".md").read_text(), "image AUROC")
    assert titles == ["method", "1", "16", "all (320)"]
    assert row == ["one", "0.5000 ± 0.1000", "0.8000 ± 0.1000", "0.9000 ± 0.0000"]


def test_the_csv_holds_the_same_in_full(compile_tables, runs):
    fill(runs)
    compile_tables()
    lines = list(csv.DictReader(SHOTS.with_suffix(".csv").read_text().splitlines()))
    found = {line["value"]: float(line["mean"]) for line in lines if line["metric"] == "image_auroc"}
    assert found == {"1": pytest.approx(0.5), "16": pytest.approx(0.8), "320": pytest.approx(0.9)}
    assert {line["seeds"] for line in lines} == {"3"}
    assert all(len(line["fingerprints"].split()) == 3 for line in lines)


def test_runs_of_few_images_stand_in_no_other_table(compile_tables, runs):
    fill(runs)
    compile_tables()
    text = PLAIN.read_text()
    assert "0.9000 ± 0.0000" in text
    assert "0.8000" not in text
    assert "shots" not in text


def test_a_method_that_was_run_on_all_images_alone_has_no_curve(compile_tables, runs):
    fill(runs)
    add(runs, None, 0.7, model="another")
    compile_tables()
    assert "another" not in SHOTS.with_suffix(".md").read_text()
    assert "another" in PLAIN.read_text()


def test_a_method_that_cannot_learn_from_so_few_has_an_empty_cell_and_the_reason_below(compile_tables, runs):
    fill(runs)
    add(runs, 16, 0.9, model="greedy")
    add(runs, 1, 0.9, model="greedy", status="failed", error="greedy learns from 2 images at least, here is 1")
    compile_tables()
    text = SHOTS.with_suffix(".md").read_text()
    row = next(row for row in cells(text, "image AUROC") if row[0] == "greedy")
    assert row == ["greedy", "-", "0.9000 (1 seed)", "-"]
    assert "greedy, 1: greedy learns from 2 images at least, here is 1." in text
    assert "greedy learns from 2 images" in SHOTS.with_suffix(".html").read_text()


def test_another_setting_makes_another_curve(compile_tables, runs):
    fill(runs)
    add(runs, 16, 0.95, settings={"channels": 50}, seed=7)
    compile_tables()
    rows = cells(SHOTS.with_suffix(".md").read_text(), "image AUROC")[1:]
    assert len(rows) == 2


def test_contamination_has_tables_of_its_own_whose_first_column_is_clean(compile_tables, runs):
    write_record(runs, make_record(auroc=0.9, train=320))
    dirty = {"data_settings": {"contamination": 0.1}, "overrides": {"data.contamination": 0.1}}
    write_record(runs, make_record(auroc=0.6, train=320, **dirty))
    compile_tables()
    titles, row = cells(Path("leaderboards/mvtec_ad-one-class-contamination.md").read_text(), "image AUROC")
    assert titles == ["method", "none", "0.1"]
    assert row == ["one", "0.9000", "0.6000"]


def test_the_page_draws_a_line_in_a_band_for_each_method(compile_tables, runs):
    fill(runs)
    compile_tables()
    page = SHOTS.with_suffix(".html").read_text()
    assert page.count("<title>one</title>") == 4  # a line for each metric of the records
    assert page.count('fill-opacity="0.12"') == 4
    assert '<th scope="col">all (320)</th>' in page


def test_stale_curves_and_curves_of_no_record_fail_the_check(command, compile_tables, runs):
    fill(runs)
    compile_tables()
    assert command("leaderboard", "runs", "--check").status == 0
    add(runs, 4, 0.7)
    outcome = command("leaderboard", "runs", "--check")
    assert outcome.status == 1
    assert "mvtec_ad-one-class-shots.md" in outcome.stderr
    for record in runs.rglob("record.json"):
        if json.loads(record.read_text())["overrides"]:
            record.unlink()
    outcome = command("leaderboard", "runs", "--check")
    assert "no record is in" in outcome.stderr


def test_the_server_and_python_show_them_too(compile_tables, runs):
    fill(runs)
    site = Site([runs], intervals=False)
    assert "mvtec_ad-one-class-shots.html" in site.find("/").content.decode()
    assert (
        "image AUROC by the number of training images" in site.find("/mvtec_ad-one-class-shots.html").content.decode()
    )
    frame = bench.tables(runs)["mvtec_ad-one-class-shots"]
    auroc = frame[frame["metric"] == "image_auroc"]
    assert dict(zip(auroc["value"], auroc["mean"].round(6), strict=True)) == {1: 0.5, 16: 0.8, 320: 0.9}


@pytest.mark.parametrize("setting", ["shots", "contamination"])
@pytest.mark.parametrize("value", ["many", [4], {"a": 1}, -1, True, 10**400, 0.5])
@pytest.mark.parametrize("status", ["finished", "failed"])
def test_a_foreign_record_whose_setting_is_none_is_named_or_left_out(command, runs, setting, value, status):
    fill(runs)
    own = {"data_settings": {setting: value}, "status": status, "error": "why" if status == "failed" else None}
    write_record(runs, make_record("foreign", auroc=0.9, train=320, **own))
    outcome = command("leaderboard", "runs")
    assert outcome.status in (0, 1), outcome.stderr
    assert "Traceback" not in outcome.stderr
    if value in (0.5,) and setting == "contamination":
        return
    assert "foreign" not in SHOTS.with_suffix(".csv").read_text()


def test_a_failed_record_without_settings_has_no_curve(command, runs):
    fill(runs)
    folder = write_record(runs, make_record("empty", train=320, status="failed", error="why"))
    change_record(folder, config={})
    outcome = command("leaderboard", "runs")
    assert outcome.status == 0, outcome.stderr
    assert "empty" not in SHOTS.with_suffix(".csv").read_text()
