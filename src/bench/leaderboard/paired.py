"""Pair the predictions of runs on the same test images, and give the differences of metrics with their intervals.

An interval states how far a difference moves with other test images. `bench leaderboard`, `bench compare` and `bench
study` all compare here.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.config.tracks import ONE_CLASS, SUPERVISED
from bench.data.category_folders import GOOD
from bench.leaderboard.aggregate import Row
from bench.metrics.bootstrap import (
    ABSENT,
    CLASSIFICATION_STATISTICS,
    DETECTION_STATISTICS,
    Difference,
    Resamples,
    Statistic,
    difference_of,
    paired_difference,
)
from bench.records.predictions import parse_predictions
from bench.records.record import PREDICTIONS, Record

Indices = NDArray[np.intp]
Change = Callable[[Resamples], NDArray[np.float64]]  # a metric after minus the metric before, of each resample


@dataclass(frozen=True)
class Predictions:
    """The predictions of one run for N images, sorted by the hashes of their contents."""

    paths: tuple[str, ...]
    hashes: tuple[str, ...]  # of the contents; copies of an image have the same
    defect_types: NDArray[np.str_]  # (N,)
    scores: NDArray[np.float64]  # (N,)
    logits: NDArray[np.float64]  # (N, classes), no classes for a detector

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, chosen: Indices) -> "Predictions":
        """The predictions of the chosen images, in that order."""
        return Predictions(
            tuple(self.paths[index] for index in chosen),
            tuple(self.hashes[index] for index in chosen),
            self.defect_types[chosen],
            self.scores[chosen],
            self.logits[chosen],
        )


@lru_cache(maxsize=64)
def read_predictions(folder: Path, product: str = "") -> Predictions | None:
    """The predictions of a run, or for one of several products of its model; None where it has none."""
    file = folder / PREDICTIONS
    if not file.is_file():
        return None
    rows = [row for row in parse_predictions(file.read_bytes(), file) if not product or row.product == product]
    rows.sort(key=lambda row: (row.sha256, row.defect_type, row.path))
    return Predictions(
        tuple(row.path for row in rows),
        tuple(row.sha256 for row in rows),
        np.array([row.defect_type for row in rows], dtype=np.str_),
        np.array([row.score for row in rows]),
        np.array([row.logits for row in rows]).reshape(len(rows), -1),
    )


@dataclass(frozen=True)
class Pair:
    """The predictions of two runs for the N images that both predicted, in one order."""

    before: Predictions
    after: Predictions
    strata: NDArray[Any]  # (N,): the bootstrap draws images within these

    def __len__(self) -> int:
        return len(self.before)

    def by_path(self, classes: Sequence[str]) -> "Pair":
        """The pair sorted by path, with classes as strata: the order in which studies of classifiers draw intervals."""
        both = zip(self.after.paths, self.after.hashes, strict=True)
        order = np.array([index for _, index in sorted((key, index) for index, key in enumerate(both))], dtype=np.intp)
        before, after = self.before[order], self.after[order]
        return replace(self, before=before, after=after, strata=_targets(after, classes))


def pair(before: Predictions, after: Predictions) -> Pair:
    """Pair the images that both predicted, by content and defect type; among copies, those of one path first."""
    indices = _copies(after)
    pairs = []
    for index, (key, path) in enumerate(zip(_keys(before), before.paths, strict=True)):
        if (found := indices[key].pop(path, None)) is not None:
            pairs.append((index, found))
    paired = {index for index, _ in pairs}
    for index, key in enumerate(_keys(before)):  # images that have another path in the other run
        if index not in paired and indices[key]:
            pairs.append((index, indices[key].pop(next(iter(indices[key])))))
    first, second = np.array(sorted(pairs), dtype=np.intp).reshape(-1, 2).T
    return Pair(before[first], after[second], before.defect_types[first])


def _keys(predictions: Predictions) -> Iterable[tuple[str, str]]:
    return zip(predictions.hashes, predictions.defect_types.tolist(), strict=True)


def _copies(predictions: Predictions) -> Mapping[tuple[str, str], dict[str, int]]:
    """The indices of all images of one content and defect type, by their paths."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for index, (key, path) in enumerate(zip(_keys(predictions), predictions.paths, strict=True)):
        found[key][path] = index
    return found


