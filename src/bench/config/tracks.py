"""The tracks. Methods of one track learn from the same kind of images, so their metrics compare.

Whatever differs between tracks is declared here: settings, decisions, metrics and words. A new track is one entry.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Track:
    """What the methods of one track have in common.

    Args:
        name: its name in records and file names.
        about: what a reader of its tables must know; `{dataset}` stands for the dataset's name.
        learns_from_defects: whether it learns from labelled defects. Then all images are dealt into folds, and the
            method tells classes apart: the largest logit decides. Else it learns from good images alone, and a
            threshold from normal images decides.
        group: what its test images are grouped by.
        tested_on: what must be said of its test images in a sentence that ends with `images`.
        idle: settings that none of its methods can use, with the reasons.
        headline: the metric that methods are ranked by; larger is better.
        quality: the metrics of its tables.
        published: those of them that papers give.
        study: the metrics of a study; the first one decides its verdict.
        intervals: the metrics whose interval a record has.
        differences: the metrics that predictions determine, so that a difference of two runs has an interval.
        of_methods: whether a method's class names it; else a run has it by its data.
        has_runs: whether its records are of runs; else they are of maps that others made.
    """

    name: str
    about: str
    learns_from_defects: bool
    group: str
    tested_on: str
    idle: Mapping[str, str]
    headline: str
    quality: Sequence[str]
    published: Sequence[str]
    study: Sequence[str]
    intervals: Sequence[str]
    differences: Sequence[str]
    of_methods: bool = True
    has_runs: bool = True


_OF_DECISIONS = ("image_accuracy", "image_balanced_accuracy", "image_precision", "image_recall")
_OF_SCORES = ("image_auroc", "image_ap")
_OF_LOGITS = ("accuracy", "balanced_accuracy", "macro_f1", *_OF_DECISIONS, "calibration_error", *_OF_SCORES)
_OF_LABELS = ("data.fold", "data.folds", "data.minority_augmentation", "data.per_class", "data.sampling")
_STANDARD_DEVIATION = "Mean ± standard deviation over seeds; no ± for a single seed. "

ONE_CLASS = Track(
    name="one-class",
    about=_STANDARD_DEVIATION + "Accuracy is taken at a threshold from held-out normal images. {dataset} has no "
    "validation split with defects: every choice made by looking at these figures was made on test images.",
    learns_from_defects=False,
    group="defect type",
    tested_on="",
    idle=dict.fromkeys(_OF_LABELS, "learns from one class"),
    headline="image_auroc",
    quality=("image_auroc", "image_accuracy", "image_balanced_accuracy", "pixel_auroc", "aupro_0.30"),
    published=("image_auroc", "pixel_auroc"),
    study=("image_auroc", "image_accuracy", "image_balanced_accuracy"),
    intervals=_OF_SCORES,
    differences=(*_OF_SCORES, *_OF_DECISIONS),
)
SUPERVISED = Track(
    name="supervised",
    about=_STANDARD_DEVIATION + "These methods were shown labelled defects of the same types: no figure here compares "
    "with one of a one-class method.",
    learns_from_defects=True,
    group="class",
    tested_on=", each in a fold that had not seen it",
    idle={
        "threshold_quantile": "decides without a threshold",
        "protocol": "scores no pixels",
        "data.shots": "learns from labelled classes, whose images --data.per_class counts",
        "data.contamination": "learns from labelled defects",
        "data.held_out": "takes no threshold from good images",
        "data.tile": "sees a whole image at once",
        "data.tile_overlap": "sees a whole image at once",
        "data.products": "learns the defects of one product",
    },
    headline="macro_f1",
    quality=("macro_f1", "accuracy", "balanced_accuracy", "image_auroc", "calibration_error"),
    published=(),
    study=("accuracy", "macro_f1", "image_auroc"),
    intervals=_OF_LOGITS,
    differences=_OF_LOGITS,
)
VERIFIED = Track(
    name="verified",
    about="Exact figures that bench verify computed from anomaly maps that others made, at the masks' resolution. "
    "bench saw no method here: what it learned from and how it was chosen is not known. No figure here compares with "
    "one of a fitted method.",
    learns_from_defects=False,
    group="defect type",
    tested_on="",
    idle={},
    headline="image_auroc",
    quality=("image_auroc", "image_ap", "pixel_auroc", "pixel_ap", "aupro_0.30", "aupro_0.05"),
    published=(),
    study=("image_auroc",),
    intervals=_OF_SCORES,
    differences=_OF_SCORES,
    of_methods=False,
    has_runs=False,
)
ONE_MODEL = replace(
    ONE_CLASS,
    name="one-model",
    about=_STANDARD_DEVIATION + "One model learned from the good images of all these products together and was told at "
    "no test image which product it shows. Figures are of each product alone; accuracies are at the product's own "
    "threshold, from its own held-out normal images, and at the one that is for all products. {dataset} has no "
    "validation split with defects: every choice made by looking at these figures was made on test images. Costs are "
    "those of the one model.",
    quality=(
        "image_auroc",
        "image_balanced_accuracy",
        "image_balanced_accuracy_for_all",
        "pixel_auroc",
        "aupro_0.30",
    ),
    published=(),
    of_methods=False,
)
TRACKS = {track.name: track for track in (ONE_CLASS, ONE_MODEL, SUPERVISED, VERIFIED)}
OF_METHODS = tuple(track for track in TRACKS.values() if track.of_methods)


def track_of_run(of_method: str, products: Sequence[str] | None) -> str:
    """The name of a run's track: its method's, unless one model is for several products."""
    return of_method if products is None else ONE_MODEL.name
