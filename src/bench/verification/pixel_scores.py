"""The judged pixels of a test, sorted: every figure of pixels is computed from them, under any protocol."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.memory import release_free_memory
from bench.metrics.pixel import PixelMetrics
from bench.metrics.ranking import Ranking, rank

Scores = NDArray[np.float32]
_AT_ONCE = 8  # images whose pixels are copied before the memory of their pieces is returned


@dataclass(frozen=True)
class PixelScores:
    """Scores of the judged pixels, each kind in ascending order.

    Args:
        normal_of_good: those of good images (N,).
        normal_of_defective: those of defective images (M,) outside their masks.
        anomalous: those inside masks (P,).
        weights: 1 / |region| of each anomalous pixel (P,); their sum is the number of regions.
        defect_types: the index of the defect type of each anomalous pixel (P,), from 1.
        regions: the scores of each region's pixels, in no particular order.
        by_image: AUPRO of each defective image by itself, by the limit of the false positive rate, where it was asked
            for.
    """

    normal_of_good: Scores
    normal_of_defective: Scores
    anomalous: Scores
    weights: NDArray[np.float64]
    defect_types: NDArray[np.int32]
    regions: list[Scores]
    by_image: dict[float, list[float]]

    @cached_property
    def among_good(self) -> Ranking:
        """The anomalous pixels among the normal ones of good images."""
        return rank(self.anomalous, self.normal_of_good)

    @cached_property
    def among_defective(self) -> Ranking:
        """The anomalous pixels among the normal ones of defective images."""
        return rank(self.anomalous, self.normal_of_defective)

    @cached_property
    def ranking(self) -> Ranking:
        """The anomalous pixels among all normal ones."""
        return self.among_good + self.among_defective

    @property
    def normals(self) -> int:
        """The number of normal pixels."""
        return self.normal_of_good.size + self.normal_of_defective.size

    @property
    def range(self) -> tuple[float, float]:
        """The lowest and the highest score of all pixels."""
        there = [part for part in (self.normal_of_good, self.normal_of_defective, self.anomalous) if part.size]
        return min(float(part[0]) for part in there), max(float(part[-1]) for part in there)

    def normals_within(self, rate: float) -> int:
        """The largest number of normal pixels that is no more than this share of all."""
        return int(np.floor(rate * self.normals * (1 + 1e-12)))  # .3 * 10 is below 3

    def normals_above(self, thresholds: NDArray[Any]) -> NDArray[np.int64]:
        """The number of normal pixels above each threshold (T,)."""
        # As float32 thresholds would be rounded; as float64 they would make numpy copy all scores.
        single = _rounded_down(thresholds)
        parts = (self.normal_of_good, self.normal_of_defective)
        found: NDArray[np.int64] = sum(  # type: ignore[assignment]
            part.size - np.searchsorted(part, single, side="right") for part in parts
        )
        return found

    def overlap_above(self, thresholds: NDArray[Any]) -> NDArray[np.float64]:
        """The per-region overlap above each threshold (T,): the mean over all regions of the share that is found."""
        below = np.concatenate([[0.0], np.cumsum(self.weights)])
        overlap: NDArray[np.float64] = 1 - below[self._anomalous_below(thresholds)] / below[-1]
        return overlap

    def anomalous_above(self, thresholds: NDArray[Any]) -> NDArray[np.int64]:
        """The number of anomalous pixels above each threshold (T,)."""
        above: NDArray[np.int64] = self.anomalous.size - self._anomalous_below(thresholds)
        return above

    def _anomalous_below(self, thresholds: NDArray[Any]) -> NDArray[np.int64]:
        return np.searchsorted(self.anomalous, _rounded_down(thresholds), side="right")

    def normal_score(self, count: int) -> float:
        """The lowest normal score that no more than `count` normal scores exceed; there are more than `count`."""
        # The scores with the most above them; the arrays are sorted, so these are their ends.
        ends = [part[-(count + 1) :] for part in (self.normal_of_good, self.normal_of_defective)]
        together = np.concatenate(ends)
        place = together.size - count - 1
        together.partition(place)
        return float(together[place])

    def mapped(self, change: Callable[[Scores], Scores]) -> "PixelScores":
        """The same pixels with changed scores; `change` must keep the order, but may make scores equal."""
        return replace(
            self,
            normal_of_good=change(self.normal_of_good),
            normal_of_defective=change(self.normal_of_defective),
            anomalous=change(self.anomalous),
            regions=[change(region) for region in self.regions],
            by_image={},
        )


def sorted_pixels(found: PixelMetrics, regions: list[Scores], by_image: dict[float, list[float]]) -> PixelScores:
    """The pixels that were gathered, which `found` then no longer holds."""
    anomalous, sizes, types = (
        _taken(state).numpy() for state in (found.anomalous, found.region_size, found.defect_type)
    )
    order = np.lexsort((sizes, anomalous))  # as the metric of a run orders them
    return PixelScores(
        normal_of_good=_ascending(found.normal_of_good),
        normal_of_defective=_ascending(found.normal_of_defective),
        anomalous=anomalous[order],
        weights=1 / sizes[order].astype(np.float64),
        defect_types=types[order],
        regions=regions,
        by_image=by_image,
    )


def _taken(pieces: list[Tensor]) -> Tensor:
    """The pieces as one tensor; each leaves the list as it is copied, so that pixels are never all held twice."""
    whole = torch.empty(sum(map(len, pieces)), dtype=pieces[0].dtype)
    end = len(whole)
    while pieces:
        piece = pieces.pop()
        whole[end - len(piece) : end] = piece
        end -= len(piece)
        if len(pieces) % _AT_ONCE == 0:
            release_free_memory()
    return whole


def _ascending(pieces: list[Tensor]) -> Scores:
    scores: Scores = _taken(pieces).numpy()
    scores.sort()
    return scores


def _rounded_down(thresholds: NDArray[Any]) -> NDArray[np.float32]:
    """The largest single-precision numbers not above these: `score > threshold` is the same for float32 scores."""
    exact = np.asarray(thresholds, dtype=np.float64)
    single = exact.astype(np.float32)
    return np.where(single > exact, np.nextafter(single, np.float32(-np.inf)), single)
