"""Score the private test images of MVTec AD 2 with finished runs, and write what its server takes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.datamodule import DefectData
from bench.data.datasets import mvtec_ad_2_facts as facts
from bench.errors import RunError, UsageError
from bench.metrics.segmentation_threshold import NormalPixels, moments
from bench.phases import phase
from bench.runs.scoring.images import FoundImage
from bench.runs.scoring.maps import Values, fit_map
from bench.runs.scoring.scorer import FinishedRun
from bench.runs.scoring.stream import BrokenImage, score_images
from bench.submission.float16_range import Float16Range
from bench.submission.rules import MAPS, SUFFIXES, VERDICTS

_SAMPLED_IMAGES = 16  # of each private test set, to learn in which range its scores lie
_SAMPLED_PIXELS = 4096  # of an image


@dataclass(frozen=True)
class Written:
    """What was written of one object."""

    category: str
    images: int
    threshold: float
    marked: float  # the share of all pixels that lie above it


def private_images(root: Path, category: str) -> dict[str, list[FoundImage]]:
    """The images of each private test set; a UsageError where they are not those that MVTec published."""
    found = {}
    for private_set in facts.PRIVATE_SETS:
        folder = root / category / private_set
        expected = facts.private_names(category, private_set)
        there = sorted(path.stem for path in folder.glob("*.png"))
        if there != expected:
            odd = sorted(set(expected) ^ set(there))[0]
            raise UsageError(
                f"{folder} holds {len(there)} images, and MVTec's server takes {len(expected)}, from {expected[0]}.png "
                f"to {expected[-1]}.png; the first that differs is {odd}.png; unpack the archive again"
            )
        found[private_set] = [FoundImage(folder / f"{name}.png", PurePosixPath(name)) for name in expected]
    return found


def write_object(run: FinishedRun, data: DefectData, images: dict[str, list[FoundImage]], out: Path) -> Written:
    """Write all files of the run's object; the threshold is of its validation images, which it did not learn from."""
    category, normal = run.record.category, NormalPixels()
    train = data.category.train
    held_out = [FoundImage(train[i].path, PurePosixPath(train[i].path.stem)) for i in data.validation_indices]
    sample: list[NDArray[np.float32]] = []
    for _, values in _maps(run, held_out, f"{category}: maps of validation images"):
        normal.add(moments(values))
        sample.append(_some_of(values))
    few = [image for own in images.values() for image in _evenly(own)]
    sample += [_some_of(values) for _, values in _maps(run, few, f"{category}: range of scores")]
    in_range, marked, pixels = Float16Range.of(np.concatenate(sample)), 0, 0
    for private_set, own in images.items():
        folders = {kind: out / kind / category / private_set for kind in SUFFIXES}
        for folder in folders.values():
            folder.mkdir(parents=True)
        for image, values in _maps(run, own, f"{category}: {private_set}"):
            above = values > normal.threshold
            _write(in_range(values), above, folders, image.name.name)
            marked, pixels = marked + int(above.sum()), pixels + above.size
    return Written(category, sum(map(len, images.values())), normal.threshold, marked / pixels)


def _maps(run: FinishedRun, images: Sequence[FoundImage], title: str) -> Iterator[tuple[FoundImage, Values]]:
    """The map of each image in the image's own size."""
    with phase(title, len(images), "images") as counted:
        for scored in score_images(run, images, pictures=False):
            if isinstance(scored, BrokenImage):
                raise UsageError(scored.reason)
            assert scored.anomaly_map is not None, "methods without maps are refused before"
            values, _ = fit_map(scored.anomaly_map, run.geometry, scored.image.size)
            if not np.isfinite(values).all():
                raise RunError(f"the map of {scored.image.found.path} holds values that are no finite numbers")
            yield scored.image.found, values
            counted.advance()


def _write(values: NDArray[np.float16], above: NDArray[np.bool_], folders: dict[str, Path], name: str) -> None:
    import tifffile

    tifffile.imwrite(folders[MAPS] / f"{name}{SUFFIXES[MAPS]}", values, compression="zlib")
    verdicts = Image.fromarray(above.astype(np.uint8) * 255)
    verdicts.save(folders[VERDICTS] / f"{name}{SUFFIXES[VERDICTS]}")


def _evenly(images: Sequence[FoundImage]) -> Iterable[FoundImage]:
    places = np.linspace(0, len(images) - 1, min(len(images), _SAMPLED_IMAGES)).round().astype(int)
    return [images[place] for place in np.unique(places).tolist()]


def _some_of(values: Values) -> NDArray[np.float32]:
    """Pixels on a grid over the whole map, and its largest ones: defects are small."""
    flat = values.ravel()
    grid = flat[:: max(1, flat.size // _SAMPLED_PIXELS)]
    return np.append(grid, flat.max())
