"""Every metric, declared once: its names, its digits, its better direction. Tracks name those that they show."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.config.tracks import Track


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
        of_dataset: whether only some datasets define it; a table has it where one of its runs has.
    """

    name: str
    title: str
    short: str = ""
    of_a_type: str = ""
    smaller_is_better: bool | None = False
    digits: int = 4
    of_dataset: bool = False

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
    Metric("image_auroc_of_kinds", "image AUROC (mean of the kinds)", of_dataset=True),
    Metric("image_ap", "image AP"),
    Metric("image_f1max", "image F1-max (oracle)"),
    Metric("image_accuracy", "accuracy (good or defective)", short="accuracy"),
    Metric("image_balanced_accuracy", "balanced accuracy (good or defective)", short="balanced accuracy"),
    Metric("image_precision", "precision (good or defective)", short="precision"),
    Metric("image_recall", "recall (good or defective)", short="recall", of_a_type="recall"),
    Metric(
        "image_accuracy_for_all",
        "accuracy (good or defective), one threshold for all products",
        short="accuracy, one threshold",
    ),
    Metric(
        "image_balanced_accuracy_for_all",
        "balanced accuracy (good or defective), one threshold for all products",
        short="balanced accuracy, one threshold",
    ),
    Metric("pixel_auroc", "pixel AUROC", of_a_type="pixel AUROC"),
    Metric("pixel_ap", "pixel AP"),
    Metric("pixel_f1max", "pixel F1-max (oracle)"),
    Metric("seg_f1", "SegF1"),
    Metric("seg_f1_for_all", "SegF1, one threshold for all products", short="SegF1, one threshold"),
    Metric("aupro_0.30", "AUPRO@0.30", of_a_type="AUPRO@0.30"),
    Metric("aupro_0.05", "AUPRO@0.05"),
    Metric("spro_0.05", "sPRO@0.05", of_a_type="sPRO", of_dataset=True),
    Metric("threshold", "threshold", smaller_is_better=None),
    Metric("seg_threshold", "segmentation threshold", smaller_is_better=None),
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


def title_of(name: str) -> str:
    """A metric's title where a run is shown alone; its name for a metric of another release."""
    return METRICS[name].title if name in METRICS else name


def column_title(name: str, track: Track) -> str:
    """A metric's title in a table of one track."""
    return METRICS[name].column if name in track.quality else title_of(name)


def smaller_is_better(name: str) -> bool | None:
    """Whether a smaller value of a metric, of a run or a defect type, is better; None where neither direction is."""
    metric = METRICS.get(name) or _OF_A_TYPE.get(name)
    return metric.smaller_is_better if metric else False


def digits_of(name: str) -> int:
    """The number of digits of a metric after the decimal point; the default for a metric of another release."""
    return METRICS[name].digits if name in METRICS else Metric.digits


def metric_text(value: float | None) -> str:
    """A metric's value with four digits, `-` where it is not defined."""
    if value is None:
        return "-"
    if abs(value) <= 1:
        return f"{value:.{Metric.digits}f}"
    return f"{value:.0f}" if value.is_integer() else f"{value:.{Metric.digits}g}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """`0.912 to 0.987`, or '' without an interval.

    Where no resample moves a metric, both ends are its value, and an interval would claim a certainty that nobody has:
    resamples keep the sizes of classes, so the accuracy of a classifier that names every image alike cannot move, nor
    can an AUROC of 1.
    """
    if interval is None or interval[0] == interval[1]:
        return ""
    for digits in range(3, 8):
        low, high = (f"{end:.{digits}f}" for end in interval)
        if low != high:
            return f"{low} to {high}"
    return ""
