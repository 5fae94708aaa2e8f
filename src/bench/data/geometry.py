"""How an image of any shape becomes the square input of a model, and where it lies in the square."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

Interpolation = Literal["bilinear", "bicubic"]
Aspect = Literal["squash", "pad", "crop"]

# The padding: the mean of ImageNet's pixels, which its networks normalise to 0, the value that they pad with.
PADDING: dict[str, int | tuple[int, int, int]] = {"L": 115, "RGB": (124, 116, 104)}


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


class Content(NamedTuple):
    """The part of a model's square input that counts: an image without its padding and, of that, a region.

    A named tuple of tensors, as the batch that it is part of: torch and Lightning look into whatever a batch holds.
    """

    box: Box
    region: "Tensor | None" = None  # (side, side), boolean; None: all of the box

    def mask(self, side: int) -> NDArray[np.bool_]:
        """The pixels (side, side) that count."""
        inside = np.zeros((side, side), np.bool_)
        inside[self.box.rows_and_columns] = True
        return inside if self.region is None else inside & self.region.cpu().numpy()


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
    def uncropped(self) -> "Geometry":
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
            image = Image.new(image.mode, square, PADDING[image.mode] if resample != Image.Resampling.NEAREST else 0)
            image.paste(resized, (box.left, box.top))
        elif image.size != square:
            middle = middle_square(image.size) if self.aspect == "crop" else None
            image = image.resize(square, resample, box=middle)
        if self.crop:
            left = (self.size - self.crop) // 2
            image = image.crop((left, left, left + self.crop, left + self.crop))
        return image

    def fit_region(self, region: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The region (height, width) of an image in the model's input, (side, side): that of the nearest pixel."""
        return np.asarray(self.apply(Image.fromarray(region.astype(np.uint8)), Image.Resampling.NEAREST)) > 0

    def pixels(self, image: Image.Image, channels: int, region: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
        """An image as the model's input, (side, side, channels) uint8.

        What lies outside a `region` (height, width) gets the colour of the padding, before the image is resized: so
        that nothing of it is mixed into what lies inside.
        """
        if region is not None:
            plain = Image.new(image.mode, image.size, PADDING[image.mode])
            image = Image.composite(image, plain, Image.fromarray(region))
        fitted = self.apply(image, Image.Resampling[self.interpolation.upper()])
        array = np.asarray(fitted if channels == 1 else fitted.convert("RGB"))
        return array.reshape(self.output, self.output, channels)


def middle_square(size: tuple[int, int]) -> Box:
    """The largest square in the middle of an image of `size` (width, height)."""
    left, top = ((side - min(size)) // 2 for side in size)
    return Box(left, top, left + min(size), top + min(size))


def hide_outside(anomaly_map: NDArray[np.float32], content: Content) -> NDArray[np.float32]:
    """The map (side, side) with its lowest value where nothing counts, so that nothing there looks like a finding."""
    inside = content.mask(len(anomaly_map))
    return np.where(inside, anomaly_map, anomaly_map[inside].min()).astype(np.float32)
