"""Read masks of defects: two values, or an error in one clear line; never a guess."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.images import read_image, read_upright
from bench.errors import UsageError
from bench.metrics.regions import label_regions

_VALUES = 2
_NAMED = 4  # values that an error names
_SPECK = 5  # pixels; a smaller region is a speck
_FEW = 8  # specks that any mask may have: pinholes are defects, and thin lines break up


def read_mask(path: Path, threshold: int | None = None, *, any_value: bool = False) -> NDArray[np.bool_]:
    """Read a mask as (height, width) booleans: of its two values the larger one is the defect.

    A palette is read by its indices, whatever colours they have; of two colours the brighter one is the larger value.
    Shades, as a JPEG leaves them around each region, are a UsageError: every threshold gives other regions. With a
    `threshold`, 1 to 255, grey values from it on are the defect. With `any_value`, where the makers of a dataset say
    so, every value but 0 is the defect, as they wrote it: a palette's index, a grey value of any depth, a colour.
    """
    marked = np.asarray(_ranks(read_upright(path), path) != 0) if any_value else _read_marked(path, threshold)
    if not marked.any():
        raise UsageError(
            f"mask {path} marks no pixel, yet its image counts as a defect; mend the mask or move the image"
        )
    if not any_value:
        _check_specks(marked, path)
    return marked


def read_region(path: Path, threshold: int | None = None) -> NDArray[np.bool_]:
    """Read a region of interest as (height, width) booleans, as `read_mask` does; the larger value counts."""
    marked = _read_marked(path, threshold)
    if not marked.any():
        raise UsageError(f"region {path} has no pixel that counts; make those that do white")
    return marked


def _read_marked(path: Path, threshold: int | None) -> NDArray[np.bool_]:
    image = read_upright(path)
    values = _ranks(image, path)
    found = np.unique(values)
    if len(found) <= _VALUES:
        return np.asarray((values == found[-1]) & (found[-1] != 0))
    if threshold is None:
        raise _too_many(path, image, found)
    return np.asarray(np.asarray(read_image(path).convert("L")) >= threshold)


def marks_surroundings(mask: NDArray[np.bool_]) -> bool:
    """Whether most of an image and nearly all of its border are marked; a flipped part, too, may fill over half."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(mask.mean() > 0.5 and border.mean() > 0.9)


def _ranks(image: Image.Image, path: Path) -> NDArray[np.int64]:
    """A number for each pixel (height, width): equal for equal pixels, larger for brighter ones."""
    if image.mode == "P" or image.mode.startswith("I"):  # indices of a palette, or grey of more than 8 bits
        return np.asarray(image).astype(np.int64)
    pixels = np.atleast_3d(np.asarray(read_image(path))).astype(np.int64)
    values: NDArray[np.int64] = pixels.sum(axis=2)
    return values if pixels.shape[2] == 1 else values << 24 | pixels @ (1 << 16, 1 << 8, 1)


def _too_many(path: Path, image: Image.Image, found: NDArray[np.int64]) -> UsageError:
    some = ""
    if image.mode in ("L", "P") or image.mode.startswith("I"):
        some = f" ({', '.join(map(str, found[:_NAMED]))}, ... {found[-1]})"
    return UsageError(
        f"mask {path} has {len(found)} values{some}, not one for the defect and one for all else; save it as a PNG of "
        "two, or say from which grey value on it means a defect: --data.mask_threshold 128"
    )


def _check_specks(marked: NDArray[np.bool_], path: Path) -> None:
    labels, count = label_regions(marked)
    small = int(np.sum(np.bincount(labels.ravel())[1:] < _SPECK))
    if small > max(_FEW, count / 2):
        raise UsageError(
            f"mask {path} has {count} regions, {small} of them of fewer than {_SPECK} pixels, as a JPEG or a resized "
            "drawing leaves them; draw it again"
        )
