"""Every metric, declared once: its names, its digits, its better direction, and where it is shown.

Each track has its own columns, and its own metrics with an interval and with a test of differences.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Metric:
    """One metric of a run.

    Args:
        name: its key in a record.
        title: its name where a run is shown alone.
        short: its name in a table of one track; without it the title.
        of_a_type: its name in a table by defect type; without it, it has no column there.
        smaller_is_better: None where neither direction is better.
        digits: the number of digits after the decimal point.
    """

    name: str
    title: str
    short: str = ""
    of_a_type: str = ""
    smaller_is_better: bool | None = False
    digits: int = 4

    @property
    def column(self) -> str:
        """Its title in a table of one track."""
        return self.short or self.title


def _by_name(*metrics: Metric) -> Mapping[str, Metric]:
    return MappingProxyType({metric.name: metric for metric in metrics})


# In the order in which a run shows them.
METRICS = _by_name(
    Metric("accuracy", "accuracy (all classes)", short="accuracy"),
    Metric("balanced_accuracy", "balanced accuracy (all classes)", short="balanced accuracy"),
    Metric("macro_f1", "macro F1"),
    Metric("calibration_error", "calibration error", smaller_is_better=True),
    Metric("image_auroc", "image AUROC", of_a_type="AUROC"),
    Metric("image_ap", "image AP"),
    Metric("image_f1max", "image F1-max (oracle)"),
    Metric("image_accuracy", "accuracy"),
    Metric("image_balanced_accuracy", "balanced accuracy"),
    Metric("image_precision", "precision"),
    Metric("image_recall", "recall", of_a_type="recall"),
    Metric("pixel_auroc", "pixel AUROC", of_a_type="pixel AUROC"),
    Metric("pixel_ap", "pixel AP"),
    Metric("pixel_f1max", "pixel F1-max (oracle)"),
    Metric("aupro_0.30", "AUPRO@0.30", of_a_type="AUPRO@0.30"),
    Metric("aupro_0.05", "AUPRO@0.05"),
    Metric("threshold", "threshold", smaller_is_better=None),
)
# Metrics of a class or defect type that no whole run has.
_OF_A_TYPE = _by_name(
    Metric("count", "images", smaller_is_better=None),
    Metric("recall", "recall"),
    Metric("precision", "precision"),
    Metric("f1", "F1"),
)
# The columns of a table by class or defect type: names and titles.
BY_TYPE: Mapping[str, str] = MappingProxyType(
    {name: metric.title for name, metric in _OF_A_TYPE.items()}
    | {name: metric.of_a_type for name, metric in METRICS.items() if metric.of_a_type}
)


@dataclass(frozen=True)
class Columns:
    """The metrics shown for a track: methods are ranked by `headline`, where larger is better."""

    headline: str
    quality: Mapping[str, str]  # metrics of its tables, with their titles
    published: Sequence[str]
    study: Mapping[str, str]  # metrics of a study, with their titles: the first one decides its verdict
    intervals: Sequence[str]  # metrics whose interval a record has
    differences: Sequence[str]  # metrics that predictions determine, so that a difference of two runs has an interval


def _titled(*names: str) -> Mapping[str, str]:
    return MappingProxyType({name: METRICS[name].column for name in names})


_OF_DECISIONS = ("image_accuracy", "image_balanced_accuracy", "image_precision", "image_recall")
_OF_SCORES = ("image_auroc", "image_ap")
_OF_LOGITS = ("accuracy", "balanced_accuracy", "macro_f1", *_OF_DECISIONS, "calibration_error", *_OF_SCORES)
TRACKS = {
    "one-class": Columns(
        headline="image_auroc",
        quality=_titled("image_auroc", "image_accuracy", "image_balanced_accuracy", "pixel_auroc", "aupro_0.30"),
        published=("image_auroc", "pixel_auroc"),
        study=_titled("image_auroc", "image_accuracy", "image_balanced_accuracy"),
        intervals=_OF_SCORES,
        differences=(*_OF_SCORES, *_OF_DECISIONS),
    ),
    "supervised": Columns(
        headline="macro_f1",
        quality=_titled("macro_f1", "accuracy", "balanced_accuracy", "image_auroc", "calibration_error"),
        published=(),
        study=_titled("accuracy", "macro_f1", "image_auroc"),
        intervals=_OF_LOGITS,
        differences=_OF_LOGITS,
    ),
}


def title_of(name: str) -> str:
    """A metric's title where a run is shown alone; its name for a metric of another release."""
    return METRICS[name].title if name in METRICS else name


def smaller_is_better(name: str) -> bool | None:
    """Whether a smaller value of a metric, of a run or a defect type, is better; None where neither direction is."""
    metric = METRICS.get(name) or _OF_A_TYPE.get(name)
    return metric.smaller_is_better if metric else False


def digits_of(name: str) -> int:
    """The number of digits of a metric after the decimal point; the default for a metric of another release."""
    return METRICS[name].digits if name in METRICS else Metric.digits


def figure_text(value: float | None) -> str:
    """A metric's value with four digits, `-` where it is not defined."""
    if value is None:
        return "-"
    if abs(value) <= 1:
        return f"{value:.{Metric.digits}f}"
    return f"{value:.0f}" if value.is_integer() else f"{value:.{Metric.digits}g}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """`0.912 to 0.987`, or '' without an interval."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
