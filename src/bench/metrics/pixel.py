"""Metrics of one raw score per pixel, pooled over every image of a category."""

import operator
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from bench.collectives import rank_and_processes, rows_on_first
from bench.memory import release_free_memory
from bench.metrics.aupro import aupro
from bench.metrics.curves import Points, overlap_curve
from bench.metrics.ranking import Ranking, Scores, auroc, average_precision, f1_max, rank
from bench.metrics.regions import region_sizes

GOOD = 0

_BLOCK = 9 * 2**20  # normal pixels ranked at a time by one thread, 36 MiB: glibc returns blocks above 32 MiB at once

# One number per normal pixel, in no particular order, and three per anomalous pixel.
_STATES = {
    "normal_of_good": torch.float32,
    "normal_of_defective": torch.float32,
    "anomalous": torch.float32,
    "region_size": torch.int32,
    "defect_type": torch.int32,
}


class PixelResult(NamedTuple):
    """Metrics of a category, of each defect type that has an anomalous pixel, by its index, and of each product."""

    overall: dict[str, float]
    by_defect: dict[int, dict[str, float]]
    by_product: "Mapping[str, PixelResult] | None" = None  # where one model is for several


def pixel_metrics(ranking: Ranking, weights: NDArray[np.float64]) -> dict[str, float]:
    """The metrics of a category, from its anomalous pixels among all normal ones and their weights 1 / |region|."""
    return {
        "pixel_auroc": auroc(ranking),
        "pixel_ap": average_precision(ranking),
        "pixel_f1max": f1_max(ranking).value,
        "aupro_0.30": aupro(ranking, weights, 0.30),
        "aupro_0.05": aupro(ranking, weights, 0.05),
    }


def pixel_result(
    ranking: Ranking, among_good: Ranking, weights: NDArray[np.float64], defect_types: NDArray[np.int32]
) -> PixelResult:
    """All metrics, from the P anomalous pixels among all normal ones and among those of good images alone."""
    by_defect = {}
    for index in np.unique(defect_types):
        chosen = defect_types == index
        of_type = among_good[chosen]
        by_defect[int(index)] = {
            "pixel_auroc": auroc(of_type),
            "pixel_ap": average_precision(of_type),
            "aupro_0.30": aupro(of_type, weights[chosen], 0.30),
        }
    return PixelResult(pixel_metrics(ranking, weights), by_defect)


