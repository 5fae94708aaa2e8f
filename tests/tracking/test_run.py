"""A run's W&B run, as its offline file holds it."""

import json
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from bench.config.settings import flatten
from bench.records.record import Record
from offline_runs import read_offline_run


@pytest.fixture(scope="module")
def tracked(quick, bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("BENCH_QUIET", "1")
        patch.delenv("WANDB_DATA_DIR", raising=False)
        patch.setenv("HOME", str(folder / "home"))
        outcome = bench("fit", *quick, "--runs", folder / "runs", "--wandb", "offline", "--trainer.max_epochs", "2")
    assert outcome.status == 0, outcome.stderr
    run = next((folder / "runs").rglob("record.json")).parent
    return run, Record.read(run), outcome, read_offline_run(run)


@pytest.fixture(scope="module")
def complete(quick, bench, tmp_path_factory):
    """The same with all that is sent on request alone."""
    folder = tmp_path_factory.mktemp("complete")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("BENCH_QUIET", "1")
        more = ("--wandb", "offline", "--wandb_images", "on", "--wandb_checkpoint")
        outcome = bench("fit", *quick, "--runs", folder / "runs", *more)
    assert outcome.status == 0, outcome.stderr
    run = next((folder / "runs").rglob("record.json")).parent
    return run, Record.read(run), read_offline_run(run)


def test_the_run_is_named_tagged_and_grouped_by_its_cell(tracked):
    _, record, _, stored = tracked
    run = stored.run
    assert run.run_id == record.fingerprint
    assert run.display_name == "autoencoder_l2-screw-s0"
    assert (run.project, run.run_group) == ("bench", "autoencoder_l2")
    assert set(run.tags) == {"one-class", "mvtec_ad", "model"}


def test_the_configuration_is_flat_and_dotted(tracked):
    _, record, _, stored = tracked
    expected = flatten(record.config)
    assert {key: stored.config.get(key) for key in expected} == expected


def test_record_and_predictions_go_with_the_run(tracked):
    """So that a leaderboard can be made from the project alone."""
    folder, _, _, _ = tracked
    for name in ("record.json", "predictions.csv"):
        (kept,) = (folder / "wandb").rglob(f"files/{name}")
        assert kept.read_bytes() == (folder / name).read_bytes()


def test_record_and_predictions_are_an_artifact_and_the_checkpoint_is_none(tracked):
    folder, record, _, stored = tracked
    artifact = stored.artifact("record")
    assert artifact.name == f"record-{record.fingerprint}"
    assert {entry.path for entry in artifact.manifest.contents} == {"record.json", "predictions.csv"}
    for entry in artifact.manifest.contents:
        assert Path(entry.local_path) == (folder / entry.path).resolve(), "`wandb sync` may be typed anywhere"
    assert stored.artifact("model") is None


def test_the_checkpoint_is_an_artifact_on_request(complete):
    folder, record, stored = complete
    artifact = stored.artifact("model")
    assert artifact.name == f"checkpoint-{record.fingerprint}"
    (entry,) = artifact.manifest.contents
    assert (entry.path, entry.size) == ("model.ckpt", (folder / "model.ckpt").stat().st_size)


def test_the_summary_holds_the_records_metrics_under_their_names(tracked):
    _, record, _, stored = tracked
    assert {key: stored.summary.get(key) for key in record.metrics} == record.metrics


def test_the_summary_holds_the_costs(tracked):
    _, record, _, stored = tracked
    for name, value in record.cost.model_dump().items():
        assert stored.summary[f"cost/{name}"] == value


def test_every_figure_that_has_a_better_side_says_which(tracked):
    _, record, _, stored = tracked
    thresholds = {"threshold", "seg_threshold"}
    assert {name for name in record.metrics if name not in stored.directions} == thresholds
    assert {stored.directions[name] for name in record.metrics.keys() - thresholds} == {"max"}
    assert stored.directions["by_defect/blob/image_auroc"] == "max"
    assert stored.directions["cost/fit_seconds"] == stored.directions["cost/milliseconds_per_image"] == "min"
    assert stored.directions["cost/images_per_second"] == "max"
    assert "cost/epochs" not in stored.directions


def test_the_loss_curves_have_a_point_per_epoch(tracked):
    _, _, _, stored = tracked
    assert sum("train/loss" in row for row in stored.history) == 2
    assert sum("validation/loss" in row for row in stored.history) == 2


def test_the_learning_rate_has_a_point_per_epoch(tracked):
    _, record, _, stored = tracked
    rates = [row["train/learning_rate"] for row in stored.history if "train/learning_rate" in row]
    assert rates == pytest.approx([record.config["model"]["learning_rate"]] * 2)


def test_system_figures_are_collected(tracked):
    assert any(name.startswith(("cpu", "memory", "proc")) for name in tracked[-1].system)


def test_the_roc_curves_are_those_of_the_predictions(tracked):
    _, record, _, stored = tracked
    columns, rows = stored.table("roc_table")
    assert columns == ["class", "fpr", "tpr"]
    assert {row[0] for row in rows} == {"any defect", "blob", "scratch"}
    points = [(x, y) for name, x, y in rows if name == "any defect"]
    area = sum((x - before_x) * (y + before_y) / 2 for (before_x, before_y), (x, y) in pairwise(points))
    assert area == pytest.approx(record.metrics["image_auroc"])
    assert stored.config["_wandb/visualize/roc"]["panel_config"]["panelDefId"] == "wandb/area-under-curve/v0"


def test_the_precision_recall_curves_give_the_average_precision(tracked):
    _, record, _, stored = tracked
    columns, rows = stored.table("precision_recall_table")
    assert columns == ["class", "recall", "precision"]
    points = [(x, y) for name, x, y in rows if name == "any defect"]
    steps = [(x - before) * y for (before, _), (x, y) in pairwise(points)]
    assert sum(steps) == pytest.approx(record.metrics["image_ap"])


def test_the_table_of_test_images_begins_with_the_worst_errors(tracked):
    _, record, _, stored = tracked
    columns, rows = stored.table("test_images")
    assert columns == ["path", "defect_type", "label", "score", "called", "error"]
    assert len(rows) == sum(n for name, n in record.data.counts.items() if name.startswith("test/"))
    errors = [row[5] for row in rows]
    assert errors == sorted(errors, reverse=True)
    for _, _, label, score, called, error in rows:
        over = score - record.metrics["threshold"]
        assert error == (over if label == "good" else -over)
        assert (error > 0) == (called != label) or error == 0


def test_no_image_leaves_the_machine_unasked(tracked):
    folder, _, _, stored = tracked
    assert not [path for path in (folder / "wandb").rglob("*") if path.suffix in (".png", ".jpg")]
    paths = {entry.path for entry in stored.entries}
    assert not [path for path in paths if "image" in path and "test_images" not in path]


def test_images_with_masks_and_heat_maps_go_on_request(complete):
    _, record, stored = complete
    columns, rows = stored.table("test_images")
    assert columns[-2:] == ["image", "heat_map"]
    paths = [entry.path for entry in stored.entries]
    assert sum(path.endswith("-image.jpg") for path in paths) == len(rows)
    assert sum(path.endswith("-heat.jpg") for path in paths) == len(rows)
    defects = sum(n for name, n in record.data.counts.items() if name.startswith("test/") and "good" not in name)
    assert sum(path.endswith(".mask.png") for path in paths) == defects


def test_what_waits_to_be_sent_waits_in_the_run_s_folder(tracked):
    folder, _, _, stored = tracked
    assert not (folder.parents[3] / "home" / ".local").exists()
    for entry in stored.entries:
        assert Path(entry.local_path).is_relative_to(folder.resolve())
        assert Path(entry.local_path).is_file()


def test_one_line_says_how_to_send_the_run_later_and_nothing_else_is_said(tracked):
    run, _, outcome, _ = tracked
    (line,) = outcome.stderr.splitlines()
    assert "wandb sync" in line
    assert str(run / "wandb") in line


def test_without_a_service_an_online_run_goes_on_offline(quick, bench, own_folder, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("bench.tracking.service.SECONDS_TO_REACH_SERVICE", 3)
    outcome = bench("fit", *quick, "--wandb", "online")
    assert outcome.status == 0, outcome.stderr
    assert "is kept offline" in outcome.stderr
    assert next(own_folder.rglob("*.wandb"))


def test_online_without_a_key_is_refused_and_never_asks(quick, refuse, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    assert "needs a key" in refuse("fit", *quick, "--wandb", "online")


def test_a_run_that_fails_is_a_failed_run_of_w_and_b(quick, bench, own_folder):
    outcome = bench("fit", *quick, "--wandb", "offline", "--model.learning_rate", "1e30", "--trainer.max_epochs", "3")
    assert outcome.status == 1, outcome
    stored = read_offline_run(own_folder / "runs")
    assert stored.exit_code == 1
    assert stored.summary["status"] == "failed"
    assert {entry.path for entry in stored.artifact("record").manifest.contents} == {"record.json"}


def test_a_w_and_b_that_breaks_down_costs_lines_and_not_the_run(quick, bench, own_folder, monkeypatch):
    def broken(*_, **__):
        raise ConnectionError("the line is dead")

    for name in ("log", "log_artifact", "define_metric"):
        monkeypatch.setattr(f"wandb.sdk.wandb_run.Run.{name}", broken)
    outcome = bench("fit", *quick, "--wandb", "offline")
    assert outcome.status == 0, outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if "the line is dead" in line]
    assert [line.partition(" (")[0] for line in lines] == [
        "W&B lacks its learning curves",
        "W&B lacks its charts and test images",
        "W&B lacks its figures",
        "W&B lacks its files",
    ]
    record = Record.read(next(own_folder.rglob("runs/**/record.json")))
    assert record.status == "finished"
    assert record.metrics


def test_disabled_means_that_nothing_of_w_and_b_is_imported(quick, bench, own_folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # an import fails
    outcome = bench("fit", *quick, "--wandb", "disabled", "--wandb_images", "on")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert not list((own_folder / "runs").rglob("wandb"))


def test_what_is_sent_is_no_part_of_the_cell(complete, tracked, bench, quick, own_folder):
    """Options of W&B do not enter the fingerprint: with them the finished run is found again."""
    folder, record, _ = complete
    outcome = bench("fit", *quick, "--runs", folder.parents[2], "--wandb_images", "off", "--json")
    assert json.loads(outcome.stdout)["fingerprint"] == record.fingerprint
    assert "finished before" in outcome.stderr
