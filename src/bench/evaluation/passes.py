"""The passes of a run over images: statistics, scores of normal images, the test."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from bench.collectives import agree_on_buffers, rank_and_processes, rows_everywhere, rows_on_first
from bench.data.datamodule import DefectData
from bench.data.loading import Batch, BatchSampler
from bench.errors import RunError
from bench.memory import release_free_memory
from bench.metrics.pixel import PixelMetrics, PixelResult
from bench.metrics.segmentation_threshold import Moments, NormalPixels, moments
from bench.metrics.spro import LIMIT, SaturatedOverlap
from bench.models.accumulators import Pass, State
from bench.models.base import Detector, Prediction, as_floats, map_quantiles, resize_map
from bench.models.parts.feature_cache import unchanged_images
from bench.models.parts.memories import accumulate_watched, check_kept, public_values
from bench.models.parts.precision import networks_in
from bench.phases import phase


@dataclass(frozen=True)
class Machine:
    """The device of this process."""

    device: torch.device

    def batches(self, loader: DataLoader[Batch], name: str) -> Iterator[Batch]:
        """The batches of a loader with their images on the device, as floats in [0, 1]; `name` is told as a phase."""
        with phase(name, _images_of(loader)) as counted:
            for batch in loader:
                yield batch._replace(image=as_floats(batch.image.to(self.device, non_blocking=True)))
                counted.advance(len(batch.indices))


class ScoredImages(NamedTuple):
    """(N,) indices in the split, (N,) scores, and logits and quantiles of maps, each empty where a method has none."""

    indices: Tensor
    score: Tensor
    logits: Tensor  # (N, classes) of classifiers
    map_quantiles: Tensor  # (N, 2) median and maximum of each image's anomaly map


class NormalScores(NamedTuple):
    """Scores of N normal training images: their indices in the split, and what a threshold is taken from."""

    indices: NDArray[np.int64]
    score: NDArray[np.float64]
    map_maximum: NDArray[np.float64]  # of each image's anomaly map, where it counts; nan where there is none
    map_moments: NDArray[np.float64]  # (N, 3) of each image's anomaly map, as `Moments`; nan where there is none

    @property
    def segmentation_threshold(self) -> float | None:
        """The threshold of pixels; None where an image has no map."""
        if not len(self.map_moments) or np.isnan(self.map_moments).any():
            return None
        return NormalPixels.of(Moments(*row) for row in self.map_moments.tolist()).threshold

    def only(self, chosen: NDArray[np.bool_]) -> "NormalScores":
        """Those of the chosen images (N,)."""
        scores, maxima, of_maps = (column[chosen] for column in (self.score, self.map_maximum, self.map_moments))
        return NormalScores(self.indices[chosen], scores, maxima, of_maps)


@torch.no_grad()
def learn_statistics(
    model: Detector, passes: Iterable[Pass], make_loader: Callable[[], DataLoader[Batch]], images: int, machine: Machine
) -> None:
    """Run passes over `images` training images, one pass after the other; a loader has this process's share of them."""
    before = public_values(model)
    for each in passes:
        state = State(each.accumulators, images, machine.device)
        batches = machine.batches(make_loader(), f"statistics: {each.name}")
        with networks_in(model.autocast, machine.device), unchanged_images():
            state.fill((batch.image for batch in batches), partial(accumulate_watched, model, each))
            release_free_memory()
            with phase(f"statistics: {each.name}, computed from all images"):
                each.finish(state)
    check_kept(model, before)
    agree_on_buffers(model)


def score_images(
    model: Detector, loader: DataLoader[Batch], machine: Machine, *, left_out: bool = False
) -> NormalScores:
    """Scores of the training images of all processes, by index, in every process; `left_out`: leave-one-out scores.

    A leave-one-out score comes without a map.
    """
    indices, scores, maxima = [torch.empty(0, dtype=torch.int64)], [torch.empty(0)], [torch.empty(0)]
    of_maps = [torch.empty(0, 3, dtype=torch.float64)]
    for batch in machine.batches(loader, "threshold: scores of normal images"):
        seen = batch.image, batch.content
        with unchanged_images():
            found = Prediction(model.predict_leave_one_out(*seen)) if left_out else model.predict(*seen)
        indices.append(batch.indices)
        scores.append(found.score.cpu())
        maxima.append(_map_maxima(found, batch))
        of_maps.append(_map_moments(found, batch))
    columns = (rows_everywhere(torch.cat(each), machine.device) for each in (indices, scores, maxima, of_maps))
    all_indices, *others = columns
    order = all_indices.argsort()
    return NormalScores(all_indices[order].numpy(), *(column[order].double().numpy() for column in others))


