"""Pair the predictions of runs on the same test images, and give the differences of metrics with their intervals.

An interval states how far a difference moves with other test images. `bench leaderboard`, `bench compare` and `bench
study` all compare here.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.listing import GOOD
from bench.leaderboard.aggregate import Row
from bench.metrics.bootstrap import (
    CLASSIFICATION_STATISTICS,
    DETECTION_STATISTICS,
    Difference,
    Resamples,
    Statistic,
    paired_difference,
)
from bench.metrics.catalogue import TRACKS
from bench.records.predictions import parse_predictions
from bench.records.record import PREDICTIONS, Record

Indices = NDArray[np.intp]


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
def read_predictions(folder: Path) -> Predictions | None:
    """The predictions of a run, None where it has none."""
    file = folder / PREDICTIONS
    if not file.is_file():
        return None
    rows = parse_predictions(file.read_bytes(), file)
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


def metric_differences(
    records: tuple[Record, Record], pair: Pair, only: Collection[str] | None = None
) -> dict[str, Difference]:
    """Differences of the metrics of both records, all or `only` some.

    Only metrics that scores, decisions or logits of the shared images determine have a difference.
    """
    before, after = pair.before, pair.after
    metrics = {name for name in records[0].metrics.keys() & records[1].metrics.keys() if only is None or name in only}
    classes = shared_classes(records)
    if classes and before.logits.shape[1] == after.logits.shape[1] == len(classes):
        names = [name for name in TRACKS["supervised"].differences if name in metrics]
        return _class_differences(names, (before.logits, after.logits), _targets(before, classes), pair.strata)
    wanted = TRACKS["one-class"].differences
    found = {
        name: paired_difference(before.scores, after.scores, DETECTION_STATISTICS[name], pair.strata)
        for name in wanted
        if name in DETECTION_STATISTICS and name in metrics
    }
    thresholds = [record.metrics.get("threshold") for record in records]
    if thresholds[0] is not None and thresholds[1] is not None:
        decisions = _decide(before, thresholds[0]), _decide(after, thresholds[1])
        defective = (before.defect_types != GOOD).astype(np.int64)
        names = [name for name in wanted if name not in DETECTION_STATISTICS and (only is None or name in only)]
        found |= _class_differences(names, decisions, defective, pair.strata)
    return found


def shared_classes(records: tuple[Record, Record]) -> list[str]:
    """The classes of two classifiers, in the order of their logits; empty where they differ."""
    one, other = (list(record.data.classes or {}) for record in records)
    return one if one == other else []


def _class_differences(
    names: Iterable[str],
    logits: tuple[NDArray[np.float64], NDArray[np.float64]],
    targets: NDArray[np.int64],
    strata: NDArray[Any],
) -> dict[str, Difference]:
    def of_targets(statistic: Statistic) -> Statistic:
        def figure(predictions: NDArray[Any], _: NDArray[Any], rows: Resamples) -> NDArray[np.float64]:
            return statistic(predictions, targets, rows)

        return figure

    return {name: paired_difference(*logits, of_targets(CLASSIFICATION_STATISTICS[name]), strata) for name in names}


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


def image_auroc_difference(best: Row, other: Row) -> SeedDifference | str:
    """Image AUROC of `other` minus that of `best`, averaged over the seeds that both have; or the reason for none."""
    ours = {source.record.seed: source for source in other.sources}
    theirs = {source.record.seed: source for source in best.sources}
    seeds = tuple(sorted(ours.keys() & theirs.keys()))
    if not seeds:
        return "no seed in common with the best"
    folders = [by_seed[seed].folder for by_seed in (theirs, ours) for seed in seeds]
    found = [predictions for folder in folders if (predictions := read_predictions(folder)) is not None]
    if len(found) < 2 * len(seeds):
        return "no predictions beside a record"
    first = found[0]
    aligned = [pair(first, predictions).after for predictions in found]
    if any(len(predictions) != len(first) for predictions in [*found, *aligned]):
        return "not the same test images"
    scores = np.stack([predictions.scores for predictions in aligned], axis=1)
    before, after = scores[:, : len(seeds)], scores[:, len(seeds) :]
    return SeedDifference(paired_difference(before, after, mean_auroc, first.defect_types), seeds)


def mean_auroc(
    scores: NDArray[np.float64], defect_types: NDArray[np.str_], rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Image AUROC (R,) of R resamples of scores (N, seeds), averaged over seeds."""
    auroc = DETECTION_STATISTICS["image_auroc"]
    found: NDArray[np.float64] = np.mean([auroc(column, defect_types, rows) for column in scores.T], axis=0)
    return found
