"""Images in, scores out, one batch at a time: however many images there are, memory holds three batches."""

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from bench.data.geometry import hide_outside
from bench.data.images import GREY_IN_COLOUR, as_seen, conversion_of, in_eight_bits, read_header, read_image
from bench.errors import RunError, UsageError, first_line
from bench.processes import available_cores
from bench.runs.scoring.images import FoundImage
from bench.runs.scoring.scorer import FinishedRun

# Said of images that a run of several folds learned from, before the file with their fair scores.
OWN_IMAGES = "of these are images that the run learned from, all but one of its folds each; fair scores of them are in"
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
    is_own = bool(own) and hashlib.sha256(found.path.read_bytes()).hexdigest() in own
    return _prepared(run, found, image, read_header(found.path).conversion, is_own=is_own, pictures=pictures)


def score_in_memory(run: FinishedRun, images: Mapping[str, Image.Image]) -> Iterator[ScoredImage]:
    """Score images that no file holds, by their names; a UsageError names one that cannot be scored."""
    taken = []
    for name, image in images.items():
        upright = as_seen(image, name)
        pixels = in_eight_bits(upright, name, run.config.settings["data"]["bits"])
        found = FoundImage(Path(name), PurePosixPath(name))
        taken.append(_prepared(run, found, pixels, conversion_of(upright), is_own=False, pictures=False))
    for start in range(0, len(taken), run.batch_size):
        yield from _score(run, taken[start : start + run.batch_size])


def _prepared(
    run: FinishedRun, found: FoundImage, image: Image.Image, conversion: str, *, is_own: bool, pictures: bool
) -> ReadImage:
    picture = None
    if pictures:
        picture = image.convert("RGB")
        picture.thumbnail((LARGEST_PICTURE, LARGEST_PICTURE))
    try:
        pixels = run.pixels(image)
    except ValueError as error:
        raise UsageError(f"{found.path} {error}") from error
    if image.mode == "L" and run.spec.channels > 1:
        conversion = GREY_IN_COLOUR
    return ReadImage(found, pixels, image.size, picture, is_own, conversion)


def _read_ahead(
    images: Sequence[FoundImage], read: Callable[[FoundImage], ReadImage | BrokenImage], size: int
) -> Iterator[list[ReadImage | BrokenImage]]:
    """Batches of images; while one is scored, threads read the next two, so that they never wait for its end."""
    waiting: deque[Future[ReadImage | BrokenImage]] = deque()
    coming = iter(images)
    with ThreadPoolExecutor(available_cores()) as pool:

        def fill() -> None:
            waiting.extend(pool.submit(read, found) for found in islice(coming, 2 * size - len(waiting)))

        try:
            fill()
            while waiting:
                batch = [waiting.popleft().result() for _ in range(min(size, len(waiting)))]
                fill()
                yield batch
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _score(run: FinishedRun, images: Sequence[ReadImage]) -> Iterator[ScoredImage]:
    content = run.content([image.size for image in images])
    prediction = run.score(np.stack([image.pixels for image in images]), content)
    for index, image in enumerate(images):
        score = float(prediction.score[index])
        named = None
        if prediction.logits is not None:
            probabilities = softmax(prediction.logits[index].double().numpy())
            best = int(probabilities.argmax())
            named = (run.spec.classes[best], float(probabilities[best]))
        if not np.isfinite(score):
            raise RunError(f"the score of {image.found.path} is no finite number")
        anomaly_map = None if prediction.map is None else prediction.map[index].numpy()
        if anomaly_map is not None and content is not None and content[index].region is not None:
            anomaly_map = hide_outside(anomaly_map, content[index])
        yield ScoredImage(image, score, _is_anomalous(run, score, named), anomaly_map, named)


def _is_anomalous(run: FinishedRun, score: float, named: tuple[str, float] | None) -> bool:
    """As in the run's test: a score above the threshold or, for a classifier, any class but good."""
    if named is not None:
        return named[0] != run.spec.classes[0]
    assert run.threshold is not None
    return score > run.threshold
