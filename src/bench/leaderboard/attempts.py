"""The attempts of a study: the records of each variant or method, and its paired differences from the baseline's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.config.decisive_settings import makes_method
from bench.config.moved_classes import present_path
from bench.config.settings import flatten
from bench.config.tracks import TRACKS
from bench.errors import UsageError, unknown
from bench.leaderboard.collect import Source
from bench.leaderboard.paired import (
    Compared,
    Pair,
    Predictions,
    metric_differences,
    pair,
    read_predictions,
    shared_classes,
)
from bench.metrics.bootstrap import Difference
from bench.records.record import PREDICTIONS, Record
from bench.sweep.plan import Planned, Sweep


class Baseline(NamedTuple):
    """What the attempts are compared with: a variant of each method, or a method with each variant."""

    name: str
    is_method: bool

    def is_of(self, cell: Planned) -> bool:
        """Whether the cell is the baseline of its group."""
        return self.name == (cell.config.model.name if self.is_method else cell.variant)

    def attempt(self, cell: Planned) -> str:
        """The name of the cell among those that it is compared with."""
        name: str = cell.config.model.name if self.is_method else cell.variant
        return name


class Group(NamedTuple):
    """What attempts share with their baseline: the other one of method and variant, and the category.

    With several datasets, the category is told with its own.
    """

    about: str  # '' where a sweep has only one
    category: str

    @property
    def title(self) -> str:
        """`padim on screw`, or `screw`."""
        return f"{self.about} on {self.category}" if self.about else self.category


@dataclass(frozen=True)
class Attempt:
    """One variant or method on one category: its records by seed, and its differences from the baseline's."""

    name: str
    group: Group
    track: str
    records: Mapping[int, Record]
    planned: Sequence[int] = (0,)  # seeds
    images: Sequence[int] = ()  # that both predicted, for each seed; for the baseline, all of its images
    differences: Mapping[str, Difference] | None = None  # by metric; None for the baseline itself
    seeds: Sequence[int] = ()  # of the differences: those that the baseline has as well
    is_baseline: bool = False


def choose_baseline(sweep: Sweep, cells: Sequence[Planned], typed: str | None) -> Baseline:
    """The typed baseline, else the one of the sweep's file: the name of a variant, or of a method."""
    variants = dict.fromkeys(cell.variant for cell in cells if cell.variant)
    methods = {cell.config.model.name: _track(cell) for cell in cells}
    known = [*variants, *(methods if len(methods) > 1 else [])]
    name = typed if typed is not None else sweep.baseline
    if name is None:
        choice = f"; name one: --baseline NAME, of {', '.join(known)}" if known else ""
        raise UsageError(f"it names no baseline to compare the others with{choice}")
    if name not in known:
        raise unknown("baseline", name, known, hint=f"known: {', '.join(known)}" if known else "it has one cell only")
    if name in variants:
        return Baseline(name, is_method=False)
    if len(set(methods.values())) > 1:
        tracks = ", ".join(f"{method} ({track})" for method, track in methods.items())
        raise UsageError(
            f"methods of different tracks are not compared: {tracks}; name some of one track with --models"
        )
    return Baseline(name, is_method=True)


def compare_attempts(baseline: Baseline, cells: Sequence[Planned], found: Sequence[Source]) -> list[Attempt]:
    """The records of all attempts, each beside the baseline's of the same group and seed."""
    grouped: dict[Group, dict[str, list[Planned]]] = {}
    for cell, group in zip(cells, _groups(baseline, cells), strict=True):
        grouped.setdefault(group, {}).setdefault(baseline.attempt(cell), []).append(cell)
    attempts = []
    for group, named in grouped.items():
        sources = {name: _by_seed(own, found) for name, own in named.items()}
        base = sources.get(baseline.name, {})
        attempts += [_attempt(group, baseline, own, sources[name], base) for name, own in named.items()]
    return attempts


def _groups(baseline: Baseline, cells: Sequence[Planned]) -> list[Group]:
    others = [cell.variant if baseline.is_method else cell.config.model.name for cell in cells]
    several = len(set(others)) > 1
    return [Group(other if several else "", cell.place) for other, cell in zip(others, cells, strict=True)]


def _by_seed(cells: Sequence[Planned], found: Sequence[Source]) -> dict[int, Source]:
    matched = {_seed(cell): _source_of(cell, found) for cell in cells}
    return {seed: source for seed, source in matched.items() if source is not None}


def _track(cell: Planned) -> str:
    return cell.config.track  # a preset of one's own need not name the track of its class


def _seed(cell: Planned) -> int:
    seed: int = cell.config.settings["seed"]
    return seed


def _attempt(
    group: Group, baseline: Baseline, cells: Sequence[Planned], own: Mapping[int, Source], base: Mapping[int, Source]
) -> Attempt:
    name, track = baseline.attempt(cells[0]), _track(cells[0])
    records, planned = {seed: source.record for seed, source in own.items()}, [_seed(cell) for cell in cells]
    seeds = [seed for seed in own if seed in base]
    if name == baseline.name or not seeds:
        images = [_images_of(source) for source in own.values()]
        return Attempt(name, group, track, records, planned, images, is_baseline=name == baseline.name)
    compared = [Compared((base[seed].record, own[seed].record), _shared(base[seed], own[seed])) for seed in seeds]
    differences = metric_differences(compared, TRACKS[track].study)
    images = [len(each.pair) for each in compared]
    return Attempt(name, group, track, records, planned, images, differences, seeds)


def _source_of(cell: Planned, found: Sequence[Source]) -> Source | None:
    """The record with the settings of the cell, from any machine; comparing weights is left to the table's reader."""
    matching = [source for source in found if _is_of(source.record, cell)]
    if len(matching) > 1:
        names = ", ".join(source.record.fingerprint for source in matching)
        raise UsageError(
            f"several runs of '{cell.title}' with other data or weights ({names}); name one folder of them"
        )
    return matching[0] if matching else None


def _is_of(record: Record, cell: Planned) -> bool:
    """Whether all settings agree; a setting that is newer than the record counts as its preset's value."""
    ran, wanted = decisive(record.config), decisive(cell.config.as_dict())
    newer = wanted.keys() - ran.keys()
    agree = all(wanted.get(key, key) == value for key, value in ran.items())
    return agree and not newer & cell.config.overrides.keys()


def decisive(config: dict[str, Any]) -> dict[str, Any]:
    """The settings, by their dotted names, that tell one cell from another."""
    settings = {
        key: value for key, value in flatten(config).items() if makes_method(key) or key in ("seed", "category")
    }
    return settings | {key: present_path(settings[key]) for key in settings if key.endswith(".class_path")}


def _images_of(source: Source) -> int:
    """How many test images a run predicted; by its record where its predictions are gone."""
    found = read_predictions(source.folder)
    if found is not None:
        return len(found)
    data = source.record.data
    return sum(data.classes.values() if data.classes else (n for key, n in data.counts.items() if key[:5] == "test/"))


def _predictions(source: Source) -> Predictions:
    found = read_predictions(source.folder)
    if found is None:
        raise UsageError(f"{source.folder} has no {PREDICTIONS}; run it again with --force")
    return found


def _shared(before: Source, after: Source) -> Pair:
    """The images that both predicted."""
    shared = pair(_predictions(before), _predictions(after))
    if not len(shared):
        raise UsageError(f"{before.folder} and {after.folder} predicted no image in common")
    classes = shared_classes((before.record, after.record))
    return shared.by_path(classes) if classes else shared
