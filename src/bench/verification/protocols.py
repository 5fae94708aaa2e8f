"""The protocols that are known to give other figures than the exact ones: each is one function, and says whose it is.

There are five kinds, by what they change. `of_pixels` compute a figure otherwise from the same pixels. `of_masks` bring
a mask to the size of its map, where the exact figures bring the map to the size of its mask. `of_maps` change each map
by itself, and `of_scores` all scores alike, before anything is computed. `of_images` compute a figure of images
otherwise. The first sentences of a docstring are what `bench verify` prints; `source` is where the protocol was read.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.integrate import trapezoid

from bench.metrics.aupro import aupro
from bench.metrics.image import image_metrics
from bench.metrics.pixel import pixel_metrics
from bench.metrics.ranking import Ranking, f1_max, rank
from bench.verification.pixel_scores import PixelScores
from bench.verification.resampled_curves import aupro_of_resampled_curves

EXACT = "exact"
LIMITS: Mapping[str, float] = {"aupro_0.30": 0.30, "aupro_0.05": 0.05}
_IN_PIECES = ("accuracy", "balanced_accuracy", "precision", "recall")

Figures = dict[str, float]  # by the name of the metric; nan where the protocol does not define it on these data
Mask = NDArray[np.bool_]
Values = NDArray[np.float32]
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class ImageScores:
    """The score of each test image (B,), whether it is defective, and maximum and mean of its map."""

    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    maxima: NDArray[np.float64]
    means: NDArray[np.float64]


@dataclass(frozen=True)
class Protocol(Generic[Function]):
    """One protocol: its name, what it does and who computes so, where that was read, and the function."""

    name: str
    about: str
    source: str
    apply: Function


OF_PIXELS: list[Protocol[Callable[[PixelScores], Figures]]] = []
OF_MASKS: list[Protocol[Callable[[Mask, tuple[int, int]], Mask]]] = []
OF_MAPS: list[Protocol[Callable[[Values], Values]]] = []
OF_SCORES: list[Protocol[Callable[[NDArray[Any]], NDArray[Any]]]] = []
OF_IMAGES: list[Protocol[Callable[[ImageScores], Figures]]] = []


def _protocol(kind: list[Protocol[Function]], source: str) -> Callable[[Function], Function]:
    """Add a function to the protocols of a kind."""

    def add(function: Function) -> Function:
        about = " ".join((function.__doc__ or "").split())
        kind.append(Protocol(function.__name__, about, source, function))
        return function

    return add


# Figures of the same pixels, computed otherwise.


@_protocol(OF_PIXELS, "github.com/open-edge-platform/anomalib/issues/3718 and 1651")
def aupro_end_point(pixels: PixelScores) -> Figures:
    """AUPRO up to the mean end point of the regions' curves, and divided by that instead of the limit, as is reported
    of anomalib up to 2.2. The end point is the largest false positive rate at or below the limit that a threshold
    reaches; where many scores are equal it lies far below.
    """
    return {name: _to_the_end_point(pixels, limit) for name, limit in LIMITS.items()}


@_protocol(OF_PIXELS, "github.com/openvinotoolkit/anomalib, aupro.py of releases up to 2.2")
def aupro_resampled_curves(pixels: PixelScores) -> Figures:
    """AUPRO from one curve for each region, stretched to one number of points by their index, the area of their mean
    divided by the rate of its last point: the code of anomalib up to 2.2. It differs where many scores are equal.
    """
    return {name: aupro_of_resampled_curves(pixels, limit) for name, limit in LIMITS.items()}


@_protocol(OF_PIXELS, "github.com/zhangzjn/ADer, util/metric.py")
def aupro_200_thresholds(pixels: PixelScores) -> Figures:
    """AUPRO from 200 equally spaced thresholds, the false positive rates below the limit stretched to [0, 1]: ADer, and
    many repositories with its function.
    """
    return {name: aupro_at_thresholds(pixels, 200, limit) for name, limit in LIMITS.items()}


@_protocol(OF_PIXELS, "the same function as with 200")
def aupro_500_thresholds(pixels: PixelScores) -> Figures:
    """AUPRO from 500 equally spaced thresholds, the false positive rates below the limit stretched to [0, 1]."""
    return {name: aupro_at_thresholds(pixels, 500, limit) for name, limit in LIMITS.items()}


@_protocol(OF_PIXELS, "github.com/gasharper/PyramidFlow/issues/13")
def aupro_not_cut(pixels: PixelScores) -> Figures:
    """The whole area under the per-region overlap, up to a false positive rate of 1, as in the paper of 2019."""
    return dict.fromkeys(LIMITS, aupro(pixels.ranking, pixels.weights, 1.0))


@_protocol(OF_PIXELS, "github.com/gasharper/PyramidFlow, util.py")
def aupro_not_cut_200_thresholds(pixels: PixelScores) -> Figures:
    """The whole area under the per-region overlap, from 200 equally spaced thresholds: PyramidFlow."""
    return dict.fromkeys(LIMITS, aupro_at_thresholds(pixels, 200, None))


@_protocol(OF_PIXELS, "github.com/hq-deng/RD4AD, test.py")
def aupro_mean_of_images(pixels: PixelScores) -> Figures:
    """The mean over defective images of the AUPRO of each by itself, from 200 thresholds between its own lowest and
    highest score: RD4AD.
    """
    found = {name: pixels.by_image.get(limit, []) for name, limit in LIMITS.items()}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in found.items()}


@_protocol(OF_PIXELS, "github.com/CLendering/SubspaceAD/issues/11; github.com/amazon-science/patchcore-inspection")
def defective_images(pixels: PixelScores) -> Figures:
    """Pixels of defective images alone: SubspaceAD's AUPRO, PatchCore's anomaly_pixel_auroc."""
    return pixel_metrics(pixels.among_defective, pixels.weights)


@_protocol(OF_PIXELS, "github.com/zhangzjn/ADer, util/metric.py")
def f1max_21_thresholds(pixels: PixelScores) -> Figures:
    """Pixel F1-max over 21 equally spaced thresholds between the lowest and the highest score: ADer."""
    if not pixels.anomalous.size:
        return {}
    low, high = pixels.range
    thresholds = low + np.arange(0, 1 + 1e-3, 0.05) * (high - low)
    true, false = pixels.anomalous_above(thresholds), pixels.normals_above(thresholds)
    return {"pixel_f1max": float(np.max(2 * true / (true + false + pixels.anomalous.size)))}


@_protocol(OF_PIXELS, "github.com/open-edge-platform/anomalib/pull/3797")
def pixel_ap_trapezoid(pixels: PixelScores) -> Figures:
    """Area under the precision-recall curve by trapezoids, sklearn's auc of it, instead of average precision."""
    return {"pixel_ap": area_by_trapezoids(pixels.ranking)}


