"""How figures change with the training images: runs that differ only in their number, or in how many are defective."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.config.cell import PROTOCOL, encode_settings, hash_encoded
from bench.config.tracks import TRACKS
from bench.data.category_folders import GOOD
from bench.leaderboard.aggregate import Method, Row, Summary, describe_variant, quality_of
from bench.leaderboard.collect import Source
from bench.leaderboard.products import by_product
from bench.records.record import Record


@dataclass(frozen=True)
class Swept:
    """A setting of the training images that has a table and a page of its own.

    Args:
        name: its name after `data.`, and in the name of its files.
        title: what the tables are about.
        about: what a reader must know.
        axis: the label of its axis.
        unset: its value in a run that leaves it alone.
        logarithmic: whether its axis is.
    """

    name: str
    title: str
    about: str
    axis: str
    unset: Any
    logarithmic: bool

    def of(self, record: Record) -> Any:
        """The value of a run."""
        return record.config.get("data", {}).get(self.name, self.unset)


SWEPT = (
    Swept(
        "shots",
        "by the number of training images",
        "The seed draws the training images, and a smaller number is part of a larger one. Mean ± standard deviation "
        "over seeds, which is of these images and of the method's own randomness together; the test images are the "
        "same, and what others would change is not in it. With too few images for a threshold there are rankings and "
        "no decisions.",
        "training images",
        None,
        logarithmic=True,
    ),
    Swept(
        "contamination",
        "by the share of defective training images",
        "That share of the training images is replaced by defective ones, drawn by the seed, which are then no test "
        "images; the images that set the threshold are as dirty. Mean ± standard deviation over seeds.",
        "share of defective training images",
        0,
        logarithmic=False,
    ),
)


class Point(NamedTuple):
    """A method at one value of the setting: its runs, or why there are none."""

    row: Row | None
    reason: str = ""

    def summarise(self, metric: str) -> Summary | None:
        """A metric over the seeds; None where a run lacks it."""
        return self.row.summarise(metric) if self.row else None


@dataclass(frozen=True)
class Curve:
    """One method on one category, by the value of the setting."""

    method: Method
    points: Mapping[float, Point]


@dataclass(frozen=True)
class Curves:
    """All methods on one set of images of one category.

    `values` are the numbers of the columns, ascending; `titles` their names. `full` is the value of all images.
    """

    swept: Swept
    dataset: str
    track: str
    protocol: str
    protocol_version: int
    category: str
    digest: str
    values: Sequence[float]
    titles: Sequence[str]
    curves: Sequence[Curve]

    @property
    def metrics(self) -> list[str]:
        """The metrics of the track, or of its dataset alone, that any run has."""
        rows = [point.row for curve in self.curves for point in curve.points.values() if point.row]
        return [name for name in quality_of(TRACKS[self.track], rows) if any(row.summarise(name) for row in rows)]

    @property
    def seeds(self) -> list[int]:
        """The seeds of all runs."""
        rows = [point.row for curve in self.curves for point in curve.points.values() if point.row]
        return sorted({record.seed for row in rows for record in row.records})


def is_swept(record: Record) -> bool:
    """Whether a run's training images were chosen: then it stands in the tables of that, and in no other."""
    return any(swept.of(record) != swept.unset for swept in SWEPT)


def build_curves(sources: Sequence[Source], failures: Iterable[Record]) -> dict[str, list[Curves]]:
    """The curves by the name of their file: `<dataset>-<track>-shots`; of failed runs their reasons are told."""
    failed, sources = list(failures), by_product(sources)
    found: dict[str, list[Curves]] = {}
    for swept in SWEPT:
        groups: dict[tuple[Any, ...], dict[str, list[Source | Record]]] = {}
        for source in sources:
            groups.setdefault(_key(source.record, source.protocol_version), {}).setdefault(
                _identity(source.record, swept), []
            ).append(source)
        for record in failed:
            groups.setdefault(_key(record, PROTOCOL), {}).setdefault(_identity(record, swept), []).append(record)
        for key in sorted(groups):
            methods = {name: own for name, own in groups[key].items() if any(_differs(each, swept) for each in own)}
            if any(isinstance(each, Source) for own in methods.values() for each in own):
                found.setdefault(f"{key[0]}-{key[1]}-{swept.name}", []).append(_curves(swept, key, methods))
    return found


def _key(record: Record, version: int) -> tuple[Any, ...]:
    return (
        record.dataset,
        record.track,
        str(record.config.get("protocol")),
        version,
        record.category,
        record.data.digest,
    )


def _identity(record: Record, swept: Swept) -> str:
    """A hash of what makes the method, without seed, category and the swept setting."""
    config = {**record.config, "data": {**record.config["data"], swept.name: swept.unset}}
    settings = encode_settings(config, record.weights)
    return hash_encoded({k: v for k, v in settings.items() if k not in ("category", "seed")}, "", PROTOCOL)


def _record(each: Source | Record) -> Record:
    return each.record if isinstance(each, Source) else each


def _differs(each: Source | Record, swept: Swept) -> bool:
    return bool(swept.of(_record(each)) != swept.unset)


def _curves(swept: Swept, key: tuple[Any, ...], methods: Mapping[str, list[Source | Record]]) -> Curves:
    dataset, track, protocol, version, category, digest = key
    records = [_record(each) for own in methods.values() for each in own]
    set_values = [value for record in records if (value := swept.of(record)) is not None]
    everything = max([records[0].data.counts.get(f"train/{GOOD}", 0), *map(math.ceil, set_values)])
    curves = [_curve(swept, identity, own, category, digest, everything) for identity, own in methods.items()]
    values = sorted({value for curve in curves for value in curve.points})
    names = {float(everything): f"all ({everything})"} if swept.unset is None else {0.0: "none"}
    titles = [names.get(value, f"{value:g}") for value in values]
    variants = [curve.method.variant_parts for curve in curves]
    shared = tuple(part for part in variants[0] if all(part in other for other in variants)) if len(curves) > 1 else ()
    named = [Curve(curve.method._replace(shared=shared), curve.points) for curve in curves]
    ordered = sorted(named, key=lambda curve: curve.method)
    return Curves(swept, dataset, track, protocol, version, category, digest, values, titles, ordered)


def _curve(
    swept: Swept, identity: str, own: Sequence[Source | Record], category: str, digest: str, everything: int
) -> Curve:
    example = _record(own[0])
    variant = describe_variant(example.model_copy(update={"overrides": _without(example, swept)}))
    method = Method(example.model, variant, identity)
    by_value: dict[float, list[Source | Record]] = {}
    for each in own:
        value = swept.of(_record(each))
        by_value.setdefault(float(everything if value is None else value), []).append(each)
    points = {value: _point(method, category, digest, each) for value, each in sorted(by_value.items())}
    return Curve(method, points)


def _without(record: Record, swept: Swept) -> dict[str, Any]:
    return {key: value for key, value in record.overrides.items() if key != f"data.{swept.name}"}


def _point(method: Method, category: str, digest: str, own: Sequence[Source | Record]) -> Point:
    finished = tuple(sorted((each for each in own if isinstance(each, Source)), key=lambda each: each.record.seed))
    if finished:
        return Point(Row(method, category, digest, finished))
    return Point(None, min(_record(each).error or "" for each in own))
