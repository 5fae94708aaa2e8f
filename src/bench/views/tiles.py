"""Small pictures of a category's images, all at one scale, with defects outlined or enlarged."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from bench.data.layout import Sample
from bench.views.pictures import YELLOW, outlined

TILE = 176
_CLOSE = 4  # a close-up shows the longest side divided by this
_LEAST = 16  # pixels that a close-up shows at least
_FRAME = (170, 170, 170)
_EMPTY = (235, 235, 235)  # where an image is smaller than the largest
# A bright line within a dark one: visible on any background by lightness alone, so to colour-blind eyes too.
_OUTLINE = ((0, 0, 0), 3), (YELLOW, 1)


@dataclass(frozen=True)
class Scale:
    """The scale of a category's tiles: pixels of the longest side of its images, and of its close-ups."""

    longest: int

    @property
    def close(self) -> int:
        """Side of a close-up in pixels of the image."""
        return max(self.longest // _CLOSE, _LEAST)


def draw_image(sample: Sample, scale: Scale) -> Image.Image:
    """The full image as a tile (TILE, TILE), its defect outlined."""
    image = sample.read_image().convert("RGB")
    share = TILE / scale.longest
    width, height = (max(1, round(side * share)) for side in image.size)
    picture = np.array(image.resize((width, height), Image.Resampling.LANCZOS))
    if sample.mask and (drawn := sample.read_mask()) is not None:
        # Any marked pixel counts: nearest neighbours would lose small defects.
        marked = cv2.resize(drawn.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        # Two pixels away from the mask, the line hides nothing of a defect.
        around = cv2.dilate((marked > 0).astype(np.uint8), np.ones((5, 5), np.uint8))
        picture = outlined(picture, around > 0, _OUTLINE)
    return _framed(Image.fromarray(picture))


def draw_close_up(sample: Sample, scale: Scale) -> Image.Image:
    """The part of the image with most of the defect, as a tile (TILE, TILE) with nothing drawn over it."""
    drawn = sample.read_mask()
    assert drawn is not None
    image = sample.read_image().convert("RGB")
    width, height = (min(side, scale.close) for side in image.size)
    left, top = _densest(drawn, width, height)
    share = TILE / scale.close
    size = (max(1, round(width * share)), max(1, round(height * share)))
    part = image.crop((left, top, left + width, top + height))
    return _framed(part.resize(size, Image.Resampling.BICUBIC))


def _densest(mask: NDArray[np.bool_], width: int, height: int) -> tuple[int, int]:
    """Left and top of the window with the most marked pixels; of several, the one nearest to their middle."""
    sums = cv2.integral(mask.astype(np.uint8))
    marked = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    tops, lefts = np.nonzero(marked == marked.max())
    nearest = np.argmin((tops - tops.mean()) ** 2 + (lefts - lefts.mean()) ** 2)
    return int(lefts[nearest]), int(tops[nearest])


def _framed(picture: Image.Image) -> Image.Image:
    """Centre a picture in a tile; the thin frame shows where a white image ends."""
    tile = Image.new("RGB", (TILE, TILE), _EMPTY)
    tile.paste(picture, ((TILE - picture.width) // 2, (TILE - picture.height) // 2))
    ImageDraw.Draw(tile).rectangle((0, 0, TILE - 1, TILE - 1), outline=_FRAME)
    return tile
