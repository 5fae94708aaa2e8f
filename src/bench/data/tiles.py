"""The small pictures of a contact sheet, all of one category in one scale."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.images import read_image, read_mask
from bench.data.layout import Sample

TILE = 176
_CLOSE = 4  # a close-up shows this part of the longest side
_LEAST = 16  # pixels, all the same
_EMPTY = (235, 235, 235)  # where an image is smaller than the largest
# A bright line within a dark one: told from any background by lightness alone, so by colour-blind eyes too.
_OUTLINE, _HALO = (255, 221, 0), (0, 0, 0)


@dataclass(frozen=True)
class Scale:
    """Pixels of the longest side of a category's images, and of its close-ups."""

    longest: int

    @property
    def close(self) -> int:
        """Side of a close-up."""
        return max(self.longest // _CLOSE, _LEAST)


def draw_whole(sample: Sample, scale: Scale) -> Image.Image:
    """The image (TILE, TILE), its defect outlined."""
    image = read_image(sample.path).convert("RGB")
    share = TILE / scale.longest
    width, height = (max(1, round(side * share)) for side in image.size)
    picture = np.array(image.resize((width, height), Image.Resampling.LANCZOS))
    if sample.mask:
        # Any marked pixel counts: nearest neighbours would lose small defects.
        marked = cv2.resize(read_mask(sample.mask).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        picture = _outline(picture, marked > 0)
    tile = Image.new("RGB", (TILE, TILE), _EMPTY)
    tile.paste(Image.fromarray(picture), ((TILE - width) // 2, (TILE - height) // 2))
    return tile


def draw_close_up(sample: Sample, scale: Scale) -> Image.Image:
    """The surroundings (TILE, TILE) of the largest region of a defect, with nothing drawn over them."""
    assert sample.mask is not None
    image = read_image(sample.path).convert("RGB")
    mask = read_mask(sample.mask).astype(np.uint8)
    _, _, boxes, centres = cv2.connectedComponentsWithStats(mask, connectivity=8)
    x, y = centres[1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))]
    width, height = (min(side, scale.close) for side in image.size)
    left = int(np.clip(round(x - width / 2), 0, image.width - width))
    top = int(np.clip(round(y - height / 2), 0, image.height - height))
    share = TILE / scale.close
    size = (max(1, round(width * share)), max(1, round(height * share)))
    part = image.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
    tile = Image.new("RGB", (TILE, TILE), _EMPTY)
    tile.paste(part, ((TILE - size[0]) // 2, (TILE - size[1]) // 2))
    return tile


def _outline(picture: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A line around the mask, two pixels away, so that it hides nothing of a defect."""
    around = cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    for colour, thickness in ((_HALO, 3), (_OUTLINE, 1)):
        cv2.drawContours(picture, outlines, -1, colour, thickness)
    return picture
