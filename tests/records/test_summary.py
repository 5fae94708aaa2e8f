"""The sentence and the remarks of a record: counts are those of the predictions, and nothing is said in vain."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.evaluation.score_figures import defined
from bench.metrics.classification import class_metrics, classification_metrics, confusion_matrix
from bench.metrics.image import image_metrics, image_metrics_by_defect
from bench.records.record import ConfusionMatrix, DataRecord, Record
from bench.records.summary import Counts, count, remarks, summary
from fake_records import make_record


def judged(
    scores: Mapping[str, Any], threshold: float = 0.5, *, validation: int = 200, quantile: float = 0.99, **values: Any
) -> Record:
    """The record of a one-class run with these scores by defect type."""
    types = [name for name, found in scores.items() for _ in found]
    every = np.array([score for found in scores.values() for score in found], dtype=np.float64)
    labels = np.array([name != "good" for name in types], dtype=bool)
    by_defect = image_metrics_by_defect(every, types, threshold)
    record = make_record(
        metrics=defined(image_metrics(every, labels, threshold)),
        metrics_by_defect={name: defined(found) for name, found in by_defect.items()},
        data=DataRecord(
            digest="0" * 64,
            counts={"train/good": 320} | {f"test/{name}": len(found) for name, found in scores.items()},
            validation_images=validation,
            differences=[],
        ),
        **values,
    )
    return record.changed(config={**record.config, "threshold_quantile": quantile})


def classified(targets: list[int], predicted: list[int], classes: list[str]) -> Record:
    """The record of a classifier with these answers."""
    true, said = np.array(targets), np.array(predicted)
    logits = np.eye(len(classes))[said] * 5
    return make_record(
        track="supervised",
        metrics=defined(classification_metrics(logits, true)),
        metrics_by_defect={name: defined(found) for name, found in class_metrics(said, true, classes).items()},
        confusion=ConfusionMatrix(classes=classes, counts=confusion_matrix(said, true, len(classes)).tolist()),
        data=DataRecord(
            digest="0" * 64,
            counts={},
            classes={name: targets.count(index) for index, name in enumerate(classes)},
            validation_images=0,
            differences=[],
        ),
        fold="all",
    )


GOOD = [0.1] * 38 + [0.9] * 3
SENTENCES = [
    (
        {"good": GOOD, "a": [0.9] * 50 + [0.2] * 30, "b": [0.9] * 7 + [0.2] * 32},
        "screw",
        "one finds 57 of 119 defects, calls 3 of 41 good screws defective, at a threshold from normal images",
    ),
    (
        {"good": GOOD, "a": [0.9]},
        "leather",
        "one finds 1 of 1 defect, calls 3 of 41 good images defective, at a threshold from normal images",
    ),
    ({"good": GOOD}, "pill", "one calls 3 of 41 good pills defective, at a threshold from normal images"),
    ({"good": [], "a": [0.9, 0.1]}, "screw", "one finds 1 of 2 defects, at a threshold from normal images"),
    ({"good": []}, "screw", "one was tested on no image: there are a model and a threshold, and no figures"),
]


@pytest.mark.parametrize(("scores", "category", "sentence"), SENTENCES)
def test_a_one_class_run_is_said_in_a_sentence(scores, category, sentence):
    assert summary(judged(scores, category=category)) == sentence


def test_the_counts_are_those_of_the_predictions():
    rng = np.random.default_rng(0)
    for _ in range(300):
        sizes = rng.integers(0, 400, 4)
        scores = {
            name: rng.normal(shift, 1, size) for name, shift, size in zip("gabc", (0, 0, 1, 3), sizes, strict=True)
        }
        scores = {"good": scores.pop("g")} | {name: found for name, found in scores.items() if len(found)}
        threshold = float(rng.normal(0.5, 1))
        defects = np.concatenate([[], *(found for name, found in scores.items() if name != "good")])
        good = scores["good"]
        assert count(judged(scores, threshold)) == Counts(
            defects.size, int(np.sum(defects > threshold)), good.size, int(np.sum(good > threshold))
        )


def test_a_classifier_is_said_by_what_it_is_ranked_by_and_what_it_does_to_parts():
    targets, predicted = [0] * 60 + [1] * 50 + [2] * 60, [0] * 58 + [1] * 2 + [0] * 5 + [1] * 45 + [1] * 3 + [2] * 57
    record = classified(targets, predicted, ["good", "crack", "hole"])
    f1 = record.metrics["macro_f1"]
    assert summary(record) == (
        f"one has a macro F1 of {f1:.4f}: it names 160 of 170 images rightly, misses 5 of 110 defects, "
        "stops 2 of 60 good screws"
    )
    assert remarks(record) == []


def test_a_fold_without_good_images_and_a_class_that_is_never_named_are_said():
    record = classified([1] * 60 + [2] * 60, [1] * 60 + [0] * 60, ["good", "crack", "hole"])
    assert "misses 60 of 120 defects" in summary(record)
    assert "good screws" not in summary(record)
    best = "no better than naming every image 'crack', which is right for 60 of 120"
    assert remarks(record) == ["never named rightly: hole", best]


def test_nothing_is_said_of_a_run_that_has_not_finished_or_whose_record_does_not_tell():
    record = judged({"good": GOOD, "a": [0.9] * 60})
    for silent in (
        record.changed(status="failed"),
        record.changed(metrics={}),
        record.changed(metrics_by_defect={}),
        make_record(),
    ):
        assert (summary(silent), remarks(silent)) == ("", [])


WELL = [0.9] * 60
FINE = [0.1] * 60
REMARKS = [
    ({"good": FINE, "a": WELL}, {}, None),
    ({"good": FINE}, {}, None),
    ({"good": FINE, "a": [0.9] * 59 + [0.05]}, {}, None),
    ({"good": FINE[:20], "a": WELL}, {}, "with 20 good images a single one moves a rate by 5 points"),
    ({"good": FINE[:20], "a": WELL[:40]}, {}, "with 20 good and 40 defective images .* by 5 and 2.5 points"),
    ({"good": [0.1] * 58 + [0.9] * 2, "a": [0.05] * 40 + [0.9] * 20}, {}, "lies below one half: scores rank good"),
    ({"good": FINE, "a": [0.2] * 40 + [0.9] * 20}, {}, "the threshold lies too high: it misses 40 of 60 defects"),
    ({"good": [0.1] * 40 + [0.6] * 20, "a": WELL}, {}, "the threshold lies too low: it stops 20 of 60 good screws"),
    ({"good": FINE, "a": WELL}, {"threshold": 2.0}, "lies above all scores of the test: every image is called good"),
    ({"good": FINE, "a": WELL}, {"threshold": -1.0}, "lies below all scores .*: every image is called defective"),
    ({"good": FINE, "a": WELL}, {"intervals": {"image_auroc": (0.41, 0.99)}}, "begins at 0.410, below one half"),
    ({"good": FINE, "a": WELL}, {"validation": 32}, "is the largest of 32 normal scores, whose quantile 0.99 it is"),
    ({"good": FINE, "a": WELL}, {"validation": 100}, "is the largest of 100 normal scores"),
    ({"good": FINE, "a": WELL}, {"validation": 101}, None),
    ({"good": FINE, "a": WELL}, {"validation": 0}, None),
    ({"good": FINE, "a": WELL}, {"validation": 32, "quantile": 1.0}, None),
]


@pytest.mark.parametrize(("scores", "values", "remark"), REMARKS)
def test_a_remark_is_made_when_it_applies_and_no_other(scores, values, remark):
    said = remarks(judged(scores, **values))
    if remark is None:
        assert said == []
    else:
        assert len(said) == 1, said
        assert re.search(remark, said[0]), said


def test_the_largest_score_is_what_the_quantile_of_so_few_scores_is():
    scores = np.random.default_rng(0).normal(size=300)
    for size in range(1, 300):
        for quantile in (0.9, 0.95, 0.99, 0.995):
            is_largest = np.quantile(scores[:size], quantile, method="higher") == scores[:size].max()
            said = remarks(judged({"good": FINE, "a": WELL}, validation=size, quantile=quantile))
            assert bool(said) == is_largest, (size, quantile)


def test_the_terminal_the_notebook_and_the_page_begin_with_the_sentence(bench, finished):
    import shutil

    import bench as door

    record = Record.read(finished)
    sentence = summary(record)
    assert sentence.startswith("autoencoder_l2 finds ")
    assert remarks(record)
    shown = bench("test", "--run", finished).stdout.splitlines()
    title = next(index for index, line in enumerate(shown) if "tested again" in line)
    assert shown[title + 1] == sentence
    assert shown[title + 2] == f"- {remarks(record)[0]}"
    notebook = door.load(finished)._repr_html_()
    assert notebook.index(sentence) < notebook.index("<table>")
    shutil.copytree(finished, "run")
    assert bench("report", "run", "--no-maps").status == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert f"<strong>{sentence}.</strong>" in page
    assert page.index(sentence) < page.index("<h2")