class Compared(NamedTuple):
    """Two runs of one seed: their records, and their predictions for the images that both predicted."""

    records: tuple[Record, Record]
    pair: Pair


def metric_differences(compared: Sequence[Compared], only: Collection[str] | None = None) -> dict[str, Difference]:
    """Differences of the metrics that all records have, all or `only` some, averaged over the seeds.

    Only metrics that scores, decisions or logits of the shared images determine have a difference. An image that
    several seeds predicted is drawn for all of them together; one that some lack counts for the others.
    """
    found = [_changes(each, only) for each in compared]
    strata, places = _places([each.pair for each in compared])

    def of_drawn(change: Change, place: Indices) -> Change:
        return lambda rows: change(place[rows])

    return {
        name: difference_of([of_drawn(own[name], place) for own, place in zip(found, places, strict=True)], strata)
        for name in found[0]
        if all(name in own for own in found)
    }


def _places(pairs: Sequence[Pair]) -> tuple[NDArray[Any], list[Indices]]:
    """The strata of all images of the pairs, and for each pair where they stand in it, ABSENT where it lacks one."""
    strata: dict[tuple[str, str, int], Any] = {}
    found: list[dict[tuple[str, str, int], int]] = []
    for each in pairs:
        copies: Counter[tuple[str, str]] = Counter()
        own: dict[tuple[str, str, int], int] = {}
        for index, key in enumerate(_keys(each.before)):
            own[*key, copies[key]] = index
            strata.setdefault((*key, copies[key]), each.strata[index])
            copies[key] += 1
        found.append(own)
    return np.array(list(strata.values())), [np.array([own.get(key, ABSENT) for key in strata]) for own in found]


def _changes(compared: Compared, only: Collection[str] | None) -> dict[str, Change]:
    """By metric, after minus before for resamples of the shared images."""
    (one, other), pair = compared
    before, after = pair.before, pair.after
    metrics = {name for name in one.metrics.keys() & other.metrics.keys() if only is None or name in only}
    classes = shared_classes(compared.records)
    if classes and before.logits.shape[1] == after.logits.shape[1] == len(classes):
        names = [name for name in SUPERVISED.differences if name in metrics]
        return _class_changes(names, (before.logits, after.logits), _targets(before, classes))
    wanted = ONE_CLASS.differences
    found = {
        name: _change(DETECTION_STATISTICS[name], (before.scores, after.scores), pair.strata)
        for name in wanted
        if name in DETECTION_STATISTICS and name in metrics
    }
    thresholds = [record.metrics.get("threshold") for record in compared.records]
    if thresholds[0] is not None and thresholds[1] is not None:
        decisions = _decide(before, thresholds[0]), _decide(after, thresholds[1])
        defective = (before.defect_types != GOOD).astype(np.int64)
        names = [name for name in wanted if name not in DETECTION_STATISTICS and (only is None or name in only)]
        found |= _class_changes(names, decisions, defective)
    return found


def _class_changes(
    names: Iterable[str], logits: tuple[NDArray[np.float64], NDArray[np.float64]], targets: NDArray[np.int64]
) -> dict[str, Change]:
    return {name: _change(CLASSIFICATION_STATISTICS[name], logits, targets) for name in names}


def _change(statistic: Statistic, predictions: tuple[NDArray[Any], NDArray[Any]], targets: NDArray[Any]) -> Change:
    before, after = predictions
    return lambda rows: statistic(after, targets, rows) - statistic(before, targets, rows)


def shared_classes(records: tuple[Record, Record]) -> list[str]:
    """The classes of two classifiers, in the order of their logits; empty where they differ."""
    one, other = (list(record.data.classes or {}) for record in records)
    return one if one == other else []


