"""Score images that are files, PIL images or arrays, with the method of a finished run."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.errors import UsageError
from bench.records.record import PREDICTIONS
from bench.runs.scoring.images import FoundImage, find_images
from bench.runs.scoring.maps import fit_map
from bench.runs.scoring.scorer import FinishedRun
from bench.runs.scoring.stream import OWN_IMAGES, BrokenImage, ScoredImage, score_images, score_in_memory

Picture = str | Path | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Scored:
    """The result of a run's method for one image.

    Args:
        image: the image's path, or `image 0` and so on for images in memory.
        score: raw and unbounded; larger = more anomalous.
        threshold: the one that decided; None for a classifier.
        verdict: `anomalous` for a score above the threshold, else `good`; of a classifier, the class.
        probability: the class's probability; None for a method with a threshold.
        map: float32 (height, width) of the image, the same meaning per pixel; None if the method cannot localise.
    """

    image: str
    score: float
    threshold: float | None
    verdict: str
    probability: float | None = None
    map: NDArray[np.float32] | None = field(default=None, repr=False)


def score_pictures(run: FinishedRun, pictures: Sequence[Picture]) -> list[Scored]:
    """Score pictures in their order; a folder stands for all images below it."""
    found: list[Scored] = []
    for start, group in _groups(pictures):
        if isinstance(group[0], FoundImage):
            files = [each for each in group if isinstance(each, FoundImage)]
            scored = list(score_images(run, files, pictures=False))
            own = sum(isinstance(each, ScoredImage) and each.image.is_own for each in scored)
            if own:
                warnings.warn(f"{own} {OWN_IMAGES} {run.folder / PREDICTIONS}", stacklevel=3)
            found += [_scored(run, each) for each in scored]
        else:
            named = {f"image {start + number}": _image(each) for number, each in enumerate(group)}
            found += [_scored(run, each) for each in score_in_memory(run, named)]
    return found


def _groups(pictures: Sequence[Picture]) -> Iterator[tuple[int, list[FoundImage | Picture]]]:
    """Neighbours that are scored together, all of them files or none, with the index of the first."""
    start = 0
    group: list[FoundImage | Picture] = []
    for index, picture in enumerate(pictures):
        is_file = isinstance(picture, str | Path)
        if group and is_file != isinstance(group[0], FoundImage):
            yield start, group
            start, group = index, []
        group += find_images([Path(picture).expanduser()]) if isinstance(picture, str | Path) else [picture]
    if group:
        yield start, group


def _image(picture: object) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    if not isinstance(picture, np.ndarray):
        raise UsageError(f"a {type(picture).__name__} is no image; give a path, a PIL image, or an array of uint8")
    grey = picture.ndim == 2 and picture.dtype in (np.uint8, np.uint16)
    colour = picture.ndim == 3 and picture.shape[2] in (3, 4) and picture.dtype == np.uint8
    if not (grey or colour) or not picture.size:
        raise UsageError(
            f"an array {picture.shape} of {picture.dtype} is no image; give (height, width) of uint8 or uint16, or "
            "(height, width, 3) of uint8"
        )
    return Image.fromarray(picture)


def _scored(run: FinishedRun, found: ScoredImage | BrokenImage) -> Scored:
    if isinstance(found, BrokenImage):
        raise UsageError(found.reason)
    name, anomaly_map = str(found.image.found.path), found.anomaly_map
    if anomaly_map is not None:
        anomaly_map, _ = fit_map(anomaly_map, run.geometry, found.image.size)
    verdict, probability = found.named or ("anomalous" if found.anomalous else "good", None)
    return Scored(name, found.score, run.threshold, verdict, probability, anomaly_map)