class PixelMetrics(Metric):
    """Pixel AUROC, AP, F1-max and AUPRO, exact, from anomaly maps kept as float32.

    Overall, the negatives are all normal pixels, those of defective images included. By defect type, the positives are
    the pixels of the type and the negatives all pixels of good images: the mean over types is not the overall metric.
    AUPRO gives every 8-connected region of the category the same weight.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    normal_of_good: list[Tensor]
    normal_of_defective: list[Tensor]
    anomalous: list[Tensor]
    region_size: list[Tensor]
    defect_type: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in _STATES:
            self.add_state(name, [], dist_reduce_fx="cat")
        self.reset()

    def reset(self) -> None:
        """Remove all pixels."""
        super().reset()
        # A process that sees no image joins the gathering with an empty tensor. torchmetrics would make one as well,
        # but of float32, and the bits of other processes' integers would be read as floats.
        for name, dtype in _STATES.items():
            setattr(self, name, [torch.empty(0, dtype=dtype, device=self.device)])

    @classmethod
    def together(cls, parts: "Iterable[PixelMetrics]") -> "PixelMetrics":
        """The pixels of several, which are not copied; `figures` tells of them."""
        found = cls(sync_on_compute=False)
        for part in parts:
            for name in _STATES:
                getattr(found, name).extend(_pieces(getattr(part, name)))
        return found

    def update(self, maps: Tensor, masks: Tensor, defect_types: Tensor, regions: Tensor | None = None) -> None:
        """Add maps (B, H, W), bool masks (B, H, W) and defect types (B,), 0 for good; H and W may differ by call.

        With bool `regions` (B, H, W), pixels outside are neither normal nor anomalous, and a region of a mask is what
        lies inside.
        """
        if masks.dtype != torch.bool or maps.ndim != 3 or maps.shape != masks.shape or len(defect_types) != len(maps):
            raise ValueError(
                "expected maps (B, H, W), bool masks (B, H, W) and defect types (B,), got "
                f"{tuple(maps.shape)}, {masks.dtype} {tuple(masks.shape)} and {tuple(defect_types.shape)}"
            )
        # In numpy, whose boolean indexing is 40 times faster than torch's on the CPU and needs no index tensors.
        scores, mask, types = maps.detach().float().cpu().numpy(), masks.cpu().numpy(), defect_types.cpu().numpy()
        inside = None if regions is None else regions.cpu().numpy()
        mask = mask if inside is None else mask & inside
        good = types == GOOD
        if mask[good].any():
            raise ValueError("a good image (defect type 0) has anomalous pixels in its mask")
        sizes = [region_sizes(each) for each in mask[~good]]
        normal = ~mask if inside is None else ~mask & inside
        self._add("normal_of_good", scores[good].ravel() if inside is None else scores[good][normal[good]])
        self._add("normal_of_defective", scores[~good][normal[~good]])
        self._add("anomalous", scores[mask])
        self._add("region_size", np.concatenate([np.empty(0, np.int32), *sizes]))
        self._add("defect_type", np.repeat(types, mask.sum(axis=(1, 2))).astype(np.int32))

    def gather(self, device: torch.device) -> None:
        """Move the pixels of all processes to the first one, through `device`; the others keep none.

        With the gathering of torchmetrics, every process would hold all pixels and compute all metrics.
        """
        if rank_and_processes()[1] > 1:
            for name in _STATES:
                setattr(self, name, [rows_on_first(dim_zero_cat(getattr(self, name)), device)])

    @property
    def has_pixels(self) -> bool:
        """Whether there is any pixel; after a gathering, in any process: the first one may have seen no mask."""
        return any(len(part) for name in _STATES for part in _pieces(getattr(self, name)))

    def compute(self) -> PixelResult:
        """Compute all metrics from the pixels of all processes."""
        return self.figures()

    def figures(self) -> PixelResult:
        """What `compute` gives, without its care for updates and processes."""
        scores, weights, types = self._anomalous_pixels()
        return pixel_result(*self._rank(scores), weights, types)

    def f1(self, threshold: float) -> float:
        """F1 of the pixels above a threshold, over all images (SegF1 of MVTec AD 2); NaN without an anomalous pixel."""
        positives = sum(len(part) for part in _pieces(self.anomalous))
        if not positives:
            return float("nan")
        states = (self.anomalous, self.normal_of_good, self.normal_of_defective)
        found, *alarms = (sum(int((part > threshold).sum()) for part in _pieces(state)) for state in states)
        return 2 * found / (positives + found + sum(alarms))

    def overlap(self, limit: float) -> Points:
        """Corners (N, 2) of the PRO curve up to a false positive rate of `limit`."""
        scores, weights, _ = self._anomalous_pixels()
        return overlap_curve(self._rank(scores)[0], weights, limit)

    def _rank(self, scores: Scores) -> tuple[Ranking, Ranking]:
        """The rankings of the anomalous pixels among all normal ones, and among those of good images alone."""
        good, defective = _blocks(self.normal_of_good), _blocks(self.normal_of_defective)

        def rank_block(pieces: list[Tensor]) -> Ranking:
            ranking = rank(scores, torch.cat(pieces).cpu().numpy())
            release_free_memory()
            return ranking

        # Rankings of blocks add up, so that all pixels are never copied at once; numpy sorts and searches in parallel.
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            rankings = pool.map(rank_block, [*good, *defective])
            among_good = reduce(operator.add, islice(rankings, len(good)))
            return reduce(operator.add, rankings, among_good), among_good

    def _anomalous_pixels(self) -> tuple[Scores, NDArray[np.float64], NDArray[np.int32]]:
        """Scores, ascending, weights 1 / |region| and defect types of the anomalous pixels of all processes."""
        scores, sizes, types = (
            dim_zero_cat(state).cpu().numpy() for state in (self.anomalous, self.region_size, self.defect_type)
        )
        # By size within equal scores, so that sums do not depend, in the last bit, on the order of arrival.
        order = np.lexsort((sizes, scores))
        return scores[order], 1 / sizes[order].astype(np.float64), types[order]

    def _add(self, name: str, values: NDArray[Any]) -> None:
        getattr(self, name).append(torch.from_numpy(values).to(self.device))


def _pieces(state: list[Tensor] | Tensor) -> list[Tensor]:
    """The tensors of a state: after a gathering, a single one."""
    return state if isinstance(state, list) else [state]


def _blocks(state: list[Tensor] | Tensor) -> list[list[Tensor]]:
    """The pieces of a state, or its single tensor after a gathering, in groups of at most `_BLOCK` scores."""
    blocks: list[list[Tensor]] = [[]]
    filled = 0
    for piece in _pieces(state):
        for part in torch.split(piece, _BLOCK):
            if filled + len(part) > _BLOCK:
                blocks.append([])
                filled = 0
            blocks[-1].append(part)
            filled += len(part)
    return blocks
