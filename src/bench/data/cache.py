"""Decode once: resized images as memory-mapped uint8 arrays, found again by their content."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from bench.data.images import read_image, read_mask
from bench.data.layout import Category, Sample
from bench.errors import UsageError

_VERSION = 2  # 2: images are turned as their EXIF tag says

Interpolation = Literal["bilinear", "bicubic"]


def cache_folder() -> Path:
    """Where derived data lie: BENCH_CACHE, else `bench` in the user's cache folder."""
    if named := os.environ.get("BENCH_CACHE"):
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bench"


@dataclass(frozen=True)
class Geometry:
    """How an image becomes the model's input: resized to a square of `size` pixels, then its centre of `crop`."""

    size: int
    crop: int | None = None
    interpolation: Interpolation = "bilinear"

    @property
    def whole(self) -> "Geometry":
        """The same without the crop."""
        return replace(self, crop=None)

    @property
    def output(self) -> int:
        """Side of the model's input in pixels."""
        return self.crop or self.size

    def apply(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        """Resize and crop; Pillow's filters are antialiased when they shrink."""
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), resample)
        if self.crop:
            left = (self.size - self.crop) // 2
            image = image.crop((left, left, left + self.crop, left + self.crop))
        return image

    def pixels(self, image: Image.Image, channels: int) -> NDArray[np.uint8]:
        """An image as the model sees it, (side, side, channels)."""
        fitted = self.apply(image, Image.Resampling[self.interpolation.upper()])
        array = np.asarray(fitted if channels == 1 else fitted.convert("RGB"))
        return array.reshape(self.output, self.output, channels)


def cached_images(category: Category, samples: Sequence[Sample], geometry: Geometry, folder: Path) -> Path:
    """The .npy file of `samples` as (N, side, side, channels) uint8, made first where it is missing."""
    channels = category.channels

    def decode(sample: Sample) -> NDArray[np.uint8]:
        return geometry.pixels(read_image(sample.path), channels)

    shape = (len(samples), geometry.output, geometry.output, channels)
    contents = (category.hashes[s.path] for s in samples)
    return _build_once(folder / f"images-{_key(contents, geometry, channels)}.npy", samples, shape, decode)


def cached_masks(category: Category, samples: Sequence[Sample], geometry: Geometry, folder: Path) -> Path:
    """The .npy file of the samples' masks as (N, side, side) uint8, 1 = defect (nearest pixel, as in PaDiM's ports)."""

    def decode(sample: Sample) -> NDArray[np.uint8]:
        if sample.mask is None:
            return np.zeros((geometry.output, geometry.output), np.uint8)
        mask = Image.fromarray(read_mask(sample.mask).astype(np.uint8))
        return np.asarray(geometry.apply(mask, Image.Resampling.NEAREST))

    shape = (len(samples), geometry.output, geometry.output)
    contents = (category.hashes[s.mask] if s.mask else "-" for s in samples)
    return _build_once(folder / f"masks-{_key(contents, geometry, 1)}.npy", samples, shape, decode)


def _key(contents: Iterable[str], geometry: Geometry, channels: int) -> str:
    text = f"{_VERSION} {geometry.size} {geometry.crop} {geometry.interpolation} {channels}\n" + "\n".join(contents)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _build_once(
    target: Path,
    samples: Sequence[Sample],
    shape: tuple[int, ...],
    decode: Callable[[Sample], NDArray[np.uint8]],
) -> Path:
    """Write the array under another name and rename it, so that no reader ever sees half a file."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if not target.exists():
                _write(target, samples, shape, decode)
    except OSError as error:
        raise UsageError(
            f"cannot write the image cache in {target.parent} ({error.strerror}); set --data.cache or BENCH_CACHE"
        ) from error
    return target


def _write(
    target: Path,
    samples: Sequence[Sample],
    shape: tuple[int, ...],
    decode: Callable[[Sample], NDArray[np.uint8]],
) -> None:
    with NamedTemporaryFile(dir=target.parent, suffix=".partial", delete=False) as file:
        partial = Path(file.name)
        try:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            # Decoding runs ahead in a few threads only, so that memory does not grow with the category.
            threads = os.cpu_count() or 1
            with ThreadPoolExecutor(threads) as pool:
                for start in range(0, len(samples), 8 * threads):
                    for array in pool.map(decode, samples[start : start + 8 * threads]):
                        file.write(array.tobytes())
            file.flush()
            partial.replace(target)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()
