"""`bench leaderboard --to-wandb`: what it logs, read back from a real offline run."""

import csv
from pathlib import Path

import pytest

from fake_records import make_record, write_record
from offline_runs import read_offline_run

PROJECT = "someone/defects"
SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}


@pytest.fixture
def logged(bench, own_folder, monkeypatch):
    for model in ("one", "other"):
        for seed in (0, 1):
            write_record(own_folder / "runs", make_record(model, seed=seed), SCORES)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(own_folder))
    monkeypatch.setenv("WANDB_DATA_DIR", str(own_folder / "wandb"))
    outcome = bench("leaderboard", "runs", "--to-wandb", PROJECT)
    assert outcome.status == 0, outcome.stderr
    return outcome, read_offline_run(own_folder / "wandb")


def test_each_table_is_logged_with_a_row_per_method_and_category(logged):
    _, stored = logged
    (key,) = [key.removesuffix("/_type") for key in stored.summary if key.endswith("/_type")]
    assert key == "mvtec_ad-one-class-model-not-official-v2"
    columns, rows = stored.table(key)
    assert columns[:4] == ["category", "digest", "model", "variant"]
    assert [(row[0], row[2]) for row in rows if row[0] == "screw"] == [("screw", "one"), ("screw", "other")]


def test_its_figures_are_those_of_the_csv_file(logged):
    _, stored = logged
    columns, rows = stored.table("mvtec_ad-one-class-model-not-official-v2")
    figures = {(row[0], row[2], name): value for row in rows for name, value in zip(columns[4:], row[4:], strict=True)}
    text = Path("leaderboards/mvtec_ad-one-class.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(text.splitlines()))
    assert lines
    for line in lines:
        assert figures.pop((line["category"], line["model"], line["metric"])) == float(line["mean"])
        if line["spread"]:
            assert figures.pop((line["category"], line["model"], f"{line['metric']} ±")) == float(line["spread"])
    assert set(figures.values()) <= {None}


def test_the_files_are_one_artifact(logged):
    _, stored = logged
    written = {path.name for path in Path("leaderboards").iterdir() if path.is_file()}
    assert {"mvtec_ad-one-class.md", "mvtec_ad-one-class.csv"} <= written
    assert {entry.path for entry in stored.artifact("leaderboard").manifest.contents} == written


def test_the_run_is_one_of_the_project_and_is_told_from_runs_of_methods(logged):
    outcome, stored = logged
    assert (stored.run.entity, stored.run.project) == ("someone", "defects")
    assert (stored.run.job_type, list(stored.run.tags)) == ("leaderboard", ["leaderboard"])
    assert stored.exit_code == 0
    assert outcome.stderr.count("wandb sync") == 1


def test_a_service_that_cannot_be_reached_is_a_failure_and_the_tables_are_written(bench, own_folder, monkeypatch):
    write_record(own_folder / "runs", make_record("one"), SCORES)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("bench.tracking.service.SECONDS_TO_REACH_SERVICE", 2)
    outcome = bench("leaderboard", "runs", "--to-wandb", PROJECT)
    assert outcome.status == 1
    assert "the tables are written, but not logged" in outcome.stderr
    assert Path("leaderboards/mvtec_ad-one-class.md").is_file()


def test_it_needs_a_key_before_any_table_is_made(refuse, own_folder, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("NETRC", str(own_folder / "no_netrc"))
    assert "--to-wandb needs a key" in refuse("leaderboard", "runs", "--to-wandb", PROJECT)


def test_a_disabled_w_and_b_is_told(refuse):
    assert "WANDB_MODE is disabled" in refuse("leaderboard", "runs", "--to-wandb", PROJECT)


def test_a_check_logs_nothing(refuse):
    assert "leave out --to-wandb" in refuse("leaderboard", "runs", "--check", "--to-wandb", PROJECT)