def _map_maxima(found: Prediction, batch: Batch) -> Tensor:
    """The largest value (B,) of each image's map, of the pixels that count; nan without maps."""
    if found.map is None:
        return torch.full((len(batch.indices),), torch.nan)
    return torch.stack([each.amax() for each in _judged_values(list(content_of(found.map, batch)), batch)]).cpu()


def _map_moments(found: Prediction, batch: Batch) -> Tensor:
    """The moments (B, 3) of each image's map, of the pixels that count; nan without maps."""
    if found.map is None:
        return torch.full((len(batch.indices), 3), torch.nan, dtype=torch.float64)
    values = _judged_values(list(content_of(found.map, batch)), batch)
    return torch.tensor([moments(each.cpu().numpy()) for each in values], dtype=torch.float64)


def test_images(
    model: Detector,
    loader: DataLoader[Batch],
    images: int,
    machine: Machine,
    products: Sequence[str] = (),
    saturated: SaturatedOverlap | None = None,
    segmentation: Mapping[str, float | None] | None = None,
) -> tuple[ScoredImages, PixelResult | None] | None:
    """Score each of a split's test images once; the first process gathers all results, the others return None.

    `products` names the product of each test image where one model is for several: the figures of pixels are then of
    each alone as well. `saturated` gets the maps of a dataset that tells how much of a defect must be found. Pixels
    above a threshold of `segmentation` give SegF1: that of '' is for all images, others are of the product they name.
    """
    release_free_memory()
    rows: list[ScoredImages] = []
    pixels = {name: PixelMetrics(sync_on_compute=False) for name in sorted({*products} or {""})}
    for batch in machine.batches(loader, "test"):
        with unchanged_images():
            prediction = model.predict(batch.image, batch.content)
        maps = None if prediction.map is None else list(content_of(prediction.map, batch))
        rows.append(_row(batch, prediction, maps))
        if maps is not None and batch.mask is not None and batch.defect_type is not None:
            owners = [products[index] if products else "" for index in batch.indices.tolist()]
            judged = judged_masks(batch)
            for owner, anomaly_map, mask, defect_type in zip(owners, maps, judged, batch.defect_type, strict=True):
                add_pixels(pixels[owner], anomaly_map, mask, defect_type)
        if saturated is not None and maps is not None:
            _add_defects(saturated, maps, batch)
    release_free_memory()
    scored = _gathered(rows, machine.device)
    for each in pixels.values():  # in the same order on every process
        each.gather(machine.device)
    if saturated is not None:
        saturated.gather(machine.device)
    if rank_and_processes()[0]:
        return None
    if scored.indices.tolist() != list(range(images)):
        raise RunError(f"the test scored {len(scored.indices)} images instead of each of {images} once")
    localised = _localised(pixels, segmentation or {})
    return scored, localised if localised is None or saturated is None else _with_spro(localised, saturated.compute())


def _localised(pixels: Mapping[str, PixelMetrics], segmentation: Mapping[str, float | None]) -> PixelResult | None:
    """The figures of the pixels of all products, and of each alone; None where no pixel is judged."""
    for_all = segmentation.get("")
    alone = {
        name: _with_seg_f1(each.compute(), each, segmentation.get(name))
        for name, each in pixels.items()
        if each.has_pixels
    }
    if not alone or "" in alone:
        return alone.get("")
    if for_all is not None:
        for name, found in alone.items():
            found.overall["seg_f1_for_all"] = pixels[name].f1(for_all)
    every = PixelMetrics.together(pixels.values())
    return _with_seg_f1(every.figures(), every, for_all)._replace(by_product=alone)


def _with_seg_f1(found: PixelResult, pixels: PixelMetrics, threshold: float | None) -> PixelResult:
    if threshold is None:
        return found
    own = {"seg_f1": pixels.f1(threshold), "seg_threshold": threshold}
    return found._replace(overall=found.overall | own)


def saturated_overlap(data: DefectData) -> SaturatedOverlap | None:
    """The sPRO of a test that is to come; None where its dataset does not tell how much of a defect must be found.

    One model for several products has none: the kinds of anomalies of all products bear the same names.
    """
    if not data.scores_saturation or data.products is not None:
        return None
    category, pixels = data.category, dict.fromkeys(range(len(data.category.defect_types)), 0)
    for sample in category.test:
        width, height = category.headers[sample.path].size
        pixels[category.defect_types.index(sample.defect_type)] += width * height
    return SaturatedOverlap(pixels)


