"""Reading image and mask files: what cannot be read exactly is refused by name."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from bench.errors import UsageError

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
    """Width and height in pixels, from the file's header."""
    with _open(path) as image:
        return image.size


def image_channels(path: Path) -> int:
    """1 for a grey image, 3 for a coloured one, from the file's header."""
    with _open(path) as image:
        return 1 if _READABLE.get(image.mode) == "L" else 3


def image_mode(path: Path) -> str:
    """Pillow's word for how pixels are stored, such as L (grey) or RGB, from the file's header."""
    with _open(path) as image:
        return image.mode


def read_image(path: Path) -> Image.Image:
    """Read an 8-bit grey (mode L) or colour (mode RGB) image; anything else is a UsageError that names the file."""
    with _open(path) as image:
        if reason := _why_inexact(image):
            raise UsageError(f"{path} has {reason}; save it as an 8-bit grey or RGB image")
        try:
            image.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise UsageError(f"{path} is damaged ({error}); copy it again") from error
        return image.convert(_READABLE[image.mode])


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask as (height, width) booleans, true where the pixel is anything but 0."""
    pixels = np.atleast_3d(np.asarray(read_image(path)))
    mask = np.asarray(pixels.any(axis=2))
    if not mask.any():
        raise UsageError(
            f"mask {path} marks no pixel, yet its image counts as a defect; mend the mask or move the image"
        )
    return mask


def is_upright(path: Path) -> bool:
    """Whether pixels are stored as they are meant to be seen; else an EXIF tag asks viewers to turn the image."""
    with _open(path) as image:
        # Pillow decodes a whole PNG to look for an EXIF block behind its pixels.
        tagged = image.format != "PNG" or "exif" in image.info
        return not tagged or image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)


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
