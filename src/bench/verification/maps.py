"""Raw anomaly maps that others made: where they lie, which image each belongs to, and their values."""

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bench.config.paths import walk
from bench.console import say
from bench.data.digests import file_sha256
from bench.data.layout import Sample, readable
from bench.data.listing import is_systems
from bench.errors import UsageError, counted, first_line
from bench.phases import phase
from bench.verification.named_images import match, ordered, without_suffix

_TIFF = (".tif", ".tiff")
_ARRAY = ".npy"
_ARCHIVE = ".npz"
_STACK, _NAMES = "maps", "paths"  # the two arrays of an archive that holds all maps in one

Values = NDArray[np.float32]


@dataclass(frozen=True)
class AnomalyMaps:
    """One map of each test image, in the order of the test images; each is read when it is asked for."""

    names: Sequence[str]  # where each map lies, for people
    readers: Sequence[Callable[[], NDArray[Any]]]
    files: Sequence[Path]

    def __iter__(self) -> Iterator[Values]:
        """The maps (height, width)."""
        for name, read in zip(self.names, self.readers, strict=True):
            yield _checked(read(), name)

    def digests(self, samples: Sequence[Sample]) -> dict[str, str]:
        """SHA-256 of each map's file by its image, or that of the one file that holds all maps by its name."""
        named = [sample.relative for sample in samples] if len(self.files) == len(samples) else [self.files[0].name]
        with phase("digests of the maps", len(self.files), "files") as counted_files:
            found = {}
            for name, path in zip(named, self.files, strict=True):
                found[name] = file_sha256(path)
                counted_files.advance()
        return found


def find_maps(named: Path, samples: Sequence[Sample]) -> AnomalyMaps:
    """The maps of all test images, from a folder of TIFF and .npy files, or from one .npz.

    A file bears the path of its image: `bottle/test/good/000.tiff`, as MVTec's evaluation wants it. A UsageError names
    maps that are missing and maps of no test image; those of other categories are counted aloud.
    """
    if not named.exists():
        raise UsageError(f"no maps at {named}; name a folder of TIFF or .npy files, or an .npz")
    if named.is_dir():
        return _in_folder(named, samples)
    if named.suffix.lower() != _ARCHIVE:
        raise UsageError(f"{named} is no folder and no .npz; name the folder that holds the maps")
    return _in_archive(named, samples)


def _in_folder(folder: Path, samples: Sequence[Sample]) -> AnomalyMaps:
    files, beside = _files_below(folder)
    if not files:
        raise UsageError(f"no maps below {folder}; known are {', '.join((*_TIFF, _ARRAY))}, or one {_ARCHIVE}")
    if beside:
        say(f"bench: {counted(len(beside), 'file')} below {folder} left out, such as {beside[0]}: no map")
    names = [without_suffix(readable(path, folder), (*_TIFF, _ARRAY)) for path in files]
    found = match(names, samples, what="map", where=str(folder))
    _tell_others(found.of_others, folder)
    chosen = [files[place] for place in ordered(found.places)]
    return AnomalyMaps([str(path) for path in chosen], [partial(_read_file, path) for path in chosen], chosen)


def _files_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """The maps below a folder by name, and the other files."""
    found: list[Path] = []
    beside: list[Path] = []
    for here, folders, files in walk(folder):
        folders[:] = sorted(name for name in folders if not is_systems(name))
        for name in sorted(name for name in files if not is_systems(name)):
            (found if Path(name).suffix.lower() in (*_TIFF, _ARRAY) else beside).append(here / name)
    return found, beside


def _in_archive(file: Path, samples: Sequence[Sample]) -> AnomalyMaps:
    if not is_zipfile(file):
        raise UsageError(f"{file} is no .npz of named arrays; write it with numpy.savez, an array for each image")
    try:
        archive = np.load(file, allow_pickle=False)
        keys = list(archive.files)
        stacked = set(keys) == {_STACK, _NAMES}
        names = [str(name) for name in archive[_NAMES].ravel()] if stacked else keys
        stack = archive[_STACK] if stacked else None
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise UsageError(f"{file} is no readable .npz ({first_line(error)}); write it with numpy.savez") from error
    if stack is not None and (stack.ndim != 3 or len(stack) != len(names)):
        shape = " x ".join(map(str, stack.shape))
        raise UsageError(
            f"{file} holds {_STACK} of {shape} for {counted(len(names), 'path')}; expected (images, height, width)"
        )
    bare = [without_suffix(name, (*_TIFF, _ARRAY)) for name in names]
    found = match(bare, samples, what="map", where=str(file))
    _tell_others(found.of_others, file)
    places = ordered(found.places)
    if stack is not None:
        readers = [partial(stack.__getitem__, place) for place in places]
    else:
        readers = [partial(_read_member, file, archive, names[place]) for place in places]
    return AnomalyMaps([f"{file} ({names[place]})" for place in places], readers, [file])


def _tell_others(names: Sequence[str], where: Path) -> None:
    if names:
        say(f"bench: {counted(len(names), 'map')} of other categories in {where} left out, such as {names[0]}")


def _read_file(path: Path) -> NDArray[Any]:
    """The array of a TIFF or .npy file; a UsageError names a damaged one."""
    try:
        with warnings.catch_warnings():  # Pillow warns of damage before it raises
            warnings.simplefilter("ignore")
            found: NDArray[Any] = (
                np.load(path, allow_pickle=False) if path.suffix.lower() == _ARRAY else _read_tiff(path)
            )
        if not found.size:
            raise ValueError("it holds no values")
        return found
    except UsageError:
        raise
    except Exception as error:  # decoders raise anything
        raise UsageError(f"{path} is no readable map ({first_line(error)}); write it again") from error


def _read_tiff(path: Path) -> NDArray[Any]:
    try:
        with Image.open(path, formats=("TIFF",)) as image:
            if (pages := getattr(image, "n_frames", 1)) > 1:
                raise UsageError(f"{path} holds {pages} pages; write one map a file")
            return np.asarray(image)
    except UnidentifiedImageError as error:  # Pillow reads no floats of 16 and 64 bits
        try:
            import tifffile
        except ImportError:
            advice = "write those, or .npy, or: pip install tifffile"
            raise UsageError(f"{path} is no TIFF of 32-bit floats; {advice}") from error
        logging.getLogger("tifffile").disabled = True  # what is wrong is said once, by name
        return np.asarray(tifffile.imread(path))


def _read_member(file: Path, archive: Any, name: str) -> NDArray[Any]:
    try:
        return np.asarray(archive[name])
    except Exception as error:
        raise UsageError(f"{file} ({name}) is no readable map ({first_line(error)}); write it again") from error


def _checked(array: NDArray[Any], name: str) -> Values:
    """A map (height, width) in single precision, in which runs are judged too; a UsageError where it is none."""
    if array.ndim != 2 or 0 in array.shape:
        shape = " x ".join(map(str, array.shape)) or "a single number"
        raise UsageError(f"{name} is {shape}; expected a map of height x width, one number a pixel")
    if array.dtype.kind not in "fiu":
        raise UsageError(f"{name} holds {array.dtype}; expected numbers, the raw scores of pixels")
    with np.errstate(over="ignore"):
        values = np.array(array, dtype=np.float32, order="C")  # a copy: torch takes no array that is only to be read
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise UsageError(f"{name} is not finite in {counted(count, 'pixel')}; expected a number for each pixel")
    return values
