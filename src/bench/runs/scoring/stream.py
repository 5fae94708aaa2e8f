"""Images in, scores out, one batch at a time: however many images there are, memory holds two batches."""

import hashlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from bench.data.images import GREY_IN_COLOUR, read_header, read_image
from bench.errors import RunError, UsageError, first_line
from bench.runs.scoring.images import FoundImage
from bench.runs.scoring.scorer import FinishedRun

LARGEST_PICTURE = 1024  # pixels of the longer side of the picture under a heat map


@dataclass(frozen=True)
class ReadImage:
    """An image as the model sees it, and the data for its pictures."""

    found: FoundImage
    pixels: NDArray[np.uint8]  # (side, side, channels)
    size: tuple[int, int]  # width and height of the file's image
    picture: Image.Image | None  # reduced, where overlays are drawn
    is_own: bool  # whether a fold of the run learned from it
    conversion: str  # what reading changed in its pixels, in words; empty if nothing


@dataclass(frozen=True)
class BrokenImage:
    """An image that could not be read, and the reason, in one line that names it."""

    found: FoundImage
    reason: str


@dataclass(frozen=True)
class ScoredImage:
    """The result of the run's method for one image."""

    image: ReadImage
    score: float
    anomalous: bool
    anomaly_map: NDArray[np.float32] | None  # (side, side)
    named: tuple[str, float] | None  # class and its probability, of classifiers


def score_images(
    run: FinishedRun, images: Sequence[FoundImage], *, pictures: bool
) -> Generator[ScoredImage | BrokenImage, None, None]:
    """Score images in their order; one that cannot be read yields a `BrokenImage` at its position."""
    own = run.own_images()

    def read(found: FoundImage) -> ReadImage | BrokenImage:
        try:
            return _read(run, found, own, pictures=pictures)
        except UsageError as error:
            return BrokenImage(found, str(error))
        except Exception as error:  # Pillow raises struct.error, EOFError, IndexError, ... for some damaged files
            return BrokenImage(found, f"{found.path} is damaged ({first_line(error)})")

    for batch in _read_ahead(images, read, run.batch_size):
        readable = [image for image in batch if isinstance(image, ReadImage)]
        scored = iter(_score(run, readable) if readable else [])
        yield from (image if isinstance(image, BrokenImage) else next(scored) for image in batch)


def _read(run: FinishedRun, found: FoundImage, own: frozenset[str], *, pictures: bool) -> ReadImage:
    image = read_image(found.path, run.config.settings["data"]["bits"])
    picture = None
    if pictures:
        picture = image.convert("RGB")
        picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    try:
        pixels = run.pixels(image)
    except ValueError as error:
        raise UsageError(f"{found.path} {error}") from error
    is_own = bool(own) and hashlib.sha256(found.path.read_bytes()).hexdigest() in own
    conversion = read_header(found.path).conversion
    if image.mode == "L" and run.spec.channels > 1:
        conversion = GREY_IN_COLOUR
    return ReadImage(found, pixels, image.size, picture, is_own, conversion)


def _read_ahead(
    images: Sequence[FoundImage], read: Callable[[FoundImage], ReadImage | BrokenImage], size: int
) -> Iterator[list[ReadImage | BrokenImage]]:
    """Batches of images; while one is scored, threads read the next."""
    waiting: list[Future[ReadImage | BrokenImage]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(images), size):
            coming = [pool.submit(read, found) for found in images[start : start + size]]
            if waiting:
                yield [future.result() for future in waiting]
            waiting = coming
        if waiting:
            yield [future.result() for future in waiting]


def _score(run: FinishedRun, images: Sequence[ReadImage]) -> Iterator[ScoredImage]:
    content = [run.geometry.content(image.size) for image in images] if run.geometry.aspect == "pad" else None
    prediction = run.score(np.stack([image.pixels for image in images]), content)
    for place, image in enumerate(images):
        score = float(prediction.score[place])
        named = None
        if prediction.logits is not None:
            probabilities = softmax(prediction.logits[place].double().numpy())
            best = int(probabilities.argmax())
            named = (run.spec.classes[best], float(probabilities[best]))
        if not np.isfinite(score):
            raise RunError(f"the score of {image.found.path} is no finite number")
        anomaly_map = None if prediction.map is None else prediction.map[place].numpy()
        yield ScoredImage(image, score, _is_anomalous(run, score, named), anomaly_map, named)


def _is_anomalous(run: FinishedRun, score: float, named: tuple[str, float] | None) -> bool:
    """As in the run's test: a score above the threshold or, for a classifier, any class but good."""
    if named is not None:
        return named[0] != run.spec.classes[0]
    assert run.threshold is not None
    return score > run.threshold
