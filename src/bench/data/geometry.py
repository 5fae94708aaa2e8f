"""How an image of any shape becomes the square input of a model, and where it lies in the square."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Interpolation = Literal["bilinear", "bicubic"]
Aspect = Literal["squash", "pad", "crop"]

# The padding: the mean of ImageNet's pixels, which its networks normalise to 0, the value that they pad with.
_AROUND: dict[str, int | tuple[int, int, int]] = {"L": 115, "RGB": (124, 116, 104)}


class Box(NamedTuple):
    """Part of a square: pixels from `left` and `top` on, up to but without `right` and `bottom`."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def rows_and_columns(self) -> tuple[slice, slice]:
        """The part as an index of arrays (..., H, W)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class Geometry:
    """How an image becomes the model's input: resized to a square of `size` pixels, then its centre of `crop`.

    An image that is not square is first squashed, padded, or cropped to its middle square.
    """

    size: int
    crop: int | None = None
    interpolation: Interpolation = "bilinear"
    aspect: Aspect = "squash"

    @property
    def whole(self) -> "Geometry":
        """The same geometry without the crop."""
        return replace(self, crop=None)

    @property
    def output(self) -> int:
        """Side of the model's input in pixels."""
        return self.crop or self.size

    def content(self, size: tuple[int, int]) -> Box:
        """The part of the model's input that an image of `size` (width, height) fills: all of it unless padded."""
        if self.aspect != "pad":
            return Box(0, 0, self.output, self.output)
        width, height = (max(1, round(side * self.size / max(size))) for side in size)
        left, top = (self.size - width) // 2, (self.size - height) // 2
        return Box(left, top, left + width, top + height)

    def apply(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """Resize, pad or crop; Pillow's filters are antialiased when they shrink. The padding of masks is 0."""
        square = (self.size, self.size)
        if self.aspect == "pad" and image.width != image.height:
            box = self.content(image.size)
            resized = image.resize((box.right - box.left, box.bottom - box.top), resample)
            image = Image.new(image.mode, square, _AROUND[image.mode] if resample != Image.Resampling.NEAREST else 0)
            image.paste(resized, (box.left, box.top))
        elif image.size != square:
            middle = middle_square(image.size) if self.aspect == "crop" else None
            image = image.resize(square, resample, box=middle)
        if self.crop:
            left = (self.size - self.crop) // 2
            image = image.crop((left, left, left + self.crop, left + self.crop))
        return image

    def pixels(self, image: Image.Image, channels: int) -> NDArray[np.uint8]:
        """An image as the model's input, (side, side, channels) uint8."""
        fitted = self.apply(image, Image.Resampling[self.interpolation.upper()])
        array = np.asarray(fitted if channels == 1 else fitted.convert("RGB"))
        return array.reshape(self.output, self.output, channels)


def middle_square(size: tuple[int, int]) -> Box:
    """The largest square in the middle of an image of `size` (width, height)."""
    left, top = ((side - min(size)) // 2 for side in size)
    return Box(left, top, left + min(size), top + min(size))


def hide_padding(anomaly_map: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """The map (side, side) with its lowest value in the padding, so that nothing there counts as a finding."""
    inside = anomaly_map[box.rows_and_columns]
    if inside.shape == anomaly_map.shape:
        return anomaly_map
    hidden = np.full_like(anomaly_map, inside.min())
    hidden[box.rows_and_columns] = inside
    return hidden
