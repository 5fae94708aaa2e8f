"""Read image files: upright, as 8-bit grey or colour; a file that cannot be read exactly is refused by name."""

import re
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageOps

from bench.errors import UsageError, first_line

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".heic", ".heif"})
GREY_IN_COLOUR = "grey, taken as three equal channels"
BITS = 16  # of grey images with more than 8: the most that their files can hold

# Pillow starts no other reader, whatever a file's name: for EPS it would start Ghostscript.
_FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_HEIF = (".heic", ".heif")
_MOST_PIXELS = 2 * (Image.MAX_IMAGE_PIXELS or 0)  # beyond this, Pillow treats a file as an attack
_UPRIGHT, _ON_ITS_SIDE = 1, (5, 6, 7, 8)  # EXIF orientations
_GREY, _COLOUR = {"1", "L"}, {"P", "RGB"}
_WITH_ALPHA = {"LA": "L", "RGBA": "RGB", "PA": "RGB"}
_DEEP_GREY = {"I", "I;16", "I;16B", "I;16L"}


class Header(NamedTuple):
    """What an image file states before its pixels are decoded."""

    size: tuple[int, int]  # width and height in pixels of the upright image
    mode: str  # Pillow's name for how pixels are stored, such as L (grey) or RGB
    channels: int  # 1 for a grey image, 3 for a coloured one
    upright: bool  # else an EXIF tag asks viewers to turn the image
    conversion: str  # what reading does to the pixels, in words; empty where it does nothing


