"""Pictures of all test images for W&B: each image, its mask, and its heat map laid over it."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.config.tracks import TRACKS
from bench.data.datamodule import DefectData
from bench.evaluation.passes import ScoredImages
from bench.models.base import Detector, as_floats
from bench.views.heatmap import Picture, overlay
from bench.views.misclassified import explain
from bench.views.pictures import read_test_images

_BATCH = 8  # no more than the pictures of a run take anyway, or these images would set its peak memory


class Shown(NamedTuple):
    """Files of one test image; the mask is true where the defect lies."""

    image: Path
    heat_map: Path | None
    mask: NDArray[np.bool_] | None


class Gallery:
    """The pictures drawn so far, by the images' relative paths."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown: dict[str, Shown] = {}

    def draw(
        self, model: Detector, data: DefectData, scored: ScoredImages, map_range: tuple[float, float] | None
    ) -> None:
        """Write the pictures of one fold of a run; its heat maps share a scale, a classifier's are its Grad-CAMs."""
        samples = data.category.test
        images, masks, maps = [], [], []
        for start in range(0, len(samples), _BATCH):
            indices = list(range(start, min(start + _BATCH, len(samples))))
            found = read_test_images(model, data, indices)
            images += found[0]
            masks += found[1]
            maps += _grad_cam(model, data, scored, indices) if TRACKS[model.track].learns_from_defects else found[2]
        low, high = map_range or (0.0, 1.0)
        for index, sample in enumerate(samples):
            heat = maps[index]
            self.shown[sample.relative] = Shown(
                self._write(images[index], "image"),
                self._write(overlay(images[index], heat, low, high), "heat") if heat is not None else None,
                mask if (mask := masks[index]) is not None and mask.any() else None,
            )

    def _write(self, picture: Picture, kind: str) -> Path:
        path = self.folder / f"{len(self.shown):05}-{kind}.jpg"
        Image.fromarray(picture).save(path, quality=90)
        return path


def _grad_cam(
    model: Detector, data: DefectData, scored: ScoredImages, indices: list[int]
) -> list[NDArray[np.float32] | None]:
    image = as_floats(data.test_batch(indices).image.to(model.device))
    maps = explain(model, image, scored.logits[indices].argmax(dim=1).to(model.device))
    return [None] * len(indices) if maps is None else list(maps)
