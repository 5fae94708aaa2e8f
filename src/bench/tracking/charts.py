"""The charts of a test in W&B: curves, the table of test images, the confusion matrix."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import wandb
from scipy.special import softmax

from bench.evaluation.evaluation import Evaluation
from bench.metrics.curves import overlap_curve, precision_recall_curve, thin
from bench.metrics.ranking import Ranking, rank
from bench.tracking.gallery import Gallery
from bench.tracking.service import make_table

ROC = "roc"
PRECISION_RECALL = "precision_recall"
CONFUSION = "confusion_matrix"
TEST_IMAGES = "test_images"
ANY = "any defect"
_CELLS = 100  # cells along an axis; a curve keeps at most two points of each
_ROWS = 10_000  # rows that W&B shows of one table
_LABELS = {0: "good", 1: "defect"}


class Verdict(NamedTuple):
    """The decision of a method on a test image; `error` is how far the image lies on the wrong side."""

    called: str
    error: float


def charts(evaluation: Evaluation, gallery: Gallery | None) -> dict[str, Any]:
    """All charts, by the names that W&B's panels use."""
    made = {
        ROC: _curve_chart(evaluation, "ROC", overlap_curve, ("fpr", "tpr"), ("False positive rate", "Recall")),
        PRECISION_RECALL: _curve_chart(
            evaluation, "Precision-recall", precision_recall_curve, ("recall", "precision"), ("Recall", "Precision")
        ),
        TEST_IMAGES: _image_table(evaluation, gallery),
    }
    if evaluation.confusion is not None:
        made[CONFUSION] = _confusion_chart(evaluation)
    return {name: chart for name, chart in made.items() if chart is not None}


def rankings(evaluation: Evaluation) -> Iterator[tuple[str, Ranking]]:
    """Yield named rankings against the good images: of images with any defect, and of each defect type.

    For classifiers: any defect by the log-odds, and each class against all others by its probability.
    """
    types = np.array([sample.defect_type for sample in evaluation.samples])
    is_defect = np.array([sample.is_defect for sample in evaluation.samples])
    good = evaluation.scores[~is_defect]
    yield ANY, rank(evaluation.scores[is_defect], good)
    if evaluation.confusion is not None and evaluation.logits is not None:
        for index, name in enumerate(evaluation.confusion.classes):
            probabilities = softmax(evaluation.logits, axis=1)[:, index]
            yield name, rank(probabilities[types == name], probabilities[types != name])
        return
    for name in sorted({*types[is_defect].tolist()}):
        yield name, rank(evaluation.scores[types == name], good)


def verdicts(evaluation: Evaluation) -> list[Verdict]:
    """One per test image; `error` is score to threshold in the method's units, or 1 - p of the true class."""
    if evaluation.confusion is not None and evaluation.logits is not None:
        classes = evaluation.confusion.classes
        probabilities = softmax(evaluation.logits, axis=1)
        return [
            Verdict(classes[int(row.argmax())], 1 - float(row[classes.index(sample.defect_type)]))
            for sample, row in zip(evaluation.samples, probabilities, strict=True)
        ]
    if evaluation.threshold is None:  # too few images were learned from to choose one
        return [Verdict("", 0.0) for _ in evaluation.samples]
    beyond = evaluation.scores - evaluation.threshold
    return [
        Verdict(_LABELS[int(over > 0)], float(-over if sample.is_defect else over))
        for sample, over in zip(evaluation.samples, beyond, strict=True)
    ]


def _curve_chart(evaluation: Evaluation, title: str, curve_of: Any, axes: tuple[str, str], names: Any) -> Any:
    rows: list[list[Any]] = []
    for name, ranking in rankings(evaluation):
        if ranking.defined:
            rows += [[name, x, y] for x, y in thin(curve_of(ranking), cells=_CELLS).tolist()]
    if not rows:
        return None
    # wandb.plot's own functions draw this chart as well, but take probabilities alone and round to 20 points.
    return wandb.plot_table(
        "wandb/area-under-curve/v0",
        make_table(["class", *axes], rows),
        {"x": axes[0], "y": axes[1], "class": "class"},
        {"title": title, "x-axis-title": names[0], "y-axis-title": names[1]},
    )


def _confusion_chart(evaluation: Evaluation) -> Any:
    confusion = evaluation.confusion
    assert confusion is not None
    columns = ["Actual", "Predicted", "nPredictions"]
    rows = [
        [actual, predicted, count]
        for actual, counts in zip(confusion.classes, confusion.counts, strict=True)
        for predicted, count in zip(confusion.classes, counts, strict=True)
    ]
    return wandb.plot_table(
        "wandb/confusion_matrix/v1",
        make_table(columns, rows),
        {name: name for name in columns},
        {"title": "Images by class and what they were taken for"},
    )


def _image_table(evaluation: Evaluation, gallery: Gallery | None) -> Any:
    """A row per test image, the largest error first."""
    found = verdicts(evaluation)
    order = sorted(range(len(found)), key=lambda i: (-found[i].error, evaluation.samples[i].relative))[:_ROWS]
    columns = ["path", "defect_type", "label", "score", "called", "error"]
    rows: list[list[Any]] = []
    for index in order:
        sample, verdict = evaluation.samples[index], found[index]
        score = float(evaluation.scores[index])
        row = [sample.relative, sample.defect_type, _LABELS[int(sample.is_defect)], score, *verdict]
        rows.append([*row, *_pictures(gallery, sample.relative)] if gallery else row)
    return make_table([*columns, "image", "heat_map"] if gallery else columns, rows)


def _pictures(gallery: Gallery, name: str) -> list[Any]:
    """The image with its mask, which can be switched on and off, and the image with its heat map."""
    shown = gallery.shown[name]
    masks = None
    if shown.mask is not None:
        masks = {"defect": {"mask_data": shown.mask.astype(np.uint8), "class_labels": _LABELS}}
    heat = wandb.Image(str(shown.heat_map)) if shown.heat_map else None
    return [wandb.Image(str(shown.image), masks=masks), heat]
