"""Two methods on the same test images: the difference of a figure, and how far it moves with other images."""

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.leaderboard.aggregate import Row
from bench.metrics.bootstrap import DETECTION_STATISTICS, Difference, paired_difference
from bench.records.predictions import parse_predictions
from bench.records.record import PREDICTIONS


@dataclass(frozen=True)
class Predictions:
    """What one run said of N images, in the order of their contents."""

    images: tuple[tuple[str, int], ...]  # content hash, and a number where several images have the same content
    defect_types: NDArray[np.str_]  # (N,)
    scores: NDArray[np.float64]  # (N,)
    logits: NDArray[np.float64]  # (N, classes), no classes for a detector

    def __getitem__(self, chosen: NDArray[np.intp]) -> "Predictions":
        """Those of the chosen images, in that order."""
        images = tuple(self.images[place] for place in chosen)
        return Predictions(images, self.defect_types[chosen], self.scores[chosen], self.logits[chosen])


@lru_cache(maxsize=64)
def read_predictions(folder: Path) -> Predictions | None:
    """The predictions of a run, None where it has none."""
    file = folder / PREDICTIONS
    if not file.is_file():
        return None
    rows = parse_predictions(file.read_bytes(), file)
    rows.sort(key=lambda row: (row.sha256, row.defect_type, row.path))
    seen: Counter[str] = Counter()
    images = []
    for row in rows:
        images.append((row.sha256, seen[row.sha256]))
        seen[row.sha256] += 1
    return Predictions(
        tuple(images),
        np.array([row.defect_type for row in rows], dtype=np.str_),
        np.array([row.score for row in rows]),
        np.array([row.logits for row in rows]).reshape(len(rows), -1),
    )


def align(one: Predictions, other: Predictions) -> tuple[Predictions, Predictions]:
    """The predictions of the images that both hold, by content and defect type, in one order."""
    places = {
        (image, kind): place for place, (image, kind) in enumerate(zip(other.images, other.defect_types, strict=True))
    }
    pairs = [
        (place, places[key])
        for place, key in enumerate(zip(one.images, one.defect_types, strict=True))
        if key in places
    ]
    first, second = np.array(pairs, dtype=np.intp).reshape(-1, 2).T
    return one[first], other[second]


class SeedDifference(NamedTuple):
    """A difference, and the seeds that it is the mean over."""

    difference: Difference
    seeds: tuple[int, ...]


def image_auroc_difference(best: Row, other: Row) -> SeedDifference | str:
    """Image AUROC of `other` minus that of `best`, averaged over the seeds that both have; or why there is none."""
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
    aligned = [align(first, predictions)[1] for predictions in found]
    if any(len(predictions.scores) != len(first.scores) for predictions in [*found, *aligned]):
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
