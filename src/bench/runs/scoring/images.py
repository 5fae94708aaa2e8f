"""The images that a command line names, and the names of the files made from them."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from bench.config.paths import walk
from bench.console import say
from bench.data.images import SUFFIXES
from bench.data.listing import is_systems
from bench.errors import UsageError, counted

_MASKS = "ground_truth"  # MVTec AD's folder of masks, beside `test`
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class FoundImage:
    """An image: its path as the user gave it, and the relative path, without suffix, of the files made from it."""

    path: Path
    name: PurePosixPath


def find_images(paths: Sequence[Path]) -> list[FoundImage]:
    """All images at the paths and, where a path is a folder, below it; each once, a folder's in the order of names."""
    found: dict[Path, Path] = {}  # the path given for each real path
    for path in paths:
        if not path.exists():
            raise UsageError(f"no image and no folder at {path}")
        real = path.resolve() if path.is_dir() else path.parent.resolve() / path.name
        below = _relative_images(path) if path.is_dir() else [Path()]
        if not below:
            raise UsageError(f"no images below {path}; known are {', '.join(sorted(SUFFIXES))}")
        for relative in below:
            found.setdefault(real / relative, path / relative)
    folders = [p.resolve() if p.is_dir() else p.parent.resolve() for p in paths]
    real_paths = list(found)
    base = _dataset_root(real_paths) or Path(os.path.commonpath(folders))
    names = _without_suffix([path.relative_to(base) for path in real_paths])
    return [FoundImage(path, name) for path, name in zip(found.values(), names, strict=True)]


def _relative_images(folder: Path) -> list[Path]:
    found: list[Path] = []
    left_out: list[Path] = []
    for here, folders, files in walk(folder):
        if _MASKS in folders and "test" in folders:
            folders.remove(_MASKS)
            say(f"bench: left out {here / _MASKS}: it holds the masks of a dataset, not images")
        folders[:] = [name for name in folders if not is_systems(name)]
        for name in (name for name in sorted(files) if not is_systems(name)):
            (found if Path(name).suffix.lower() in SUFFIXES else left_out).append(here / name)
    if left_out:
        say(f"bench: {counted(len(left_out), 'file')} below {folder} left out, such as {left_out[0]}")
    return sorted(path.relative_to(folder) for path in found)


def _dataset_root(paths: Sequence[Path]) -> Path | None:
    """The folder of the categories, if all images lie in one dataset of MVTec AD's layout."""
    roots = {p.parents[3] if len(p.parents) > 3 and p.parts[-3] in _SPLITS else None for p in paths}
    return roots.pop() if len(roots) == 1 else None


def _without_suffix(paths: Sequence[Path]) -> Iterator[PurePosixPath]:
    """Names without suffix; with it, in folders where two names differ only in the suffix."""
    stems = Counter(path.with_suffix("") for path in paths)
    ambiguous = {stem.parent for stem, count in stems.items() if count > 1}
    for path in paths:
        yield PurePosixPath(path if path.parent in ambiguous else path.with_suffix(""))
