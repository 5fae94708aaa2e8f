"""Group records into rows: one per method, category and data, with mean and standard deviation over seeds."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

from bench.config.tracks import Track
from bench.leaderboard.collect import Source
from bench.metrics.catalogue import METRICS
from bench.records.published import Figure
from bench.records.published_comparison import differences, published_figure, reference_of
from bench.records.record import Record, changed_settings, flat_settings


class TableKey(NamedTuple):
    """What all records of a table have in common."""

    dataset: str
    track: str
    protocol: str
    official: bool
    fold: str  # '' for a run without folds
    protocol_version: int
    products: str = ""  # those that one model is for, by name; '' for models for one product

    @property
    def name(self) -> str:
        """`mvtec_ad-one-class-model-official-v2`: the name of the table in W&B's panels."""
        official, fold = "official" if self.official else "not-official", f"fold-{self.fold}" if self.fold else ""
        parts = (self.dataset, self.track, self.products, self.protocol, official, fold, f"v{self.protocol_version}")
        return "-".join(filter(None, parts))


class Method(NamedTuple):
    """The method of a row; two of one name and variant are distinguished by their other differing settings."""

    model: str
    variant: str  # overrides and weights that differ from the preset's, '' for none
    identity: str  # hash of all settings and weights
    shared: tuple[str, ...] = ()  # the parts of the variant that all methods of this name in the table have

    @property
    def full_label(self) -> str:
        """`padim (backbone=resnet18, channels=50)`."""
        return f"{self.model} ({self.variant})" if self.variant else self.model

    @property
    def label(self) -> str:
        """`padim (channels=50)`, without the parts that all methods of this name share."""
        return f"{self.model} ({self.own_variant})" if self.own_variant else self.model

    @property
    def own_variant(self) -> str:
        """The variant, without the parts that all methods of this name share."""
        return ", ".join(part for part in self.variant_parts if part not in self.shared)

    @property
    def variant_parts(self) -> list[str]:
        """The settings of the variant, one by one."""
        return _parts(self.variant)


@dataclass(frozen=True)
class Summary:
    """A metric or cost over seeds; `std` is the sample standard deviation, None for one seed."""

    mean: float
    std: float | None
    count: int


@dataclass(frozen=True)
class Row:
    """The records of one method on one category, in the order of their seeds."""

    method: Method
    category: str
    digest: str
    sources: tuple[Source, ...]

    @cached_property
    def records(self) -> list[Record]:
        """The records alone."""
        return [source.record for source in self.sources]

    @cached_property
    def devices(self) -> dict[str, list[int]]:
        """The seeds that were run on each device; a row with several devices is marked wherever it is shown."""
        found: dict[str, list[int]] = {}
        for record in self.records:
            found.setdefault(record.device, []).append(record.seed)
        return dict(sorted(found.items()))

    def by_seed(self, metric: str) -> dict[int, float] | None:
        """A metric of each seed; None where a record lacks it."""
        return self._complete.get(metric)

    def summarise(self, metric: str) -> Summary | None:
        """Mean and standard deviation of a metric; None where a record lacks it."""
        return self._summaries.get(metric)

    @cached_property
    def _complete(self) -> dict[str, dict[int, float]]:
        """The metrics that every record has."""
        found = {}
        for name in self.records[0].metrics:
            values = [(record.seed, record.metrics.get(name)) for record in self.records]
            own = {seed: value for seed, value in values if value is not None}
            if len(own) == len(values):
                found[name] = own
        return found

    @cached_property
    def _summaries(self) -> dict[str, Summary]:
        return {name: summary(list(values.values())) for name, values in self._complete.items()}

    def summarise_cost(self, name: str) -> Summary | None:
        """Mean and standard deviation of a cost; None where no record has costs."""
        values = [float(getattr(record.cost, name)) for record in self.records if record.cost is not None]
        return summary(values) if values else None

    def published_figure(self, metric: str) -> Figure | None:
        """The published value of a metric for the method and category."""
        return published_figure(self._referenced, metric) if self._referenced else None

    @cached_property
    def differences(self) -> list[str]:
        """How the protocol differs from that of the published figures."""
        return list(dict.fromkeys(text for record in self.records for text in differences(record)))

    @cached_property
    def _referenced(self) -> Record | None:
        """The first record that names published figures; records of another release may name none."""
        return next((record for record in self.records if reference_of(record)), None)


