"""How an image of any shape becomes the square that a model sees, and where in the square it lies."""

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Interpolation = Literal["bilinear", "bicubic"]
Aspect = Literal["squash", "pad", "crop"]

# Around an image that is padded. The mean of ImageNet's pixels: to its networks it is 0, as what they pad with is.
_AROUND: dict[str, int | tuple[int, int, int]] = {"L": 115, "RGB": (124, 116, 104)}


class Box(NamedTuple):
    """Part of a square: pixels from `left` and `top` on, before `right` and `bottom`."""

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

    An image that is not square is squashed, padded around, or cut to its middle square first.
    """

    size: int
    crop: int | None = None
    interpolation: Interpolation = "bilinear"
    aspect: Aspect = "squash"

    @property
    def whole(self) -> "Geometry":
        """The same without the crop."""
        return replace(self, crop=None)

    @property
    def output(self) -> int:
        """Side of the model's input in pixels."""
        return self.crop or self.size

    def content(self, size: tuple[int, int]) -> Box:
        """Where in the model's input an image of `size` (width, height) lies; all of it but where it is padded."""
        if self.aspect != "pad":
            return Box(0, 0, self.output, self.output)
        width, height = (max(1, round(side * self.size / max(size))) for side in size)
        left, top = (self.size - width) // 2, (self.size - height) // 2
        return Box(left, top, left + width, top + height)

    def apply(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """Resize, pad or crop; Pillow's filters are antialiased when they shrink. What is padded around masks is 0."""
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
        """An image as the model sees it, (side, side, channels)."""
        fitted = self.apply(image, Image.Resampling[self.interpolation.upper()])
        array = np.asarray(fitted if channels == 1 else fitted.convert("RGB"))
        return array.reshape(self.output, self.output, channels)


def middle_square(size: tuple[int, int]) -> Box:
    """The largest square in the middle of an image of `size` (width, height)."""
    left, top = ((side - min(size)) // 2 for side in size)
    return Box(left, top, left + min(size), top + min(size))


def hide_padding(anomaly_map: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """A map (side, side) that holds its lowest value where no image lies: nothing there is a finding."""
    inside = anomaly_map[box.rows_and_columns]
    if inside.shape == anomaly_map.shape:
        return anomaly_map
    hidden = np.full_like(anomaly_map, inside.min())
    hidden[box.rows_and_columns] = inside
    return hidden
