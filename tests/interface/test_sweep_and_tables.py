"""Grids of runs, records and leaderboards from Python, as frames."""

import csv
import json
from pathlib import Path

import pytest

import bench as interface

GRID = {"data.image_size": 32, "data.samples_per_epoch": None, "trainer.max_epochs": 1, "trainer.accelerator": "cpu"}


@pytest.fixture
def sweep(data_root):
    def run(**arguments):
        return interface.run_sweep(
            ["autoencoder_l2"],
            ["screw"],
            settings={**GRID, "data.root": str(data_root)},
            launcher_settings={"workers": 0},
            **arguments,
        )

    return run


def test_a_sweep_returns_its_runs_in_the_order_of_the_plan_and_finds_them_again(sweep):
    found = sweep(seeds=[0, 1], vary={"model.latent_dim": [2, 4]})
    about = [(run.record.config["model"]["latent_dim"], run.record.seed, run.record.status) for run in found]
    assert about == [(2, 0, "finished"), (2, 1, "finished"), (4, 0, "finished"), (4, 1, "finished")]
    again = sweep(seeds=[0, 1], vary={"model.latent_dim": [2, 4]})
    assert [run.record.started for run in again] == [run.record.started for run in found]


def test_a_mistake_in_any_cell_is_raised_before_anything_runs(sweep, own_folder):
    with pytest.raises(interface.UsageError):
        sweep(vary={"model.latent_dim": [2, "two"]})
    assert not (own_folder / "runs").exists()


def test_a_cell_that_fails_is_among_the_runs_with_its_reason(sweep, monkeypatch):
    def fail(*_):
        raise RuntimeError("no such luck")

    monkeypatch.setattr("bench.runs.run.prepare", fail)
    (run,) = sweep()
    assert (run.record.status, run.record.error) == ("failed", "RuntimeError: no such luck")
    assert "failed" in repr(run)


def test_records_are_a_row_a_run_failed_ones_too(sweep, own_folder):
    runs = sweep(seeds=[0, 1])
    file = runs[1].folder / "record.json"
    content = json.loads(file.read_text()) | {"status": "failed", "error": "by hand", "metrics": {}}
    file.write_text(json.dumps(content))
    frame = interface.load_records("runs").set_index("seed")
    assert frame.status.to_dict() == {0: "finished", 1: "failed"}
    assert frame.image_auroc[0] == runs[0].metrics["image_auroc"]
    assert frame.fit_seconds[0] == runs[0].record.cost.fit_seconds
    assert frame.overrides[0]["data.image_size"] == 32
    assert frame.folder[0] == str(runs[0].folder.resolve())


def test_a_file_that_is_no_record_is_left_out_with_a_warning(sweep, own_folder):
    (run,) = sweep()
    (run.folder.parent / "0").mkdir()
    (run.folder.parent / "0" / "record.json").write_text("{")
    with pytest.warns(UserWarning, match="record.json"):
        assert len(interface.load_records()) == 1


def test_no_record_gives_a_frame_without_rows(own_folder):
    (own_folder / "runs").mkdir()
    assert interface.load_records("runs").empty
    assert interface.tables("runs") == {}
    with pytest.raises(interface.UsageError, match="no folder of records none"):
        interface.load_records("none")


def test_tables_hold_the_figures_of_the_leaderboard(sweep, bench):
    sweep(seeds=[0, 1])
    (frame,) = interface.tables("runs").values()
    bench("leaderboard", "runs", "--out", "out")
    with Path("out/mvtec_ad-one-class.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    theirs = {row["metric"]: float(row["mean"]) for row in rows if row["category"] == "screw"}
    ours = frame[frame.category == "screw"].iloc[0]
    assert ours["image_auroc"] == theirs["image_auroc"]
    assert ours["image_auroc ±"] >= 0
    assert frame.attrs["headline"] == "image_auroc"
