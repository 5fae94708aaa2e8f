"""Pictures of the most and the least anomalous test images, with mask and heat map beside them."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.data.datamodule import DefectData
from bench.data.geometry import hide_outside
from bench.evaluation.evaluation import Evaluation
from bench.models.base import Detector, as_floats
from bench.views.heatmap import Picture, overlay
from bench.writing import encode, write_atomically

_EACH = 5
_GAP = 8
_CAPTION = 20
SIDE = 224
YELLOW = (255, 210, 0)  # of outlines
OUTLINE = ((0, 0, 0), 4), (YELLOW, 2)  # yellow on black is visible on any background


def draw_extremes(model: Detector, data: DefectData, evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `most_anomalous.png` and `least_anomalous.png`: image, mask and heat map of a few test images each."""
    order = np.argsort(evaluation.scores, kind="stable")
    groups = {"most_anomalous": order[::-1][:_EACH].tolist(), "least_anomalous": order[:_EACH].tolist()}
    shown = [index for group in groups.values() for index in group]
    if not shown:
        return []
    images, masks, maps = read_test_images(model, data, shown)
    # One scale for all pictures of a run: with a scale each, a good image would be as hot as a defect.
    low, high = evaluation.map_range or (0.0, 1.0)
    paths = []
    for name, group in groups.items():
        rows = []
        for index in group:
            position = shown.index(index)
            mask = masks[position]
            panels = [images[position]]
            if any(each is not None for each in masks):  # keeps heat maps aligned where an image has no mask
                empty = np.full_like(images[position], 255)
                panels.append(empty if mask is None else _mask_panel(images[position], mask))
            if (anomaly_map := maps[position]) is not None:
                panels.append(overlay(images[position], anomaly_map, low, high))
            sample, score = evaluation.samples[index], evaluation.scores[index]
            caption = f"{sample.defect_type}/{sample.path.name}: score {score:.4g}"
            if evaluation.threshold is not None:
                verdict = "defect" if score > evaluation.threshold else "good"
                caption += f", threshold {evaluation.threshold:.4g}, called {verdict}"
            rows.append(row(panels, caption))
        paths.append(save_rows(rows, folder / f"{name}.png"))
    return paths


def save_rows(rows: list[Picture], path: Path) -> Path:
    """Write rows, one below the other, as a PNG file."""
    # Level 1: two to three times as fast as the default, a fifth to a third larger.
    return write_atomically(path, encode(Image.fromarray(np.concatenate(rows)), "PNG", compress_level=1))


def draw_confusion(evaluation: Evaluation, folder: Path) -> Path:
    """Write `confusion.png`: how many images of each class were taken for which."""
    from matplotlib.figure import Figure

    confusion = evaluation.confusion
    assert confusion is not None
    counts = np.array(confusion.counts)
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    side = 2.4 + 0.55 * len(counts)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (true, predicted), count in np.ndenumerate(counts):
        dark = shares[true, predicted] < 0.6
        axes.text(predicted, true, str(count), ha="center", va="center", color="white" if dark else "black")
    axes.set_xticks(range(len(counts)), confusion.classes, rotation=45, ha="right")
    axes.set_yticks(range(len(counts)), confusion.classes)
    axes.set(xlabel="taken for", ylabel="is", title="images; colour: share of the row")
    figure.colorbar(shown, ax=axes, fraction=0.046)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return write_atomically(folder / "confusion.png", content.getvalue())


@torch.inference_mode()
def read_test_images(
    model: Detector, data: DefectData, indices: list[int]
) -> tuple[list[Picture], list[NDArray[np.bool_] | None], list[NDArray[np.float32] | None]]:
    """Images, masks and maps of a few test images, computed again: cheaper than keeping the maps of all."""
    batch = data.test_batch(indices)
    size = (SIDE, SIDE)
    maps: list[NDArray[np.float32] | None] = [None] * len(indices)
    prediction = model.predict(as_floats(batch.image.to(model.device)))
    if prediction.map is not None:
        found = [anomaly_map.float().cpu().numpy() for anomaly_map in prediction.map]
        if batch.content is not None:
            found = [hide_outside(one, content) for one, content in zip(found, batch.content, strict=True)]
        maps = [cv2.resize(one, size, interpolation=cv2.INTER_LINEAR) for one in found]
    images = [
        colour(cv2.resize(i, size, interpolation=cv2.INTER_AREA)) for i in batch.image.permute(0, 2, 3, 1).numpy()
    ]
    masks = [
        None if mask is None else cv2.resize(mask.numpy().astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
        for mask in batch.mask or [None] * len(indices)
    ]
    return images, masks, maps


def colour(image: Picture) -> Picture:
    """A grey image (H, W) with three channels (H, W, 3); another image unchanged."""
    return image if image.ndim == 3 else np.repeat(image[:, :, None], 3, axis=2)


def _mask_panel(image: Picture, mask: NDArray[np.bool_]) -> Picture:
    """The image, darkened, with the outline of the true defect."""
    return outlined((image * 0.6).astype(np.uint8), mask, ((YELLOW, 1),))


def outlined(picture: Picture, mask: NDArray[np.bool_], lines: Sequence[tuple[tuple[int, int, int], int]]) -> Picture:
    """A copy of a picture (H, W, 3) with the edges of a mask (H, W), of its holes too, in each colour and width."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = picture.copy()
    for ink, width in lines:
        cv2.drawContours(drawn, outlines, -1, ink, width)
    return drawn


def row(panels: list[Picture], caption: str) -> Picture:
    """Panels side by side under a caption."""
    gap = np.full((SIDE, _GAP, 3), 255, np.uint8)
    body = np.concatenate([part for panel in panels for part in (panel, gap)][:-1], axis=1)
    label = Image.new("RGB", (body.shape[1], _CAPTION), "white")
    ImageDraw.Draw(label).text((2, 3), caption, fill="black", font=ImageFont.load_default(12))
    return np.concatenate([np.asarray(label), body, np.full((_GAP, body.shape[1], 3), 255, np.uint8)])
