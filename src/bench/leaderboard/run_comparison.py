"""Two runs side by side: how settings, metrics and costs differ, and whether metrics differ by more than chance."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.leaderboard.paired import Compared, metric_differences, pair, read_predictions
from bench.leaderboard.products import record_of_product
from bench.metrics.bootstrap import Difference
from bench.records.predictions import check_predictions
from bench.records.record import PREDICTIONS, Record, flat_settings

_ABOUT = ("model", "track", "dataset", "official", "category", "seed", "fold")


@dataclass(frozen=True)
class Comparison:
    """Two records and what differs between them; a difference is `after` minus `before`."""

    before: Record
    after: Record
    settings: dict[str, tuple[Any, Any]]  # what differs, by dotted name; None where a run has no such setting
    differences: dict[str, Difference]  # of the metrics that predictions alone determine, over the shared images
    images: str  # how many images the differences are over, or why there are none

    def as_dict(self) -> dict[str, Any]:
        """The comparison as a dictionary for JSON."""
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
    read = Record.read(before), Record.read(after)
    products = [_product_of(*read), _product_of(*reversed(read))]
    predictions = []
    for path, record, product in zip((before, after), read, products, strict=True):
        folder = path if path.is_dir() else path.parent
        check_predictions(record, folder / PREDICTIONS)
        predictions.append(read_predictions(folder, product))
    one, other = predictions
    first, second = (
        record_of_product(record, product) if product else record
        for record, product in zip(read, products, strict=True)
    )
    records = first, second
    settings = _differing(*records)
    if one is None or other is None:
        return Comparison(*records, settings, {}, f"no intervals: a run has no {PREDICTIONS} beside its record")
    shared = pair(one, other)
    if not len(shared):
        return Comparison(*records, settings, {}, "no intervals: the runs were tested on different images")
    images = f"{len(shared)} images that both predicted"
    if len(shared) < max(len(one), len(other)):
        images += f", of {len(one)} and {len(other)}: differences and intervals are over these alone"
    return Comparison(*records, settings, metric_differences([Compared(records, shared)]), images)


def _product_of(record: Record, other: Record) -> str:
    """The product of a model for several that the other run is of; '' where it is compared as a whole."""
    return other.category if other.products is None and other.category in (record.products or {}) else ""


def _differing(before: Record, after: Record) -> dict[str, tuple[Any, Any]]:
    pairs = []
    for record in (before, after):
        own = {key: getattr(record, key) for key in _ABOUT} | flat_settings(record)
        own |= {f"weights.{key}": value for key, value in record.weights.items()}
        pairs.append(own | {"data.digest": record.data.digest, "commit": record.environment.get("commit")})
    one, other = pairs
    keys = dict.fromkeys([*one, *other])
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}
