"""A run's figures beside published ones: a pure function of its record."""

from bench.config.presets import owner_of
from bench.records.published import DATASET, Figure, Reference, groups, references
from bench.records.record import Record, changed_settings

MARK = "*"


def reference_of(record: Record) -> Reference | None:
    """What was published for the run's method, on the category's dataset."""
    if record.reference is None or record.dataset != DATASET or record.category not in groups()["mean"]:
        return None
    return references().get(record.reference)


def published_figure(record: Record, metric: str) -> Figure | None:
    """The published figure of the run's category, else of the mean over all categories."""
    reference = reference_of(record)
    return reference.figure(metric, record.category) if reference else None


def differences(record: Record) -> list[str]:
    """In what the run's protocol is not that of its reference; empty where the two figures may be compared."""
    found = [] if record.official else [f"not {owner_of(DATASET)}'s own data"]
    if record.differs:
        found = [*found, record.differs]
    if record.weights.get("source") == "none" and "model.weights" in record.overrides:
        found = [*found, "random weights"]
    changed = changed_settings(record)
    changed.pop("threshold_quantile", None)  # moves no published metric
    return [*found, *(f"{key}={value}" for key, value in changed.items())]


def describe_figure(figure: Figure, own: float | None, *, comparable: bool) -> str:
    """`0.863 (+0.012)`; the difference only beside the category's own figure, and by the same protocol."""
    text = f"{figure.value:.3f}"
    if figure.of == "mean":
        text += f" (mean of {len(groups()['mean'])})"
    elif comparable and own is not None:
        text += f" ({own - figure.value:+.3f})"
    return text if comparable else text + MARK