# Masks brought to the size of the map.


@_protocol(OF_MASKS, "github.com/amazon-science/patchcore-inspection, datasets/mvtec.py and metrics.py")
def masks_cut(mask: Mask, size: tuple[int, int]) -> Mask:
    """Masks resized bilinearly to the maps' size and cut to whole numbers, so that regions lose their borders:
    PatchCore, and repositories built on it.
    """
    return np.asarray(_resized(mask, size, Image.Resampling.BILINEAR) == 255)


@_protocol(OF_MASKS, "github.com/VitjanZ/DRAEM, data_loader.py and test_DRAEM.py")
def masks_cut_by_opencv(mask: Mask, size: tuple[int, int]) -> Mask:
    """Masks resized bilinearly by OpenCV, which does not average when it shrinks, and cut to whole numbers: DRAEM."""
    return np.asarray(cv2.resize(mask.astype(np.uint8) * 255, dsize=size[::-1]) == 255)


@_protocol(OF_MASKS, "github.com/hq-deng/RD4AD, test.py; github.com/gasharper/PyramidFlow, util.py")
def masks_half(mask: Mask, size: tuple[int, int]) -> Mask:
    """Masks resized bilinearly to the maps' size, a defect from one half on: RD4AD, PyramidFlow."""
    return np.asarray(_resized(mask, size, Image.Resampling.BILINEAR) >= 128)


@_protocol(OF_MASKS, "github.com/xiahaifeng1995/PaDiM-Anomaly-Detection-Localization-master, datasets/mvtec.py")
def masks_nearest(mask: Mask, size: tuple[int, int]) -> Mask:
    """Masks resized to the maps' size by the nearest pixel: the PaDiM that many started from."""
    return np.asarray(_resized(mask, size, Image.Resampling.NEAREST) == 255)


# Each map changed by itself.


@_protocol(
    OF_MAPS,
    "public code; none that is well known was confirmed, github.com/CLendering/SubspaceAD/issues/2 warns",
)
def maps_normalised_each(values: Values) -> Values:
    """Each map stretched to [0, 1] by its own lowest and highest value, as for a picture, before pixels are pooled."""
    low, high = values.min(), values.max()
    return np.asarray((values - low) / (high - low)) if high > low else np.zeros_like(values)


# All scores changed alike.


@_protocol(OF_SCORES, "github.com/openvinotoolkit/anomalib, utils/normalization/min_max.py")
def scores_clamped(scores: NDArray[Any]) -> NDArray[Any]:
    """Scores of images and pixels clamped to [0, 1], so that all above are equal, as after a normalisation with
    another set's extremes.
    """
    return np.asarray(np.clip(scores, 0, 1))


@_protocol(OF_SCORES, "github.com/Lightning-AI/torchmetrics/issues/1526")
def scores_sigmoid(scores: NDArray[Any]) -> NDArray[Any]:
    """Scores outside [0, 1] taken for logits, a sigmoid in single precision, whose large values are equal:
    torchmetrics, given all scores at once.
    """
    logits = torch.from_numpy(np.asarray(scores, dtype=np.float32))
    return np.asarray(torch.sigmoid(logits))