def _targets(predictions: Predictions, classes: Sequence[str]) -> NDArray[np.int64]:
    number = {name: index for index, name in enumerate(classes)}
    return np.array([number[name] for name in predictions.defect_types.tolist()], dtype=np.int64)


def _decide(predictions: Predictions, threshold: float) -> NDArray[np.float64]:
    """Decisions as logits (N, 2) of two classes, so that one definition of accuracy serves both tracks."""
    return np.stack([np.zeros(len(predictions)), np.where(predictions.scores > threshold, 1.0, -1.0)], axis=1)


class SeedDifference(NamedTuple):
    """A difference, and the seeds that it is averaged over."""

    difference: Difference
    seeds: tuple[int, ...]


def image_auroc_difference(best: Row, other: Row, best_is: str = "the best") -> SeedDifference | str:
    """Image AUROC of `other` minus that of `best`, averaged over the seeds that both have; or the reason for none."""
    found = _aligned(best, other, best_is)
    if isinstance(found, str):
        return found
    return SeedDifference(paired_difference(found.before, found.after, mean_auroc, found.defect_types), found.seeds)


def mean_auroc_difference(pairs: Sequence[tuple[Row, Row]]) -> SeedDifference | str:
    """The mean over pairs of rows, each on other images, of image AUROC of the second minus the first; or why none.

    Images are drawn within each pair and its defect types; all pairs are of the same seeds.
    """
    found = [_aligned(before, after, "the first") for before, after in pairs]
    aligned = [each for each in found if not isinstance(each, str)]
    if len(aligned) < len(found):
        return next(each for each in found if isinstance(each, str))
    types = np.concatenate([each.defect_types for each in aligned])
    owners = np.repeat(np.arange(len(aligned)), [len(each.defect_types) for each in aligned])
    strata = np.array([f"{owner} {kind}" for owner, kind in zip(owners.tolist(), types.tolist(), strict=True)])
    columns = [np.flatnonzero(owners == number) for number in range(len(aligned))]

    def statistic(scores: NDArray[np.float64], _: NDArray[Any], rows: Resamples) -> NDArray[np.float64]:
        mean: NDArray[np.float64] = np.mean([mean_auroc(scores, types, rows[:, own]) for own in columns], axis=0)
        return mean

    before, after = (np.concatenate([getattr(each, name) for each in aligned]) for name in ("before", "after"))
    return SeedDifference(paired_difference(before, after, statistic, strata), aligned[0].seeds)


class _Aligned(NamedTuple):
    """Scores (N, seeds) of two rows for the same N images, and the defect types (N,) of these."""

    before: NDArray[np.float64]
    after: NDArray[np.float64]
    defect_types: NDArray[np.str_]
    seeds: tuple[int, ...]


def _aligned(best: Row, other: Row, best_is: str) -> _Aligned | str:
    """The scores of both rows for the seeds that both have; or the reason for none."""
    ours = {source.record.seed: source for source in other.sources}
    theirs = {source.record.seed: source for source in best.sources}
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    if not seeds:
        return f"no seed in common with {best_is}"
    sources = [by_seed[seed] for by_seed in (theirs, ours) for seed in seeds]
    read = (read_predictions(source.folder, source.product) for source in sources)
    found = [predictions for predictions in read if predictions is not None]
    if len(found) < 2 * len(seeds):
        return "no predictions beside a record"
    first = found[0]
    aligned = [pair(first, predictions).after for predictions in found]
    if any(len(predictions) != len(first) for predictions in [*found, *aligned]):
        return "not the same test images"
    scores = np.stack([predictions.scores for predictions in aligned], axis=1)
    return _Aligned(scores[:, : len(seeds)], scores[:, len(seeds) :], first.defect_types, seeds)


def mean_auroc(
    scores: NDArray[np.float64], defect_types: NDArray[np.str_], rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Image AUROC (R,) of R resamples of scores (N, seeds), averaged over seeds."""
    auroc = DETECTION_STATISTICS["image_auroc"]
    found: NDArray[np.float64] = np.mean([auroc(column, defect_types, rows) for column in scores.T], axis=0)
    return found