def _add_defects(saturated: SaturatedOverlap, maps: Sequence[Tensor], batch: Batch) -> None:
    """Add maps, without padding, resized to the masks of their images; nothing of a defective image without masks."""
    assert batch.defects is not None and batch.mask is not None and batch.defect_type is not None
    for anomaly_map, defects, mask, kind in zip(maps, batch.defects, batch.mask, batch.defect_type, strict=True):
        if mask is not None:
            fitted = resize_map(anomaly_map, mask.shape).detach().float().cpu().numpy()
            saturated.update(fitted, int(kind), defects)


def _with_spro(localised: PixelResult, found: Mapping[int, float]) -> PixelResult:
    """The result with sPRO of each kind, and their mean as MVTec's evaluation takes it; nan where one is missing."""
    by_kind = {index: found.get(index, math.nan) for index in localised.by_defect}
    name, mean = f"spro_{LIMIT:.2f}", math.nan
    if len(by_kind) > 1:
        mean = sum(by_kind.values()) / len(by_kind)
    by_defect = {index: values | {name: by_kind[index]} for index, values in localised.by_defect.items()}
    return PixelResult(localised.overall | {name: mean}, by_defect)


def _images_of(loader: Iterable[Batch]) -> int | None:
    """The number of images that this process takes from a loader; None where it does not tell."""
    sampler = getattr(loader, "sampler", None)
    return sampler.own_images if isinstance(sampler, BatchSampler) else None


def content_of(maps: Tensor, batch: Batch) -> Iterator[Tensor]:
    """The part of each map (B, side, side) that its image covers, without the padding."""
    for index, anomaly_map in enumerate(maps):
        yield anomaly_map if batch.content is None else anomaly_map[batch.content[index].box.rows_and_columns]


class JudgedMask(NamedTuple):
    """An image's mask (H, W) without padding, and the pixels (H, W) of it that are judged; None: all of them."""

    mask: Tensor
    region: Tensor | None


def judged_masks(batch: Batch) -> Iterator[JudgedMask | None]:
    """The masks of a batch, None for an image without one; masks in their own size have no padding."""
    assert batch.mask is not None
    side = batch.image.shape[-2:]
    for index, mask in enumerate(batch.mask):
        if mask is None:
            yield None
            continue
        padded = batch.content is not None and mask.shape == side
        part = batch.content[index].box.rows_and_columns if padded else ...  # type: ignore[index] # it is there
        region = batch.region[index] if batch.region is not None else None
        yield JudgedMask(mask[part], None if region is None else region[part])


def add_pixels(pixels: PixelMetrics, anomaly_map: Tensor, judged: JudgedMask | None, defect_type: Tensor) -> None:
    """Add one image's map, without padding, resized to its mask; nothing for an image without a mask."""
    if judged is not None:
        fitted = resize_map(anomaly_map, judged.mask.shape)
        region = None if judged.region is None else judged.region[None]
        pixels.update(fitted[None], judged.mask[None], defect_type[None], region)


def _row(batch: Batch, prediction: Prediction, maps: Sequence[Tensor] | None) -> ScoredImages:
    score, _, logits = prediction
    score = score.cpu()
    nothing = score.new_zeros(len(score), 0)
    return ScoredImages(
        batch.indices,
        score,
        nothing if logits is None else logits.cpu(),
        nothing if maps is None else torch.cat([map_quantiles(each) for each in _judged_values(maps, batch)]),
    )


def _judged_values(maps: Sequence[Tensor], batch: Batch) -> Iterator[Tensor]:
    """The values (1, n) of each map that count, of maps without padding."""
    for index, each in enumerate(maps):
        content = batch.content[index] if batch.content is not None else None
        if content is None or content.region is None:
            yield each[None]
        else:
            yield each[content.region[content.box.rows_and_columns].to(each.device)][None]


def _gathered(rows: Sequence[ScoredImages], device: torch.device) -> ScoredImages:
    """All rows on the first process, in the order of the split."""
    nothing = ScoredImages(torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0), torch.empty(0))
    columns = zip(*rows, strict=True) if rows else ((each,) for each in nothing)
    together = ScoredImages(*(rows_on_first(torch.cat(column), device) for column in columns))
    order = together.indices.argsort()
    return ScoredImages(*(column[order] for column in together)) if len(order) else together