def quality_of(track: Track, rows: Sequence[Row]) -> list[str]:
    """The metrics of a table: those of its track, and those that only some datasets define, where a row has them."""
    own = [name for name, metric in METRICS.items() if metric.of_dataset and name not in track.quality]
    return [*track.quality, *(name for name in own if any(row.summarise(name) for row in rows))]


def aggregate(sources: Iterable[Source]) -> dict[TableKey, list[Row]]:
    """The rows of each table, sorted by category, data and method."""
    groups: dict[TableKey, dict[tuple[Method, str, str], list[Source]]] = defaultdict(lambda: defaultdict(list))
    for source in sources:
        record = source.record
        fold = "" if record.fold is None else str(record.fold)
        key = (record.dataset, record.track, str(record.config["protocol"]), record.official)
        products = ", ".join(record.config["data"].get("products") or ())
        table = TableKey(*key, fold, source.protocol_version, products)
        method = Method(record.model, describe_variant(record), source.method)
        groups[table][method, record.category, record.data.digest].append(source)
    tables = {}
    for table in sorted(groups):
        names = _distinct_names({method: found[0].record for (method, _, _), found in groups[table].items()})
        names = _name_shared(names)
        rows = [
            Row(names[method], category, digest, tuple(sorted(found, key=lambda s: s.record.seed)))
            for (method, category, digest), found in groups[table].items()
        ]
        tables[table] = sorted(rows, key=lambda row: (row.category, row.digest, row.method))
    return tables


def describe_variant(record: Record) -> str:
    """How a run's method differs from its preset: `channels=50, weights 1a2b3c4d, images 5e6f7a8b`."""
    parts = [
        f"{key.removeprefix('model.')}={value}"
        for key, value in changed_settings(record).items()
        if key != "protocol"  # another protocol is another table
    ]
    if sha256 := record.weights.get("sha256"):
        parts.append(f"weights {sha256[:8]}")
    elif "model.weights" in record.overrides:
        parts.append(f"weights {record.weights['source']}")
    if images := record.weights.get("images_sha256"):
        parts.append(f"images {images[:8]}")
    return ", ".join(parts)


def _parts(variant: str) -> list[str]:
    """Split `a=[1, 2], weights 1a2b3c4d` into its parts."""
    return re.split(r", (?=[\w.]+[= ])", variant) if variant else []


def _name_shared(names: Mapping[Method, Method]) -> dict[Method, Method]:
    """Set `shared` of each method: the parts that all of its name have, where a table has several of one name."""
    variants: dict[str, list[list[str]]] = defaultdict(list)
    for method in names.values():
        variants[method.model].append(_parts(method.variant))
    shared = {
        model: tuple(part for part in found[0] if all(part in other for other in found)) if len(found) > 1 else ()
        for model, found in variants.items()
    }
    return {method: named._replace(shared=shared[named.model]) for method, named in names.items()}


def summary(values: Sequence[float]) -> Summary:
    """Mean and sample standard deviation."""
    mean, count = fmean(values), len(values)
    # statistics.stdev computes in fractions, which takes half of the time of a large leaderboard.
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1)) if count > 1 else None
    return Summary(mean, std, count)


def _distinct_names(examples: Mapping[Method, Record]) -> dict[Method, Method]:
    """Name methods of one name and variant (of a preset that changed between releases) by the differing settings."""
    shared = Counter(method[:2] for method in examples)
    names = {}
    for method, record in examples.items():
        if shared[method[:2]] == 1:
            names[method] = method
            continue
        others = [flat_settings(other) for twin, other in examples.items() if twin[:2] == method[:2]]
        own = flat_settings(record)
        apart = sorted({key for other in others for key in own.keys() | other.keys() if own.get(key) != other.get(key)})
        parts = [f"{key.removeprefix('model.')}={own[key]}" for key in apart if key in own] or [method.identity[:8]]
        names[method] = method._replace(variant=", ".join(filter(None, [method.variant, *parts])))
    return names
