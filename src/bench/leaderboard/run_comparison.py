"""Two runs side by side: what their settings, figures and costs differ in, and whether by more than chance."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.listing import GOOD
from bench.leaderboard.paired import Predictions, align, read_predictions
from bench.metrics.bootstrap import (
    CLASSIFICATION_STATISTICS,
    DETECTION_STATISTICS,
    Difference,
    Statistic,
    paired_difference,
)
from bench.records.predictions import check_predictions
from bench.records.record import PREDICTIONS, Record, flat_settings

_ABOUT = ("model", "track", "dataset", "official", "category", "seed", "fold")


@dataclass(frozen=True)
class Comparison:
    """Two records by what sets them apart; a difference is that of `after` minus `before`."""

    before: Record
    after: Record
    settings: dict[str, tuple[Any, Any]]  # what differs, by dotted name; None where a run has no such setting
    differences: dict[str, Difference]  # of the figures that predictions alone decide, over the shared images
    images: str  # over how many images these are, or why there are none

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        records = {"before": self.before, "after": self.after}
        return {
            **{name: {"fingerprint": record.fingerprint} for name, record in records.items()},
            "settings": {key: dict(zip(records, pair, strict=True)) for key, pair in self.settings.items()},
            "metrics": {key: dict(zip(records, pair, strict=True)) for key, pair in self.metrics().items()},
            "differences": {
                key: {name: None if math.isnan(value) else value for name, value in found._asdict().items()}
                for key, found in self.differences.items()
            },
            "images": self.images,
            "cost": {key: dict(zip(records, pair, strict=True)) for key, pair in self.costs().items()},
        }

    def metrics(self) -> dict[str, tuple[float | None, float | None]]:
        """Every metric of either run."""
        names = dict.fromkeys([*self.before.metrics, *self.after.metrics])
        return {name: (self.before.metrics.get(name), self.after.metrics.get(name)) for name in names}

    def costs(self) -> dict[str, tuple[Any, Any]]:
        """Every cost of either run."""
        one, other = (record.cost.model_dump() if record.cost else {} for record in (self.before, self.after))
        return {name: (one.get(name), other.get(name)) for name in dict.fromkeys([*one, *other])}


def compare_runs(before: Path, after: Path) -> Comparison:
    """Read two runs, given by their folders or records, and compare them."""
    records = Record.read(before), Record.read(after)
    settings = _differing(*records)
    predictions = []
    for path, record in zip((before, after), records, strict=True):
        folder = path if path.is_dir() else path.parent
        check_predictions(record, folder / PREDICTIONS)
        predictions.append(read_predictions(folder))
    one, other = predictions
    if one is None or other is None:
        return Comparison(*records, settings, {}, f"no intervals: a run has no {PREDICTIONS} beside its record")
    shared = align(one, other)
    count = len(shared[0].images)
    if not count:
        return Comparison(*records, settings, {}, "no intervals: the runs were tested on different images")
    images = f"{count} images that both predicted"
    if count < max(len(one.images), len(other.images)):
        images += f", of {len(one.images)} and {len(other.images)}: differences and intervals are over these alone"
    classes = [list(record.data.classes or {}) for record in records]
    return Comparison(
        *records, settings, _differences(records, shared, classes[0] if classes[0] == classes[1] else []), images
    )


def _differing(before: Record, after: Record) -> dict[str, tuple[Any, Any]]:
    pairs = []
    for record in (before, after):
        own = {key: getattr(record, key) for key in _ABOUT} | flat_settings(record)
        own |= {f"weights.{key}": value for key, value in record.weights.items()}
        pairs.append(own | {"data.digest": record.data.digest, "commit": record.environment.get("commit")})
    one, other = pairs
    keys = dict.fromkeys([*one, *other])
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _differences(
    records: tuple[Record, Record], shared: tuple[Predictions, Predictions], classes: list[str]
) -> dict[str, Difference]:
    """Figures that both records have and that scores, decisions or logits of the shared images decide."""
    one, other = shared
    types = one.defect_types
    metrics = records[0].metrics.keys() & records[1].metrics.keys()
    if classes and one.logits.shape[1] == other.logits.shape[1] == len(classes):
        inputs, names = (one.logits, other.logits), {name: index for index, name in enumerate(classes)}
        statistics = {
            name: _of_classes(statistic, names)
            for name, statistic in CLASSIFICATION_STATISTICS.items()
            if name in metrics
        }
        return {name: paired_difference(*inputs, statistic, types) for name, statistic in statistics.items()}
    found = {
        name: paired_difference(one.scores, other.scores, statistic, types)
        for name, statistic in DETECTION_STATISTICS.items()
        if name in metrics
    }
    thresholds = [record.metrics.get("threshold") for record in records]
    if thresholds[0] is not None and thresholds[1] is not None:
        # A decision as logits of two classes, so that one definition of accuracy serves both tracks.
        before, after = _decide(one, thresholds[0]), _decide(other, thresholds[1])
        binary = {name: int(name != GOOD) for name in types.tolist()}
        for name in ("image_accuracy", "image_balanced_accuracy", "image_precision", "image_recall"):
            statistic = _of_classes(CLASSIFICATION_STATISTICS[name], binary)
            found[name] = paired_difference(before, after, statistic, types)
    return found


def _of_classes(statistic: Statistic, classes: Mapping[str, int]) -> Statistic:
    """The statistic for images whose strata are names of defect types."""

    def figure(predictions: NDArray[Any], types: NDArray[Any], rows: NDArray[np.intp]) -> NDArray[np.float64]:
        return statistic(predictions, np.array([classes[name] for name in types.tolist()]), rows)

    return figure


def _decide(predictions: Predictions, threshold: float) -> NDArray[np.float64]:
    return np.stack([np.zeros(len(predictions.scores)), np.where(predictions.scores > threshold, 1.0, -1.0)], axis=1)
