"""`bench compare`: two runs side by side."""

import json
from pathlib import Path

import numpy as np
import pytest

from fake_records import make_record, write_record

RNG = np.random.default_rng(0)
WEAK = {"good": RNG.normal(0, 1, 20).tolist(), "scratch": RNG.normal(0.5, 1, 15).tolist()}
STRONG = {"good": RNG.normal(0, 1, 20).tolist(), "scratch": RNG.normal(3, 1, 15).tolist()}
THRESHOLD = {"threshold": 1.0, "image_accuracy": 0.5, "pixel_auroc": 0.9}


@pytest.fixture
def runs(own_folder: Path) -> Path:
    return own_folder / "runs"


@pytest.fixture
def pair(runs) -> tuple[Path, Path]:
    """A weak method and a strong one, on the same images."""
    weak = write_record(runs, make_record("weak", metrics=THRESHOLD, settings={"depth": 1}), WEAK)
    return weak, write_record(
        runs, make_record("strong", metrics=THRESHOLD, settings={"depth": 2}, seconds=30.0), STRONG
    )


def as_json(bench, *runs: Path) -> dict:
    outcome = bench("compare", *runs, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_settings_figures_and_costs_that_differ_are_listed(bench, pair):
    found = as_json(bench, *pair)
    assert found["settings"]["model.depth"] == {"before": 1, "after": 2}
    assert "data.image_size" not in found["settings"]
    assert found["metrics"]["pixel_auroc"] == {"before": 0.9, "after": 0.9}
    assert found["cost"]["fit_seconds"] == {"before": 10.0, "after": 30.0}


def test_differences_are_those_of_the_records_with_an_interval_around(bench, pair):
    found = as_json(bench, *pair)
    metrics = found["metrics"]["image_auroc"]
    difference = found["differences"]["image_auroc"]
    assert difference["value"] == pytest.approx(metrics["after"] - metrics["before"], abs=1e-12)
    assert 0 < difference["low"] <= difference["value"] <= difference["high"]
    assert "pixel_auroc" not in found["differences"], "predictions hold no pixels"
    assert found["images"] == "35 images that both predicted"


def test_accuracy_is_compared_at_each_runs_own_threshold(bench, pair):
    decided = [
        np.mean([(score > 1.0) == (kind != "good") for kind, scores in run.items() for score in scores])
        for run in (WEAK, STRONG)
    ]
    found = as_json(bench, *pair)["differences"]["image_accuracy"]
    assert found["value"] == pytest.approx(decided[1] - decided[0], abs=1e-12)


def test_a_run_compared_with_itself_differs_in_nothing(bench, pair):
    found = as_json(bench, pair[0], pair[0])
    assert found["settings"] == {}
    assert set(map(tuple, map(dict.values, found["differences"].values()))) == {(0.0, 0.0, 0.0)}
    assert "The settings are the same." in bench("compare", pair[0], pair[0]).stdout


def test_the_tables_name_both_runs_and_the_images(bench, pair):
    outcome = bench("compare", pair[0], pair[1] / "record.json")
    assert outcome.status == 0, outcome.stderr
    for words in ("weak on screw", "strong on screw", "image_auroc", "paired bootstrap over 35 images that both"):
        assert words in outcome.stdout


def test_over_images_that_only_one_predicted_nothing_is_compared(bench, runs, pair):
    fewer = write_record(runs, make_record("fewer"), {kind: scores[:10] for kind, scores in STRONG.items()})
    found = as_json(bench, pair[0], fewer)
    assert found["images"].startswith("20 images that both predicted, of 35 and 20")
    assert found["differences"]["image_auroc"]["value"] == pytest.approx(
        found["metrics"]["image_auroc"]["after"] - auroc({kind: scores[:10] for kind, scores in WEAK.items()})
    )


def auroc(scores: dict[str, list[float]]) -> float:
    from sklearn.metrics import roc_auc_score

    labels = [kind != "good" for kind, values in scores.items() for _ in values]
    return roc_auc_score(labels, [score for values in scores.values() for score in values])


@pytest.mark.parametrize(
    ("category", "scores", "words"),
    [("bottle", STRONG, "tested on different images"), ("screw", None, "no predictions.csv beside its record")],
)
def test_without_shared_predictions_it_says_why_there_are_no_intervals(category, scores, words, bench, runs, pair):
    other = write_record(runs, make_record("other", category), scores)
    found = as_json(bench, pair[0], other)
    assert found["differences"] == {}
    assert words in found["images"]
    assert words in bench("compare", pair[0], other).stdout


def test_classifiers_are_compared_by_their_logits(bench, runs):
    """Accuracy over three classes, against the same count by hand."""
    names = ["good", "hole", "scratch"]
    rng = np.random.default_rng(1)
    folders, accuracies = [], []
    for model in ("one", "other"):
        record = make_record(model, track="supervised", metrics={"accuracy": 0.5, "macro_f1": 0.5})
        folder = write_record(runs, record, {name: rng.normal(size=8).tolist() for name in names})
        logits = rng.normal(size=(24, 3))
        rewrite_logits(folder, logits)
        folders.append(folder)
        accuracies.append(np.mean(logits.argmax(axis=1) == np.repeat([0, 1, 2], 8)))
    found = as_json(bench, *folders)["differences"]
    assert found["accuracy"]["value"] == pytest.approx(accuracies[1] - accuracies[0], abs=1e-12)
    assert {"accuracy", "macro_f1"} <= set(found)


def rewrite_logits(folder: Path, logits: np.ndarray) -> None:
    """Put logits into the predictions, and their hash into the record."""
    from bench.records.predictions import parse_predictions, write_predictions
    from bench.records.record import Record

    file = folder / "predictions.csv"
    found = parse_predictions(file.read_bytes(), file)
    rows = [row._replace(logits=tuple(values.tolist())) for row, values in zip(found, logits, strict=True)]
    record = Record.read(folder)
    changes = {
        "classes": {"good": 8, "hole": 8, "scratch": 8},
        "predictions_sha256": write_predictions(folder, rows),
    }
    record.changed(data=record.data.model_copy(update=changes)).write(folder)


def test_changed_predictions_are_refused(refuse, pair):
    path = pair[1] / "predictions.csv"
    path.write_text(path.read_text().replace("good", "fine"))
    assert "was changed" in refuse("compare", *pair)


def test_a_run_that_is_not_there_is_refused(refuse, pair):
    assert "no record at" in refuse("compare", pair[0], "elsewhere")


def test_one_run_is_too_few(refuse, pair):
    assert "RUN is missing" in refuse("compare", pair[0])
