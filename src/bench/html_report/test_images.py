"""The test images of a run, read again: pictures of a few of them, and the PRO curve of all."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.data.datamodule import DefectData
from bench.data.geometry import hide_outside
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.evaluation.passes import add_pixels, content_of, judged_masks
from bench.html_report.selection import Predicted
from bench.metrics.curves import Points
from bench.metrics.pixel import PixelMetrics
from bench.progress import ProgressBar
from bench.runs.scoring.scorer import FinishedRun
from bench.views.heatmap import Picture, overlay
from bench.views.pictures import OUTLINE, colour, outlined

SIDE = 320  # pixels of a picture on the page
LIMIT = 0.30  # false positive rate up to which the PRO curve is drawn


@dataclass(frozen=True)
class PicturedImages:
    """Pictures (SIDE, SIDE, 3) of chosen images, by index and by what each shows, and the PRO curve."""

    pictures: dict[int, dict[str, Picture]] = field(default_factory=dict)
    overlap: Points | None = None
    notice: str = ""  # a sentence on the licence, for those who pass the pictures on


def picture_with_maps(run: FinishedRun, data: DefectData, chosen: Collection[int], *, progress: bool) -> PicturedImages:
    """Score all test images again; return image, mask and heat map of the chosen ones, and the PRO curve."""
    assert run.record.map_range is not None
    low, high = run.record.map_range
    metrics, pictures = PixelMetrics(), {}
    for batch in _with_progress(data, progress=progress):
        assert batch.defect_type is not None
        maps = run.score(batch.image.permute(0, 2, 3, 1).numpy()).map
        assert maps is not None
        contents, masks = content_of(maps, batch), judged_masks(batch)
        for content, judged, defect_type in zip(contents, masks, batch.defect_type, strict=True):
            add_pixels(metrics, content, judged, defect_type)
        for i, index in enumerate(batch.indices.tolist()):
            if index in chosen:
                picture = _picture(batch.image[i])
                drawn = maps[i].numpy()
                if batch.content is not None:
                    drawn = hide_outside(drawn, batch.content[i])
                heat = np.asarray(cv2.resize(drawn, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
                pictures[index] = _with_mask(picture, batch, i) | {"heat map": overlay(picture, heat, low, high)}
    return PicturedImages(pictures, metrics.overlap(LIMIT) if metrics.update_called else None)


def picture_images(data: DefectData, chosen: Sequence[int]) -> PicturedImages:
    """Pictures of the chosen test images and their masks, for a method without maps."""
    if not chosen:
        return PicturedImages()
    batch = data.test_batch(list(chosen))
    images = zip(chosen, batch.image, strict=True)
    return PicturedImages({index: _with_mask(_picture(image), batch, i) for i, (index, image) in enumerate(images)})


def picture_files(data: DefectData, predicted: Sequence[Predicted], chosen: Sequence[int]) -> PicturedImages:
    """Pictures of the chosen images of a classifier, whose folds test images of the full category."""
    files = {sample.relative: sample for sample in (*data.full_category.train, *data.full_category.test)}
    if unknown := [predicted[index].path for index in chosen if predicted[index].path not in files]:
        raise UsageError(f"the run predicted {unknown[0]}, which is no image of its data")
    pictures: Mapping[int, Picture] = {
        index: data.geometry.pixels(files[predicted[index].path].read_image(), data.full_category.channels)
        for index in chosen
    }
    return PicturedImages({index: {"image": _resized(picture)} for index, picture in pictures.items()})


def _with_mask(picture: Picture, batch: Batch, row: int) -> dict[str, Picture]:
    """The picture, and where the mask of its image marks a defect, a picture with its outline as well."""
    mask = batch.mask[row] if batch.mask is not None else None
    return {"image": picture} | ({"mask": _outline(picture, mask)} if mask is not None and mask.any() else {})


def _with_progress(data: DefectData, *, progress: bool) -> Iterator[Batch]:
    bar, loader = ProgressBar("batches"), data.test_dataloader()
    if progress:
        bar.start("looking at the test images", len(loader))
    try:
        for batch in loader:
            yield batch
            bar.advance()
    finally:
        bar.stop()


def _picture(image: Tensor) -> Picture:
    """An image of bytes (C, H, W) as a picture (SIDE, SIDE, 3)."""
    return _resized(image.permute(1, 2, 0).numpy())


def _resized(image: NDArray[np.uint8]) -> Picture:
    larger = max(image.shape[:2]) > SIDE
    resized = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA if larger else cv2.INTER_CUBIC)
    return colour(np.asarray(resized, dtype=np.uint8))


def _outline(picture: Picture, mask: Tensor) -> Picture:
    """The picture with the outline of the true defect."""
    fitted = cv2.resize(mask.to(torch.uint8).numpy(), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    return outlined(picture, fitted > 0, OUTLINE)
