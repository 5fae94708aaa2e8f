"""Every metric, declared once: what it is called, which way it is better, where it is shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Metric:
    """One metric of a run.

    Args:
        name: its key in a record.
        title: what it is called where a run is shown alone.
        short: what it is called in a table of one track; without it the title.
        of_a_type: what it is called in a table by defect type; without it, it has no column there.
        smaller_is_better: None where neither way is better.
    """

    name: str
    title: str
    short: str = ""
    of_a_type: str = ""
    smaller_is_better: bool | None = False

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
# Figures of a class or defect type that no whole run has.
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
    """What the tables of a track show: methods are ranked by `headline`, larger being better."""

    headline: str
    quality: Mapping[str, str]  # metrics with their titles
    published: Sequence[str]
    study: Mapping[str, str]  # metrics of a study with their titles: the first one decides its verdict


def _columns(headline: str, quality: Sequence[str], published: Sequence[str], study: Sequence[str]) -> Columns:
    titles = [{name: METRICS[name].column for name in names} for names in (quality, study)]
    return Columns(headline, titles[0], published, titles[1])


TRACKS = {
    "one-class": _columns(
        "image_auroc",
        ("image_auroc", "image_accuracy", "image_balanced_accuracy", "pixel_auroc", "aupro_0.30"),
        published=("image_auroc", "pixel_auroc"),
        study=("image_auroc", "image_accuracy", "image_balanced_accuracy"),
    ),
    "supervised": _columns(
        "macro_f1",
        ("macro_f1", "accuracy", "balanced_accuracy", "image_auroc", "calibration_error"),
        published=(),
        study=("accuracy", "macro_f1", "image_auroc"),
    ),
}


def title_of(name: str) -> str:
    """What a metric is called where a run is shown alone; that of another release by its name."""
    return METRICS[name].title if name in METRICS else name


def smaller_is_better(name: str) -> bool | None:
    """Which way a metric of a run, or of one of its defect types, is better; None where neither way is."""
    metric = METRICS.get(name) or _OF_A_TYPE.get(name)
    return metric.smaller_is_better if metric else False


def figure_text(value: float | None) -> str:
    """Four digits, `-` for a figure that is not defined."""
    if value is None:
        return "-"
    if abs(value) <= 1:
        return f"{value:.4f}"
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"


def interval_text(interval: tuple[float, float] | None) -> str:
    """`0.912 to 0.987`, or nothing."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
