"""Which figures the tables of each track show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Columns:
    """Metrics by their titles; methods are ranked by `headline`, larger being better."""

    headline: str
    quality: dict[str, str]
    published: tuple[str, ...]


@dataclass(frozen=True)
class Cost:
    """A cost of the record, and how it is written."""

    title: str
    unit: float
    digits: int


TRACKS = {
    "one-class": Columns(
        headline="image_auroc",
        quality={
            "image_auroc": "image AUROC",
            "image_accuracy": "accuracy",
            "image_balanced_accuracy": "balanced accuracy",
            "pixel_auroc": "pixel AUROC",
            "aupro_0.30": "AUPRO@0.30",
        },
        published=("image_auroc", "pixel_auroc"),
    ),
    "supervised": Columns(
        headline="macro_f1",
        quality={
            "macro_f1": "macro F1",
            "accuracy": "accuracy",
            "balanced_accuracy": "balanced accuracy",
            "image_auroc": "image AUROC",
            "calibration_error": "calibration error",
        },
        published=(),
    ),
}

COSTS = {
    "fit_seconds": Cost("fit (s)", 1.0, 1),
    "milliseconds_per_image": Cost("ms per image", 1.0, 1),
    "peak_memory_bytes": Cost("peak memory (MiB)", 2.0**20, 0),
    "parameters": Cost("parameters (M)", 1e6, 2),
}
