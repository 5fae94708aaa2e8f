"""The passes of a run over images: statistics, scores of normal images, the test."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from bench.collectives import agree_on_buffers, rank_and_processes, rows_everywhere, rows_on_first
from bench.data.loading import Batch
from bench.errors import RunError
from bench.memory import release_free_memory
from bench.metrics.pixel import PixelMetrics, PixelResult
from bench.models.accumulators import Pass, State
from bench.models.base import Detector, Prediction, as_floats, extent_of, resize_map
from bench.models.parts.memories import accumulate_watched, check_kept, public_values
from bench.models.parts.precision import networks_in
from bench.progress import ProgressBar


@dataclass(frozen=True)
class Machine:
    """The device of this process, and the progress bar of its passes."""

    device: torch.device
    bar: ProgressBar | None = None

    def batches(self, loader: DataLoader[Batch], name: str) -> Iterator[Batch]:
        """The batches of a loader with their images on the device, as floats in [0, 1]."""
        if self.bar is not None:
            self.bar.start(name, len(loader))
        try:
            for batch in loader:
                yield batch._replace(image=as_floats(batch.image.to(self.device, non_blocking=True)))
                if self.bar is not None:
                    self.bar.advance()
        finally:
            if self.bar is not None:
                self.bar.stop()


class ScoredImages(NamedTuple):
    """(N,) indices in the split, (N,) scores, and logits and extents of maps, each empty where a method has none."""

    indices: Tensor
    score: Tensor
    logits: Tensor  # (N, classes) of classifiers
    extent: Tensor  # (N, 2) median and maximum of each image's anomaly map


@torch.no_grad()
def learn_statistics(
    model: Detector, passes: Iterable[Pass], make_loader: Callable[[], DataLoader[Batch]], images: int, machine: Machine
) -> None:
    """Run passes over `images` training images, one pass after the other; a loader has this process's share of them."""
    before = public_values(model)
    for each in passes:
        state = State(each.accumulators, images, machine.device)
        batches = machine.batches(make_loader(), f"statistics: {each.name}")
        with networks_in(model.autocast, machine.device):
            state.fill((batch.image for batch in batches), partial(accumulate_watched, model, each))
            release_free_memory()
            each.finish(state)
    check_kept(model, before)
    agree_on_buffers(model)


def score_images(
    model: Detector, loader: DataLoader[Batch], machine: Machine, *, left_out: bool = False
) -> NDArray[np.float64]:
    """Scores (N,) of the training images of all processes, in every process; with `left_out`, leave-one-out scores."""
    indices, scores = [torch.empty(0, dtype=torch.int64)], [torch.empty(0)]
    for batch in machine.batches(loader, "scores of normal images"):
        seen = batch.image, batch.content
        found = model.predict_leave_one_out(*seen) if left_out else model.predict(*seen).score
        indices.append(batch.indices)
        scores.append(found.cpu())
    places, values = (rows_everywhere(torch.cat(each), machine.device) for each in (indices, scores))
    return values[places.argsort()].double().numpy()


def test_images(
    model: Detector, loader: DataLoader[Batch], images: int, machine: Machine
) -> tuple[ScoredImages, PixelResult | None] | None:
    """Score each of a split's test images once; the first process gathers all results, the others return None."""
    release_free_memory()
    rows: list[ScoredImages] = []
    pixels = PixelMetrics(sync_on_compute=False)
    for batch in machine.batches(loader, "test"):
        prediction = model.predict(batch.image, batch.content)
        maps = None if prediction.map is None else list(content_of(prediction.map, batch))
        rows.append(_row(batch, prediction, maps))
        if maps is not None and batch.mask is not None and batch.defect_type is not None:
            for anomaly_map, mask, defect_type in zip(maps, judged_masks(batch), batch.defect_type, strict=True):
                if mask is not None:
                    fitted = resize_map(anomaly_map, mask.shape)
                    pixels.update(fitted[None], mask[None], defect_type[None])
    release_free_memory()
    scored = _gathered(rows, machine.device)
    pixels.gather(machine.device)
    if rank_and_processes()[0]:
        return None
    if scored.indices.tolist() != list(range(images)):
        raise RunError(f"the test scored {len(scored.indices)} images instead of each of {images} once")
    return scored, pixels.compute() if pixels.has_pixels else None


def content_of(maps: Tensor, batch: Batch) -> Iterator[Tensor]:
    """The part of each map (B, side, side) that its image covers: padding is not judged."""
    for place, anomaly_map in enumerate(maps):
        yield anomaly_map if batch.content is None else anomaly_map[batch.content[place].rows_and_columns]


def judged_masks(batch: Batch) -> Iterator[Tensor | None]:
    """The masks of a batch without padding; masks in their own size have no padding."""
    assert batch.mask is not None
    side = batch.image.shape[-2:]
    for place, mask in enumerate(batch.mask):
        padded = batch.content is not None and mask is not None and mask.shape == side
        yield mask[batch.content[place].rows_and_columns] if padded else mask  # type: ignore[index] # both are there


def _row(batch: Batch, prediction: Prediction, maps: Sequence[Tensor] | None) -> ScoredImages:
    score, _, logits = prediction
    score = score.cpu()
    nothing = score.new_zeros(len(score), 0)
    return ScoredImages(
        batch.indices,
        score,
        nothing if logits is None else logits.cpu(),
        nothing if maps is None else torch.cat([extent_of(each[None]) for each in maps]),
    )


def _gathered(rows: Sequence[ScoredImages], device: torch.device) -> ScoredImages:
    """All rows on the first process, in the order of the split."""
    nothing = ScoredImages(torch.empty(0, dtype=torch.int64), torch.empty(0), torch.empty(0), torch.empty(0))
    columns = zip(*rows, strict=True) if rows else ((each,) for each in nothing)
    together = ScoredImages(*(rows_on_first(torch.cat(column), device) for column in columns))
    order = together.indices.argsort()
    return ScoredImages(*(column[order] for column in together)) if len(order) else together
