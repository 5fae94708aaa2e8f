"""Reading image and mask files: what cannot be read exactly is refused by name."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from bench.errors import UsageError

_MASK_VALUES = 2
_UPRIGHT, _ON_ITS_SIDE = 1, (5, 6, 7, 8)  # EXIF orientations
_READABLE = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB"}
_REFUSED = {
    "CMYK": "CMYK colours",
    "LA": "an alpha channel",
    "RGBA": "an alpha channel",
    "PA": "an alpha channel",
    "La": "an alpha channel",
    "RGBa": "an alpha channel",
}


def image_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels of the image as it is meant to be seen, from the file's header."""
    with _open(path) as image:
        width, height = image.size
        return (height, width) if _orientation(image) in _ON_ITS_SIDE else (width, height)


def image_channels(path: Path) -> int:
    """1 for a grey image, 3 for a coloured one, from the file's header."""
    with _open(path) as image:
        return 1 if _READABLE.get(image.mode) == "L" else 3


def image_mode(path: Path) -> str:
    """Pillow's word for how pixels are stored, such as L (grey) or RGB, from the file's header."""
    with _open(path) as image:
        return image.mode


def read_image(path: Path) -> Image.Image:
    """Read an 8-bit grey (mode L) or colour (mode RGB) image, turned as its EXIF tag says.

    Cameras store what they saw and a tag that tells viewers to turn it; a method would see a part lying on its side.
    Anything else is a UsageError that names the file.
    """
    image = _read_turned(path)
    return image.convert(_READABLE[image.mode])


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask as (height, width) booleans: of its two values the larger one is the defect.

    A palette is read by its indices, whatever colours they have; of two colours the brighter one is the larger value.
    Shades, as a JPEG leaves them around each region, are a UsageError: every threshold makes other regions of them.
    """
    image = _read_turned(path)
    pixels = np.atleast_3d(np.asarray(image if image.mode == "P" else image.convert(_READABLE[image.mode])))
    values = pixels.astype(np.int64).sum(axis=2)
    if pixels.shape[2] == 3:
        values = values << 24 | pixels.astype(np.int64) @ (1 << 16, 1 << 8, 1)
    found = np.unique(values)
    if len(found) > _MASK_VALUES:
        raise UsageError(
            f"mask {path} has {len(found)} values, not one for the defect and one for all else; save it as a PNG of two"
        )
    if found[-1] == 0:
        raise UsageError(
            f"mask {path} marks no pixel, yet its image counts as a defect; mend the mask or move the image"
        )
    return np.asarray(values == found[-1])


def _read_turned(path: Path) -> Image.Image:
    with _open(path) as image:
        if reason := _why_inexact(image):
            raise UsageError(f"{path} has {reason}; save it as an 8-bit grey or RGB image")
        told = _orientation(image)
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise UsageError(f"{path} is damaged ({error}); copy it again") from error
        if _orientation(image) != told:
            raise UsageError(f"{path} has its EXIF orientation behind its pixels, where few look; save it upright")
        return ImageOps.exif_transpose(image)


def is_upright(path: Path) -> bool:
    """Whether pixels are stored as they are meant to be seen; else an EXIF tag asks viewers to turn the image."""
    with _open(path) as image:
        return _orientation(image) == _UPRIGHT


def _orientation(image: ImageFile.ImageFile) -> int:
    """How the image is stored, 1 to 8; what is no such number means nothing to viewers either."""
    if image.format == "TIFF":  # Pillow turns these by itself, and tells the size that they have then
        return _UPRIGHT
    # Pillow decodes a whole PNG to look for an EXIF block behind its pixels.
    tagged = image.format != "PNG" or "exif" in image.info
    found = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT) if tagged else _UPRIGHT
    return found if found in range(_UPRIGHT, 9) else _UPRIGHT


def _why_inexact(image: ImageFile.ImageFile) -> str | None:
    if image.mode in _REFUSED or "transparency" in image.info:
        return _REFUSED.get(image.mode, "transparency")
    if image.mode not in _READABLE:
        return f"pixels of type '{image.mode}', not 8 bits a channel"
    # Pillow opens colours of 16 bits as mode RGB and would drop half of each without a word.
    if any(";16" in str(tile[3]) for tile in image.tile):
        return "16 bits, not 8 bits a channel"
    return None


def _open(path: Path) -> ImageFile.ImageFile:
    try:
        return Image.open(path)
    except (UnidentifiedImageError, Image.DecompressionBombError, SyntaxError) as error:
        state = "is empty" if path.stat().st_size == 0 else "is no readable image"
        raise UsageError(f"{path} {state}; copy it again or remove it") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
