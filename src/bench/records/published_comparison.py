"""A run's metrics beside published ones: a pure function of its record."""

from bench.config.presets import owner_of
from bench.records.published import DATASET, Figure, Reference, groups, references
from bench.records.record import Record, changed_settings

MARK = "*"


def reference_of(record: Record) -> Reference | None:
    """The published metrics of the run's method, on the category's dataset; None where there are none."""
    if record.reference is None or record.dataset != DATASET or record.category not in groups()["mean"]:
        return None
    return references().get(record.reference)


def published_figure(record: Record, metric: str) -> Figure | None:
    """The published value for the run's category, else for the mean over all categories."""
    reference = reference_of(record)
    return reference.figure(metric, record.category) if reference else None


def differences(record: Record) -> list[str]:
    """How the run's protocol differs from that of its reference; empty where the two metrics may be compared.

    It is empty on other datasets as well: nothing is published there to compare with.
    """
    if record.dataset != DATASET:
        return []
    found = [] if record.official else [f"not {owner_of(DATASET)}'s own data"]
    if record.differs:
        found = [*found, record.differs]
    if record.weights.get("source") == "none" and "model.weights" in record.overrides:
        found = [*found, "random weights"]
    changed = changed_settings(record)
    changed.pop("threshold_quantile", None)  # changes no published metric
    return [*found, *(f"{key}={value}" for key, value in changed.items())]


def describe_figure(figure: Figure, own: float | None, *, comparable: bool) -> str:
    """`0.863 (+0.012)`; the difference appears only for the category's own value, and under the same protocol."""
    text = f"{figure.value:.3f}"
    if figure.of == "mean":
        text += f" (mean of {len(groups()['mean'])})"
    elif comparable and own is not None:
        text += f" ({own - figure.value:+.3f})"
    return text if comparable else text + MARK
