"""A run's metrics beside published ones: a pure function of its record."""

from bench.config.presets import owner_of
from bench.records.published import DATASET, Figure, Reference, groups, references
from bench.records.record import Record, changed_settings

MARK = "*"


def reference_of(record: Record) -> Reference | None:
    """The published metrics that the run's method names, if they are of the run's category; else None."""
    if record.reference is None or record.category not in groups(record.dataset).get("mean", ()):
        return None
    reference = references().get(record.reference)
    known = reference and (record.dataset == DATASET or reference.metrics_of(record.dataset))
    return reference if known else None


def published_figure(record: Record, metric: str) -> Figure | None:
    """The published value for the run's category, else for the mean over all categories."""
    reference = reference_of(record)
    return reference.figure(metric, record.category, record.dataset) if reference else None


def differences(record: Record) -> list[str]:
    """How the run's protocol differs from that of its reference; empty where the two metrics may be compared.

    It is empty as well on datasets of which nothing is published to compare with.
    """
    if not groups(record.dataset):
        return []
    found = [] if record.official else [f"not {owner_of(record.dataset)}'s own data"]
    if record.differs:
        found = [*found, record.differs]
    if record.weights.get("source") == "none" and "model.weights" in record.overrides:
        found = [*found, "random weights"]
    if images := record.weights.get("images"):  # nobody can tell whether they are those of the paper
        found = [*found, f"images of {images}"]
    changed = changed_settings(record)
    changed.pop("threshold_quantile", None)  # changes no published metric
    return [*found, *(f"{key}={value}" for key, value in changed.items())]


def describe_figure(figure: Figure, own: float | None, *, comparable: bool) -> str:
    """`0.863 (+0.012)`; the difference appears only for the category's own value, and under the same protocol."""
    text = f"{figure.value:.3f}"
    if figure.of == "mean":
        text += f" (mean of {figure.over})"
    elif comparable and own is not None:
        text += f" ({own - figure.value:+.3f})"
    return text if comparable else text + MARK
