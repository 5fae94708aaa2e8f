"""Grad-CAM of a classifier's most confident mistakes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.datamodule import DefectData
from bench.evaluation.passes import ScoredImages
from bench.models.base import Detector, as_floats
from bench.models.classifier import Classifier
from bench.views.heatmap import Picture, overlay
from bench.views.pictures import SIDE, colour, row, save_rows

_SHOWN = 6


class Mistake(NamedTuple):
    """An image that was taken for another class."""

    confidence: float  # probability of the wrong class
    caption: str
    image: Picture  # (SIDE, SIDE, 3)
    explanation: NDArray[np.float32] | None  # (SIDE, SIDE) in [0, 1]; None for networks without a map


def worst_mistakes(model: Detector, data: DefectData, scored: ScoredImages) -> list[Mistake]:
    """The most confident mistakes among the test images that `model` was just tested on."""
    samples, classes = data.category.test, data.category.defect_types
    probabilities = scored.logits.softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    targets = torch.tensor([classes.index(sample.defect_type) for sample in samples])
    wrong = torch.nonzero(predicted != targets).flatten()
    chosen = wrong[confidence[wrong].argsort(descending=True, stable=True)][:_SHOWN].tolist()
    if not chosen:
        return []
    image = data.test_batch(chosen).image
    maps = explain(model, as_floats(image.to(model.device)), predicted[chosen].to(model.device))
    mistakes = []
    for position, index in enumerate(chosen):
        sample, sure = samples[index], float(confidence[index])
        caption = f"{sample.defect_type}/{sample.path.name}: taken for {classes[int(predicted[index])]}, {sure:.0%}"
        picture = colour(np.asarray(cv2.resize(image[position].permute(1, 2, 0).numpy(), (SIDE, SIDE)), np.uint8))
        mistakes.append(Mistake(sure, caption, picture, None if maps is None else maps[position]))
    return mistakes


def draw_mistakes(mistakes: Sequence[Mistake], folder: Path) -> Path | None:
    """Write the worst as `mistakes.png`: each image beside the Grad-CAM of the wrong class; None without mistakes."""
    rows = []
    for mistake in sorted(mistakes, key=lambda mistake: -mistake.confidence)[:_SHOWN]:
        panels = [mistake.image]
        if mistake.explanation is not None:
            panels.append(overlay(mistake.image, mistake.explanation, 0.0, 1.0))
        rows.append(row(panels, mistake.caption))
    return save_rows(rows, folder / "mistakes.png") if rows else None


def explain(model: Detector, image: torch.Tensor, predicted: torch.Tensor) -> list[NDArray[np.float32]] | None:
    """Grad-CAM maps (SIDE, SIDE), each scaled to its own maximum; None for networks without a map."""
    if not isinstance(model, Classifier):
        return None
    model.eval()
    cam = model.explain(image, predicted)
    if cam is None:
        return None
    scaled = cam / cam.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)
    return [cv2.resize(one.float().cpu().numpy(), (SIDE, SIDE), interpolation=cv2.INTER_LINEAR) for one in scaled]
