"""A category whose masks have what real ones have now and then: holes, single pixels, pixels that touch at a corner."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fake_data import save, weave

HEIGHT, WIDTH = 40, 56
CATEGORY = "螺丝 M4"
IMAGES = 4  # of each type

Mask = NDArray[np.bool_]


def ring(index: int) -> Mask:
    """A ring with a pixel of its own in its hole: two regions, one with a hole."""
    y, x = np.mgrid[:HEIGHT, :WIDTH] - np.array((18 + index, 20 + 3 * index))[:, None, None]
    distance = np.hypot(x, y)
    marked: Mask = ((distance > 4) & (distance < 9)) | (distance == 0)
    return marked


def dot(index: int) -> Mask:
    """Single pixels, one of them in a corner of the image."""
    return _marked([(0, 0), (HEIGHT - 1, WIDTH - 1), (10, 20 + 5 * index)])


def stairs(index: int) -> Mask:
    """Pixels that touch at their corners alone, in a loop around one that is free."""
    top, left = 5 + 4 * index, 6 + 9 * index
    return _marked([(top, left + 1), (top + 1, left), (top + 1, left + 2), (top + 2, left + 1), (top + 3, left + 2)])


def bars(index: int) -> Mask:
    """Two bars, one along the image's edge."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[HEIGHT - 2 :, 4 + index : 50] = True
    mask[3:30, 30 + index : 33 + index] = True
    return mask


SHAPES: dict[str, Callable[[int], Mask]] = {"环 ring": ring, "dot": dot, "stairs": stairs, "bars": bars}


def write_odd_category(root: Path) -> Path:
    """Write `root/螺丝 M4`; its folder."""
    folder = root / CATEGORY
    for split, count in (("train", 9), ("test", 5)):
        for index in range(count):
            save(_picture(f"{split}/{index}"), folder / split / "good" / f"{index:03}.png")
    for name, shape in SHAPES.items():
        for index in range(IMAGES):
            mask = shape(index)
            picture = _picture(f"{name}/{index}")
            picture[mask] = 250
            save(picture, folder / "test" / name / f"{index:03}.png")
            save(mask.astype(np.uint8) * 255, folder / "ground_truth" / name / f"{index:03}_mask.png")
    return folder


def _picture(name: str) -> NDArray[np.uint8]:
    return weave(WIDTH, name)[:HEIGHT].copy()


def _marked(pixels: list[tuple[int, int]]) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for pixel in pixels:
        mask[pixel] = True
    return mask
