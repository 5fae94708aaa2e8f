"""Compare a folder with the category that MVTec published: one line for each deviation."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.data.category_folders import GOOD
from bench.data.digests import DIGESTS, file_sha256, read_digests
from bench.data.facts import Published
from bench.data.images import SUFFIXES, read_header, read_image
from bench.data.masks import marks_surroundings, read_mask
from bench.errors import UsageError
from bench.processes import available_cores

_SPLITS = ("train", "test", "ground_truth")
_NAMED = 3  # files that are named for one deviation
_EXTRA = frozenset({"license.txt", "readme.txt", DIGESTS})


@dataclass(frozen=True)
class _File:
    """An image or mask, by its path below the category's folder."""

    path: Path
    relative: str

    @property
    def folder(self) -> str:
        """The folder of the file, such as `train/good`."""
        return self.relative.rpartition("/")[0]

    @property
    def is_mask(self) -> bool:
        """Whether the file lies in `ground_truth`."""
        return self.relative.startswith("ground_truth/")


def deviations(folder: Path, published: Published, *, seen_one: Callable[[], None] = lambda: None) -> list[str]:
    """Deviations from what was published: files, counts, pairs of image and mask, sizes, modes, pixels, digests.

    Every file is read completely; `seen_one` is called after each. The list is empty if nothing deviates.
    """
    if not folder.is_dir():
        return [f"no folder {folder}"]
    files = image_files(folder)
    return [
        *_foreign(folder, files),
        *_counts(files, published),
        *_pairs(files),
        *_contents(files, published, seen_one),
        *_changed(folder, files),
    ]


def image_files(folder: Path) -> "list[_File]":
    """Images and masks below a category's folder, sorted by path."""
    found = (path for split in _SPLITS for path in folder.glob(f"{split}/*/*") if path.suffix.lower() in SUFFIXES)
    visible = (path for path in found if not path.name.startswith("."))
    return [_File(path, path.relative_to(folder).as_posix()) for path in sorted(visible)]


def _foreign(folder: Path, files: Sequence[_File]) -> Iterator[str]:
    known = {file.path for file in files}
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path in known or path.relative_to(folder).as_posix() in _EXTRA:
            continue
        yield f"{path.relative_to(folder).as_posix()}: no file of MVTec's"
    for file in files:
        if file.path.suffix != ".png":
            yield f"{file.relative}: MVTec's images are .png files"


def _counts(files: Sequence[_File], published: Published) -> Iterator[str]:
    expected = published.counts | {f"ground_truth/{name}": count for name, count in published.defect_types.items()}
    found: dict[str, int] = defaultdict(int)
    for file in files:
        found[file.folder] += 1
    for folder in sorted(expected.keys() | found.keys()):
        if found[folder] != expected.get(folder, 0):
            kind = "masks" if folder.startswith("ground_truth/") else "images"
            yield f"{folder}: {found[folder]} {kind}, not {expected.get(folder, 0)}"


def _pairs(files: Sequence[_File]) -> Iterator[str]:
    present = {file.relative for file in files}
    stems = {file.relative.rpartition(".")[0] for file in files}
    for file in files:
        split, name, _ = file.relative.split("/")
        if split == "test" and name != GOOD and (mask := _mask_of(file)) not in present:
            yield f"{file.relative}: no mask {mask}"
        if file.is_mask and f"test/{name}/{file.path.stem.removesuffix('_mask')}" not in stems:
            yield f"{file.relative}: a mask without an image"


def _mask_of(file: _File) -> str:
    return f"ground_truth/{file.path.parent.name}/{file.path.stem}_mask.png"


def _contents(files: Sequence[_File], published: Published, seen_one: Callable[[], None]) -> Iterator[str]:
    """Deviations of file contents; files of a folder with the same deviation share a line."""
    alike: dict[tuple[str, str], list[str]] = defaultdict(list)
    threads = available_cores()
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(files), 8 * threads):
            part = files[start : start + 8 * threads]
            for file, problems in zip(part, pool.map(lambda file: _problems(file, published), part), strict=True):
                for problem in problems:
                    alike[file.folder, problem].append(file.path.name)
                seen_one()
    totals: dict[str, int] = defaultdict(int)
    for file in files:
        totals[file.folder] += 1
    for (folder, problem), names in alike.items():
        some = ", ".join(names) if len(names) <= _NAMED else f"{names[0]} and others"
        named = "" if len(names) == totals[folder] else f" ({some})"
        yield f"{folder}: {len(names)} of {totals[folder]} files: {problem}{named}"


def _problems(file: _File, published: Published) -> list[str]:
    """The deviations of one file, worded so that files with the same deviation can share a line."""
    try:
        size, mode, *_ = read_header(file.path)
        pixels = np.asarray(read_image(file.path))
    except UsageError as error:
        return [f"cannot be used: {str(error).removeprefix(f'{file.path} ')}"]
    expected = "RGB" if published.channels == 3 and not file.is_mask else "L"
    found = []
    if size != (published.side, published.side):
        found.append(f"{size[0]} x {size[1]} pixels, not {published.side} x {published.side}")
    if mode != expected:
        found.append(f"mode {mode}, not {expected}")
    if file.is_mask:
        values = set(np.unique(pixels).tolist())
        if values == {0}:
            found.append("no pixel is marked")
        elif not values <= {0, 255}:
            found.append("values other than 0 and 255")
        else:
            found += _marks(file.path)
    return found


def _marks(path: Path) -> list[str]:
    """Problems with the marked area of a mask of two values."""
    try:
        marked = read_mask(path)
    except UsageError as error:
        return [str(error).removeprefix(f"mask {path} ")]
    inverted = "most of the image and its borders marked, as if drawn black on white"
    return [inverted] if marks_surroundings(marked) else []


def _changed(folder: Path, files: Sequence[_File]) -> Iterator[str]:
    digests = read_digests(folder)
    if digests is None:
        return
    for path, digest in digests.items():
        if not (folder / path).is_file():
            yield f"{path}: missing, though in {DIGESTS}"
        elif file_sha256(folder / path) != digest:
            yield f"{path}: changed, its SHA-256 is not that in {DIGESTS}"
    for file in files:
        if file.relative not in digests:
            yield f"{file.relative}: not in {DIGESTS}"