def read_header(path: Path) -> Header:
    """Read the header of an image file; a UsageError if the file is no image."""
    with _open(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        size = (height, width) if orientation in _ON_ITS_SIDE else (width, height)
        grey = image.mode in _GREY | _DEEP_GREY | {"LA"}
        return Header(size, image.mode, 1 if grey else 3, orientation == _UPRIGHT, conversion_of(image))


def read_image(path: Path, bits: int = BITS) -> Image.Image:
    """Read an image as 8-bit grey (mode L) or colour (mode RGB), turned by its EXIF tag.

    Cameras store the sensor's image and a tag by which viewers turn it; without the turn, a method would get a part
    that lies on its side. An alpha channel is dropped if nothing is transparent. In grey images with more than 8 bits,
    the largest value of `bits` bits is white. CMYK becomes RGB by the file's own colour profile. Anything else is a
    UsageError that names the file.
    """
    return in_eight_bits(read_upright(path), path, bits)


def in_eight_bits(image: Image.Image, name: object, bits: int = BITS) -> Image.Image:
    """An upright image as 8-bit grey (mode L) or colour (mode RGB), as `read_image` says; `name` is for errors."""
    if image.mode in _DEEP_GREY:
        return _eight_bits(image, name, bits)
    if image.mode == "CMYK":
        return _by_profile(image, name)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return _opaque(image, name)
    if image.mode not in _GREY | _COLOUR:
        raise UsageError(f"{name} has pixels of type '{image.mode}'; save it as an 8-bit grey or RGB image")
    return image.convert("L" if image.mode in _GREY else "RGB")


def read_upright(path: Path) -> Image.Image:
    """Read an image with its pixels as the file holds them, turned by its EXIF tag."""
    with _open(path) as image:
        return as_seen(image, path)


def as_seen(image: Image.Image, name: object) -> Image.Image:
    """An image of Pillow's with its pixels, turned by its EXIF tag; `name` is for errors."""
    # Pillow opens colours of 16 bits as mode RGB and would silently drop half of each.
    if image.mode not in _DEEP_GREY and any(";16" in str(tile[3]) for tile in getattr(image, "tile", ())):
        raise UsageError(f"{name} has colours of 16 bits; save it as an 8-bit grey or RGB image")
    told = _orientation(image)
    try:
        image.load()
    except Exception as error:  # decoders raise anything: struct.error, SyntaxError, IndexError, ...
        raise UsageError(f"{name} is damaged ({first_line(error)}); copy it again") from error
    if _orientation(image) != told:
        raise UsageError(f"{name} has its EXIF orientation behind its pixels, where few look; save it upright")
    return ImageOps.exif_transpose(image)


def conversion_of(image: Image.Image) -> str:
    """What reading does to the pixels, in words; empty where it does nothing."""
    if image.mode in _DEEP_GREY:
        return "grey of 16 bits scaled to 8"
    if image.mode == "CMYK":
        return "CMYK made RGB by its profile"
    return "opaque alpha channel dropped" if image.mode in _WITH_ALPHA or "transparency" in image.info else ""


def _eight_bits(image: Image.Image, name: object, bits: int) -> Image.Image:
    values, white = np.asarray(image).astype(np.int64), 2**bits - 1
    if values.min() < 0 or values.max() > white:
        raise UsageError(
            f"{name} holds grey values from {values.min()} to {values.max()}, {bits} bits end at {white}; "
            f"set --data.bits to what the camera writes, {BITS} at most, or save it with 8 bits"
        )
    return Image.fromarray(np.round(values * (255 / white)).astype(np.uint8))


def _by_profile(image: Image.Image, name: object) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile:
        raise UsageError(f"{name} has CMYK colours without a colour profile; save it as an 8-bit RGB image")
    try:
        own = ImageCms.ImageCmsProfile(BytesIO(profile))
        made = ImageCms.profileToProfile(image, own, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise UsageError(f"{name} has a colour profile that cannot be read; save it as an 8-bit RGB image") from error
    assert made is not None
    return made


def _opaque(image: Image.Image, name: object) -> Image.Image:
    converted = image.convert("RGBA")
    if converted.getchannel("A").getextrema()[0] != 255:
        raise UsageError(f"{name} has transparent pixels; save it as an 8-bit grey or RGB image")
    return converted.convert("L" if image.mode in _GREY | {"LA"} else "RGB")


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; any other value counts as upright, as in viewers."""
    if image.format == "TIFF":  # Pillow turns these by itself, and returns their size after the turn
        return _UPRIGHT
    # Pillow would decode a whole PNG to find an EXIF block behind its pixels.
    tagged = image.format != "PNG" or "exif" in image.info
    found = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT) if tagged else _UPRIGHT
    return found if found in range(_UPRIGHT, 9) else _UPRIGHT


def _open(path: Path) -> ImageFile.ImageFile:
    if not path.is_file():  # opening a named pipe would block
        raise UsageError(f"{path} is no file that can be read; remove it")
    opened = _open_heif if path.suffix.lower() in _HEIF else partial(Image.open, formats=_FORMATS)
    try:
        image = opened(path)
        try:
            _check_pages(image, path)
        except BaseException:
            image.close()
            raise
    except UsageError:
        raise
    except Image.DecompressionBombError as error:
        pixels = int((re.findall(r"\d+", str(error)) or [_MOST_PIXELS])[0])
        raise UsageError(
            f"{path} has {pixels / 1e6:.0f} megapixels, more than the {_MOST_PIXELS / 1e6:.0f} that are read; "
            "make it smaller"
        ) from error
    except OSError as error:
        if error.errno is None:  # an error of Pillow's own
            raise _unreadable(path) from error
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a damaged header makes readers raise anything
        raise _unreadable(path) from error
    return image


def _unreadable(path: Path) -> UsageError:
    state = "is empty" if path.stat().st_size == 0 else "is no readable image"
    return UsageError(f"{path} {state}; copy it again or remove it")


def _check_pages(image: ImageFile.ImageFile, path: Path) -> None:
    """Refuse several pictures in one file; those that phones add behind the first (MPO, HEIF) do not count."""
    pages = 1 if image.format in ("MPO", "HEIF") else getattr(image, "n_frames", 1)
    if pages > 1:
        raise UsageError(f"{path} holds {pages} pictures; save the one that is meant as a file of its own")


def _open_heif(path: Path) -> ImageFile.ImageFile:
    try:
        import pillow_heif
    except ImportError as error:
        raise UsageError(f"{path} is a HEIF image; its reader comes with: pip install 'bench[heic]'") from error
    pillow_heif.register_heif_opener()
    return Image.open(path, formats=("HEIF", *_FORMATS))
