"""Saturation: from which area on a defect counts as found whole, as MVTec LOCO AD says it for each kind of defect."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.data.images import read_upright
from bench.errors import UsageError, first_line

CONFIG = "defects_config.json"
_AGAIN = "unpack the dataset again"


class Saturation(NamedTuple):
    """The saturation of one kind of defect: pixels, or with `relative` a share of the defect's own."""

    threshold: float
    relative: bool

    def area(self, defect_area: int) -> int:
        """The pixels that must be found of a defect of this area, as MVTec's evaluation rounds them."""
        return int(self.threshold * defect_area) if self.relative else min(int(self.threshold), defect_area)


class Defect(NamedTuple):
    """One defect of an image: its pixels (height, width), and how many of them must be found."""

    mask: NDArray[np.bool_]
    saturation_area: int


# By the value of a defect's pixels in its mask.
Saturations = Mapping[int, Saturation]
NO_SATURATION: Saturations = {}


def read_saturations(file: Path) -> Saturations:
    """The saturation of each kind of defect, by the value of its pixels in masks; a UsageError names a mistake."""
    if not file.is_file():
        raise UsageError(f"no {file}, which says how much of a defect must be found; {_AGAIN}")
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON in UTF-8 ({first_line(error)}); {_AGAIN}") from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror or error}") from error
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{file} is no list of defects; {_AGAIN}")
    found: dict[int, Saturation] = {}
    for number, entry in enumerate(entries, 1):
        value, saturation = _entry(file, number, entry)
        if value in found:
            raise UsageError(f"{file}, defect {number}: its pixel_value {value} is another's as well; {_AGAIN}")
        found[value] = saturation
    return found


def read_defect(path: Path, saturations: Saturations) -> Defect:
    """The one defect that a mask shows, every value of it but 0; a UsageError names what is not as it must be."""
    pixels = np.asarray(read_upright(path))
    values = [value for value in np.unique(pixels).tolist() if value != 0] if pixels.ndim == 2 else []
    if len(values) != 1:
        raise UsageError(f"mask {path} has not one value for its defect and 0 for all else; {_AGAIN}")
    if int(values[0]) not in saturations:
        raise UsageError(f"mask {path} has the value {values[0]}, which {CONFIG} does not name; {_AGAIN}")
    mask = pixels != 0
    area = saturations[int(values[0])].area(int(mask.sum()))
    if area < 1:
        raise UsageError(f"mask {path} is so small that its saturation is less than one pixel; {_AGAIN}")
    return Defect(mask, area)


def _entry(file: Path, number: int, entry: Any) -> tuple[int, Saturation]:
    keys = ("pixel_value", "saturation_threshold", "relative_saturation")
    value, threshold, relative = (entry.get(key) if isinstance(entry, dict) else None for key in keys)
    if type(value) is not int or not 1 <= value <= 255:
        raise UsageError(f"{file}, defect {number}: its pixel_value is no number from 1 to 255; {_AGAIN}")
    if relative is True and isinstance(threshold, float) and 0 < threshold <= 1:
        return value, Saturation(threshold, relative=True)
    if relative is False and type(threshold) is int and threshold >= 1:
        return value, Saturation(threshold, relative=False)
    raise UsageError(
        f"{file}, defect {number}: its saturation_threshold is neither a share in (0, 1] with relative_saturation true "
        f"nor a number of pixels with false; {_AGAIN}"
    )
