"""sPRO: the exact area under the saturated per-region overlap (Bergmann et al. 2022, "Beyond Dents and Scratches").

A defect counts by the share of its saturation area that is found, at most 1. The curve is the mean of that over all
defects against the false positive rate, whose pixels are those that no defect of their image holds. Of a kind of
defects, the images are its own and the good ones. MVTec's evaluation takes some thresholds and joins their points; here
every score is a threshold, which is where theirs leads with ever more of them.

A defect whose largest scores are taken one by one rises by 1 / saturation area with each, until it is saturated. So the
area under its curve is that of per-region overlap (`aupro`) over its largest scores alone, as many as saturate it, each
with that weight. Up to a limit of the false positive rate only the largest normal scores matter: no others are kept.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.collectives import rows_on_first
from bench.metrics.aupro import aupro
from bench.metrics.ranking import Ranking

LIMIT = 0.05
GOOD = 0

Scores = NDArray[np.float32]
Mask = NDArray[np.bool_]
_NONE = np.empty(0, np.float32)


class LargestScores:
    """The `keep` largest of all scores that were added, or up to twice as many, and how many there were in all.

    A count of those above a score, or at or above it, is exact where it is below `keep`; else it is `keep` or more.
    """

    def __init__(self, keep: int) -> None:
        self.keep, self.total = max(keep, 1), 0
        self._pieces: list[Scores] = []
        self._size = 0
        # All scores above `floor` are kept; of those equal to it, their number. None was left out before that.
        self._floor, self._ties = np.float32(-np.inf), 0

    def add(self, scores: Scores) -> None:
        """Add finite scores (N,)."""
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite")
        self.total += scores.size
        self._ties += int(np.count_nonzero(scores == self._floor))
        kept = scores[scores > self._floor]
        self._pieces.append(kept)
        self._size += kept.size
        if self._size > 2 * self.keep:
            self._drop()

    @property
    def size(self) -> int:
        """The number of scores that are kept."""
        return self._size

    def counts(self, scores: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """How many lie above each of these scores (P,), and at or above it."""
        kept = np.sort(self._kept())
        above = kept.size - np.searchsorted(kept, scores, side="right")
        at_or_above = kept.size - np.searchsorted(kept, scores, side="left")
        return above + self._ties * (scores < self._floor), at_or_above + self._ties * (scores <= self._floor)

    def gather(self, device: torch.device) -> None:
        """Move the scores of all processes to the first one, through `device`."""
        facts = torch.tensor([[float(self._floor), self._ties, self.total]], dtype=torch.float64)
        kept, facts = rows_on_first(torch.from_numpy(self._kept()), device), rows_on_first(facts, device)
        if not len(facts):
            return
        floors, ties, totals = facts.numpy().T
        scores = kept.numpy()
        self._floor, self.total = np.float32(floors.max()), int(totals.sum())
        self._ties = int(ties[floors == floors.max()].sum()) + int(np.count_nonzero(scores == self._floor))
        self._pieces = [scores[scores > self._floor]]
        self._size = self._pieces[0].size

    def _kept(self) -> Scores:
        return np.concatenate([_NONE, *self._pieces])

    def _drop(self) -> None:
        scores = self._kept()
        place = scores.size - self.keep
        self._floor = np.partition(scores, place)[place]
        self._ties = int(np.count_nonzero(scores == self._floor))
        self._pieces = [scores[scores > self._floor]]
        self._size = self._pieces[0].size


class SaturatedOverlap:
    """sPRO of each kind of defects, from the anomaly maps of good images and of defective ones.

    `pixels` are the most pixels that the test images of each kind have, of `GOOD` ones too: they bound what is kept to
    `LIMIT` of them, and to the saturation areas of all defects.
    """

    def __init__(self, pixels: Mapping[int, int], limit: float = LIMIT) -> None:
        self.limit = limit
        good = pixels.get(GOOD, 0)
        most = {kind: good + count for kind, count in pixels.items() if kind != GOOD}
        most[GOOD] = max(most.values(), default=good)
        self._normal = {kind: LargestScores(int(limit * count) + 1) for kind, count in most.items()}
        self._found: dict[int, list[Scores]] = {kind: [] for kind in most if kind != GOOD}
        self._areas: dict[int, list[NDArray[np.int32]]] = {kind: [] for kind in self._found}

    def update(self, scores: Scores, kind: int, defects: Sequence[tuple[Mask, int]]) -> None:
        """Add the map (H, W) of an image of this kind: of each of its defects the mask (H, W) and saturation area."""
        if (kind == GOOD) != (not defects):
            raise ValueError("a defective image has defects, a good one has none")
        if any(mask.shape != scores.shape or not 1 <= area <= mask.sum() for mask, area in defects):
            raise ValueError("a defect's mask has the shape of the map, and its saturation area lies within its own")
        for mask, area in defects:
            own = scores[mask]
            self._found[kind].append(np.partition(own, own.size - area)[own.size - area :])
            self._areas[kind].append(np.full(area, area, np.int32))
        normal = np.logical_not(np.logical_or.reduce([mask for mask, _ in defects])) if defects else ...
        self._normal[kind].add(scores[normal].ravel())

    def gather(self, device: torch.device) -> None:
        """Move everything from all processes to the first one, through `device`."""
        for kind in sorted(self._normal):
            self._normal[kind].gather(device)
            if kind != GOOD:
                self._found[kind] = [_on_first(self._found[kind], np.float32, device)]
                self._areas[kind] = [_on_first(self._areas[kind], np.int32, device)]

    def compute(self) -> dict[int, float]:
        """sPRO of each kind of which there is a defect, by its number; nan where there is no normal pixel."""
        return {kind: self._of_kind(kind) for kind, found in sorted(self._found.items()) if sum(map(len, found))}

    def _of_kind(self, kind: int) -> float:
        scores, areas = np.concatenate(self._found[kind]), np.concatenate(self._areas[kind])
        order = np.lexsort((areas, scores))  # so that sums do not depend on the order of arrival
        scores, areas = scores[order], areas[order]
        counts = [self._normal[each].counts(scores) for each in (GOOD, kind)]
        above, at_or_above = (np.add(*pair) for pair in zip(*counts, strict=True))
        normals = self._normal[GOOD].total + self._normal[kind].total
        if min(self._normal[each].keep for each in (GOOD, kind)) <= self.limit * normals:
            raise ValueError(f"{normals} normal pixels, more than the images of this kind were said to have")
        return aupro(Ranking(scores, above, at_or_above, normals), 1 / areas.astype(np.float64), self.limit)


def _on_first(pieces: Sequence[NDArray[Any]], kind: type, device: torch.device) -> NDArray[Any]:
    together = torch.from_numpy(np.concatenate([np.empty(0, kind), *pieces]))
    return rows_on_first(together, device).numpy()
