"""Images beside those of the product: natural ones of a penalty, textures of pasted anomalies."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bench.data.images import SUFFIXES, read_image
from bench.errors import UsageError, counted

SETTING = "image_folder"
_BEGINNING = 2**12  # bytes of each file that its identity is taken from
_THREADS = 4
_KEPT = 1024  # decoded images, 200 MB at 256 pixels


class ImageFolder:
    """Random images of a folder and the folders below it, drawn by torch's CPU generator.

    The folder is looked at when an image is first drawn: a model that is loaded to score images does not need it.

    Args:
        folder: where the images lie.
        size: side in pixels of the squares that they are resized to, antialiased.
        crop: the middle of a square of so many times that side is taken.
    """

    def __init__(self, folder: str, size: int, *, crop: int = 1) -> None:
        self.folder = folder
        self.size = size
        self.crop = crop

    def draw(self, count: int) -> Tensor:
        """Images (count, 3, size, size) in [0, 1], on the CPU."""
        return self.read(torch.randint(len(listed(self.folder)), (count,)).tolist())

    def read(self, numbers: Sequence[int]) -> Tensor:
        """The images of these numbers, in the order of their names: (N, 3, size, size) in [0, 1], on the CPU."""
        paths = [listed(self.folder)[number] for number in numbers]
        with ThreadPoolExecutor(_THREADS) as pool:  # Pillow leaves Python's lock while it decodes
            pixels = np.stack(list(pool.map(lambda path: _read(path, self.size, self.crop), paths)))
        return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255)


@cache
def listed(folder: str) -> tuple[Path, ...]:
    """All images of a folder and those below it, in the order of their names; a UsageError where there are none."""
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise UsageError(f"no folder of images at {root}; name one with --model.{SETTING}")
    found = sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise UsageError(f"no image below {root}; name another folder")
    return tuple(found)


def identify_images(folder: str | None) -> dict[str, str]:
    """The identity of a folder's images, on which metrics depend; nothing without a folder.

    It is a hash over each file's name below the folder, its size and its first 4 KiB: natural images may be a hundred
    gigabytes.
    """
    if folder is None:
        return {}
    root, found = Path(folder).expanduser(), hashlib.sha256()
    paths = listed(folder)
    for path in paths:
        found.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            found.update(file.read(_BEGINNING))
    name = root.resolve().name
    return {"images": f"{name} ({counted(len(paths), 'image')})", "images_sha256": found.hexdigest()}


@lru_cache(maxsize=_KEPT)
def _read(path: Path, size: int, crop: int) -> NDArray[np.uint8]:
    """Pixels (size, size, 3)."""
    whole = crop * size
    image = read_image(path).convert("RGB").resize((whole, whole), Image.Resampling.BILINEAR, reducing_gap=None)
    first = (whole - size) // 2
    return np.asarray(image.crop((first, first, first + size, first + size)))
