"""What a finished run leaves for others to read: `record.json` and `predictions.csv`."""

import csv
import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, recall_score, roc_auc_score

from bench.data.layout import read_category
from bench.evaluation.score_figures import defined
from bench.records.record import Record
from bench.writing import write_atomically
from fake_data import write_category

KEYS = [
    "schema", "status", "error", "model", "track", "dataset", "official", "category", "seed", "fold", "fingerprint",
    "config", "overrides", "reference", "differs", "data", "weights", "metrics", "metrics_by_defect", "intervals",
    "intervals_by_defect", "confusion", "products", "map_range", "cost", "environment", "started", "command", "wandb",
]  # fmt: skip
METRICS = {
    "image_auroc", "image_ap", "image_f1max", "image_accuracy", "image_balanced_accuracy", "image_precision",
    "image_recall", "pixel_auroc", "pixel_ap", "pixel_f1max", "aupro_0.30", "aupro_0.05", "threshold", "seg_f1",
    "seg_threshold",
}  # fmt: skip


@pytest.fixture(scope="module")
def hard(bench, quick_padim, tmp_path_factory) -> Path:
    """A run over defects so faint that no figure is 0 or 1."""
    folder = tmp_path_factory.mktemp("hard")
    write_category(folder / "data", train=20, good=15, defects={"blob": 10, "scratch": 10}, contrast=0.06)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        place = ("--data.root", folder / "data", "--runs", folder / "runs")
        outcome = bench("fit", *quick_padim, "--threshold_quantile", "0.7", *place)
    assert outcome.status == 0, outcome.stderr
    return next((folder / "runs").rglob("record.json")).parent


def _record(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((run / "record.json").read_text(encoding="utf-8"))
    return record


def _predictions(run: Path) -> list[dict[str, str]]:
    with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_record_has_exactly_the_keys_of_the_schema(finished):
    assert list(_record(finished)) == KEYS
    assert _record(finished)["schema"] == 1


def test_a_record_read_and_written_again_is_the_same_file(finished, tmp_path):
    Record.read(finished).write(tmp_path)
    assert (tmp_path / "record.json").read_bytes() == (finished / "record.json").read_bytes()


def test_a_record_says_what_ran_on_what(finished, quick):
    record = _record(finished)
    assert (record["status"], record["error"]) == ("finished", None)
    assert (record["model"], record["track"], record["dataset"]) == ("autoencoder_l2", "one-class", "mvtec_ad")
    assert (record["category"], record["seed"], record["fold"], record["official"]) == ("screw", 0, None, False)
    assert record["fingerprint"] == finished.name
    assert record["wandb"] is None
    assert record["data"]["counts"] == {"train/good": 12, "test/good": 5, "test/blob": 4, "test/scratch": 4}
    assert record["data"]["validation_images"] == 1
    assert record["environment"]["packages"].keys() >= {"torch", "lightning", "timm", "torchmetrics"}


def test_a_record_holds_every_metric_overall_and_by_defect(finished):
    record = _record(finished)
    assert record["metrics"].keys() == METRICS
    assert record["metrics_by_defect"].keys() == {"blob", "scratch"}
    for figures in record["metrics_by_defect"].values():
        assert figures["count"] == 4
        assert {"image_auroc", "image_ap", "image_recall", "pixel_auroc", "pixel_ap", "aupro_0.30"} <= figures.keys()


def test_the_cost_of_a_run_is_measured(finished):
    cost = _record(finished)["cost"]
    assert cost["device"] == "cpu"
    assert cost["epochs"] == 1
    assert cost["checkpoint_bytes"] == (finished / "model.ckpt").stat().st_size
    for name in ("fit_seconds", "test_seconds", "milliseconds_per_image", "images_per_second", "peak_memory_bytes"):
        assert cost[name] > 0
    assert cost["parameters"] == cost["trainable_parameters"] > 0


def test_a_backbone_that_is_frozen_has_no_trainable_parameters(hard):
    cost = _record(hard)["cost"]
    assert cost["parameters"] > cost["trainable_parameters"] == 0


def test_the_hash_of_the_predictions_is_in_the_record(finished):
    content = (finished / "predictions.csv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == _record(finished)["data"]["predictions_sha256"]


def test_predictions_name_every_test_image_once_with_the_hash_of_its_content(finished, data_root):
    rows = _predictions(finished)
    assert list(rows[0]) == ["path", "sha256", "defect_type", "label", "score", "logits"]
    assert [row["path"] for row in rows] == [s.relative for s in read_category(data_root, "screw").test]
    for row in rows:
        assert row["sha256"] == hashlib.sha256((data_root / row["path"]).read_bytes()).hexdigest()
        assert row["defect_type"] == Path(row["path"]).parent.name
        assert row["label"] == str(int(row["defect_type"] != "good"))


def test_the_metrics_are_those_of_the_predictions_by_scikit_learn(hard):
    metrics, rows = _record(hard)["metrics"], _predictions(hard)
    labels = np.array([int(row["label"]) for row in rows])
    scores = np.array([float(row["score"]) for row in rows])
    called = scores > metrics["threshold"]
    assert 0.5 < metrics["image_auroc"] < 1
    assert metrics["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert metrics["image_ap"] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert metrics["image_accuracy"] == pytest.approx(accuracy_score(labels, called), abs=1e-12)
    assert metrics["image_recall"] == pytest.approx(recall_score(labels, called), abs=1e-12)


def test_the_metrics_of_a_defect_type_are_those_of_its_images_and_the_good_ones(hard):
    rows = _predictions(hard)
    for defect_type, figures in _record(hard)["metrics_by_defect"].items():
        some = [row for row in rows if row["defect_type"] in ("good", defect_type)]
        labels, scores = [int(row["label"]) for row in some], [float(row["score"]) for row in some]
        assert figures["image_auroc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


def test_a_record_holds_the_commit_of_the_code_that_ran(finished):
    environment = _record(finished)["environment"]
    source = Path(__file__).parents[2]
    if not (source / ".git").exists():
        pytest.skip("the tests do not run in a checkout")
    command = ["git", "-C", str(source), "cat-file", "-t", environment["commit"]]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "commit\n"
    assert environment["dirty"] in (True, False)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_atomically(tmp_path / "record.json", "old")

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_metric_that_is_not_defined_is_null_in_the_record():
    assert defined({"image_precision": float("nan"), "image_recall": 0.5}) == {
        "image_precision": None,
        "image_recall": 0.5,
    }