# Figures of images, computed otherwise.


@_protocol(OF_IMAGES, "MVTec's own evaluation, which takes np.max of a map")
def image_score_maximum(images: ImageScores) -> Figures:
    """Images scored by the maximum of their map, whatever score they were given."""
    return image_metrics(images.maxima, images.labels, None)


@_protocol(OF_IMAGES, "github.com/zhangzjn/ADer, util/metric.py")
def image_score_mean(images: ImageScores) -> Figures:
    """Images scored by the mean of their map: one of ADer's two scores."""
    return image_metrics(images.means, images.labels, None)


@_protocol(OF_IMAGES, "github.com/openvinotoolkit/anomalib, whose threshold has the best F1 on the test by default")
def threshold_of_best_f1(images: ImageScores) -> Figures:
    """Accuracy, precision and recall at the threshold that has the best F1 on these very test images."""
    normal, anomalous = images.scores[~images.labels], images.scores[images.labels]
    best = f1_max(rank(anomalous, normal))
    if np.isnan(best.value):
        return {}
    found = image_metrics(images.scores, images.labels, best.threshold)
    return {f"image_{name}": found[f"image_{name}"] for name in _IN_PIECES}


@_protocol(OF_IMAGES, "a habit of the field; no repository of it was confirmed")
def threshold_of_best_accuracy(images: ImageScores) -> Figures:
    """The best accuracy that any threshold reaches on these very test images."""
    ranking = rank(images.scores[images.labels], images.scores[~images.labels].copy())
    if not ranking.defined:
        return {}
    right = np.arange(ranking.anomalous.size, 0, -1) + ranking.normals - ranking.at_or_above
    nothing = ranking.normals  # nothing is called anomalous
    return {"image_accuracy": max(int(right.max()), nothing) / images.labels.size}


@_protocol(OF_IMAGES, "github.com/open-edge-platform/anomalib/pull/3797")
def image_ap_trapezoid(images: ImageScores) -> Figures:
    """Area under the precision-recall curve by trapezoids, sklearn's auc of it, instead of average precision."""
    return {"image_ap": area_by_trapezoids(rank(images.scores[images.labels], images.scores[~images.labels]))}


# What several of them share.


def aupro_at_thresholds(pixels: PixelScores, steps: int, limit: float | None, *, from_zero: bool = False) -> float:
    """Area under the per-region overlap at `steps` thresholds from the lowest score on, the highest left out.

    The false positive rates below the limit are stretched so that the lowest is 0 (with `from_zero` it stays) and the
    highest 1; without a limit all rates count, as they are.
    """
    if not (pixels.anomalous.size and pixels.normals):
        return float("nan")
    low, high = pixels.range
    thresholds = low + np.arange(steps) * ((high - low) / steps)
    rates, overlaps = pixels.normals_above(thresholds) / pixels.normals, pixels.overlap_above(thresholds)
    if limit is not None:
        kept = rates < limit
        rates, overlaps = rates[kept], overlaps[kept]
        if not rates.size or rates.max() == (start := 0.0 if from_zero else rates.min()):
            return float("nan")
        rates = (rates - start) / (rates.max() - start)
    return float(trapezoid(overlaps[::-1], rates[::-1]))  # rates fall as thresholds rise


def area_by_trapezoids(ranking: Ranking) -> float:
    """The area under the precision-recall curve over all thresholds, its points joined by straight lines."""
    if not ranking.defined:
        return float("nan")
    last = np.flatnonzero(np.append(ranking.anomalous[1:] != ranking.anomalous[:-1], True))
    first = np.append(0, last[:-1] + 1)
    true = (ranking.anomalous.size - first)[::-1]  # from the highest threshold on
    above, at_or_above = ranking.above[first][::-1].astype(np.int64), ranking.at_or_above[first][::-1].astype(np.int64)
    precision = true / (true + at_or_above)
    # Normal scores between two anomalous ones lower the precision before the next recall begins.
    before = np.append(0.0 if above[0] else 1.0, true[:-1] / (true[:-1] + above[1:]))
    gained = np.diff(true, prepend=0) / ranking.anomalous.size
    return float(np.sum(gained * (before + precision) / 2))


def _to_the_end_point(pixels: PixelScores, limit: float) -> float:
    if not (pixels.anomalous.size and pixels.normals):
        return float("nan")
    last = pixels.normal_score(pixels.normals_within(limit))
    end = int(pixels.normals_above(np.array([last]))[0]) / pixels.normals
    return aupro(pixels.ranking, pixels.weights, end) if end else float("nan")


def _resized(mask: Mask, size: tuple[int, int], how: Image.Resampling) -> NDArray[np.uint8]:
    """A mask (height, width) as grey values, in `size` (height, width)."""
    return np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size[::-1], how))
