"""The image cache: resized images as memory-mapped uint8 arrays, keyed by their content and checked before use.

A cache file is a .npy file followed by the SHA-256 of its bytes. NumPy reads only the array. The checksum detects, once
per run, bytes that the disk lost or changed.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from bench.console import say
from bench.data.geometry import Geometry
from bench.data.layout import Category, Sample
from bench.errors import UsageError
from bench.phases import phase
from bench.processes import available_cores

_VERSION = 3  # 2: images are turned by their EXIF tag; 3: a checksum follows the array
_CHECKSUM = hashlib.sha256().digest_size
_PARTIAL = ".partial"
IMAGES = "images"  # the folder of the decoded images in the cache
FEATURES = "features"  # and that of features of frozen backbones, which `models` fills
_ABANDONED = 24 * 3600  # seconds; an older partial file belongs to a process that has ended
_checked: set[Path] = set()  # files that this process has verified since the last run began


def cache_folder() -> Path:
    """The folder of derived data: BENCH_CACHE, else `bench` in the user's cache folder."""
    if named := os.environ.get("BENCH_CACHE"):
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bench"


def cached_images(category: Category, samples: Sequence[Sample], geometry: Geometry, folder: Path) -> Path:
    """The .npy file of `samples` as (N, side, side, channels) uint8; it is created if it is missing."""
    channels = category.channels

    def decode(sample: Sample) -> NDArray[np.uint8]:
        return geometry.pixels(sample.read_image(), channels, sample.read_region())

    shape = (len(samples), geometry.output, geometry.output, channels)
    contents = (f"{category.hashes[s.path]}{_bits(category, s)}{_region(category, s)}" for s in samples)
    return _build_once(folder / f"images-{_key(contents, geometry, channels)}.npy", samples, shape, decode)


def cached_masks(category: Category, samples: Sequence[Sample], geometry: Geometry, folder: Path) -> Path:
    """The .npy file of the samples' masks as (N, side, side) uint8, 1 = defect (nearest pixel, as in PaDiM's ports)."""

    def decode(sample: Sample) -> NDArray[np.uint8]:
        drawn = sample.read_mask() if sample.mask is not None else None
        if drawn is None:
            return np.zeros((geometry.output, geometry.output), np.uint8)
        return np.asarray(geometry.apply(Image.fromarray(drawn.astype(np.uint8)), Image.Resampling.NEAREST))

    shape = (len(samples), geometry.output, geometry.output)
    contents = (f"{s.mask_key(category.hashes)}{_marks(s)}" if s.mask else "-" for s in samples)
    return _build_once(folder / f"masks-{_key(contents, geometry, 1)}.npy", samples, shape, decode)


def files_of(folder: Path) -> list[Path]:
    """The files that this module wrote to a folder: arrays, their locks, and partial files of killed processes."""
    names = ("images-*.npy", "masks-*.npy", "images-*.lock", "masks-*.lock", f"*{_PARTIAL}")
    return sorted(path for name in names for path in folder.glob(name))


def begin_run() -> None:
    """Begin a run: each file is verified once more before its next use."""
    _checked.clear()


def _bits(category: Category, sample: Sample) -> str:
    """The key's part for the bits of a converted image, which decide its pixels beside content and geometry."""
    return f" {sample.reading.bits}" if category.headers[sample.path].conversion else ""


def _marks(sample: Sample) -> str:
    """The key's part for which values of a mask mark a defect."""
    return " any value" if sample.reading.any_value else f" {sample.reading.mask_threshold}"


def _region(category: Category, sample: Sample) -> str:
    """The key's part for the region outside which an image is plain."""
    return "" if sample.region is None else f" within {category.hashes[sample.region]}"


def _key(contents: Iterable[str], geometry: Geometry, channels: int) -> str:
    shape = f"{geometry.size} {geometry.crop} {geometry.interpolation} {geometry.aspect} {channels}"
    text = f"{_VERSION} {shape}\n" + "\n".join(contents)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _build_once(
    target: Path,
    samples: Sequence[Sample],
    shape: tuple[int, ...],
    decode: Callable[[Sample], NDArray[np.uint8]],
) -> Path:
    """Write the array under another name and rename it, so that no reader ever opens half a file."""
    if target in _checked and target.exists():
        return target
    try:
        with phase("checking decoded images"):
            complete = _is_complete(target)
        if not complete:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(target.with_suffix(".lock")):
                if target.exists() and not _is_complete(target):
                    say(f"bench: {target} was damaged on the disk; it is made again from the images")
                    target.unlink()
                if not target.exists():
                    _write(target, samples, shape, decode)
    except OSError as error:
        raise UsageError(
            f"cannot write the image cache in {target.parent} ({error.strerror}); set --data.cache or BENCH_CACHE"
        ) from error
    _checked.add(target)
    return target


def _is_complete(target: Path) -> bool:
    """Whether the file exists and its bytes match its checksum."""
    try:
        with target.open("rb") as file:
            content = os.fstat(file.fileno()).st_size - _CHECKSUM
            return content > 0 and _digest(file, content) == file.read()
    except FileNotFoundError:
        return False


def _digest(file: IO[bytes], content: int) -> bytes:
    """SHA-256 of the first `content` bytes of a file; the file's position is then behind them."""
    file.seek(0)
    found = hashlib.sha256()
    piece = memoryview(bytearray(2**20))
    while content:
        count = file.readinto(piece[: min(content, len(piece))])  # type: ignore[attr-defined] # files have it
        if not count:
            break
        found.update(piece[:count])
        content -= count
    return found.digest()


def _write(
    target: Path,
    samples: Sequence[Sample],
    shape: tuple[int, ...],
    decode: Callable[[Sample], NDArray[np.uint8]],
) -> None:
    _remove_abandoned(target.parent)
    with NamedTemporaryFile("w+b", dir=target.parent, suffix=_PARTIAL, delete=False) as file:
        partial = Path(file.name)
        try:
            np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
            # Decoding runs ahead in a few threads only, so that memory does not grow with the category.
            threads = available_cores()
            what = target.name.partition("-")[0]  # images or masks
            with phase(f"decoding {what}", len(samples), what) as counted, ThreadPoolExecutor(threads) as pool:
                for start in range(0, len(samples), 8 * threads):
                    for array in pool.map(decode, samples[start : start + 8 * threads]):
                        file.write(array.tobytes())
                        counted.advance()
            file.write(_digest(file, file.tell()))
            file.flush()
            os.fsync(file.fileno())  # a power cut must not leave a file name without its bytes
            partial.replace(target)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()


def _remove_abandoned(folder: Path) -> None:
    for path in folder.glob(f"*{_PARTIAL}"):
        with suppress(FileNotFoundError):  # another process may remove it at the same moment
            if time.time() - path.stat().st_mtime > _ABANDONED:
                path.unlink()
