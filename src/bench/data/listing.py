"""List the folders of a category: images, masks, and files that are neither."""

from collections.abc import Iterator
from pathlib import Path

from bench.config.paths import walk
from bench.data.category_folders import GOOD
from bench.data.images import SUFFIXES
from bench.errors import UsageError

_MASK = "_mask"
_MASK_SUFFIXES = frozenset({".png", ".bmp", ".tif", ".tiff"})
# What operating systems, servers and notebooks put beside people's files, besides names that begin with a dot.
_SYSTEM = frozenset({
    "@eaDir", "#recycle", "__MACOSX", "__pycache__", "lost+found", "$RECYCLE.BIN", "System Volume Information",
    "Thumbs.db", "ehthumbs.db", "desktop.ini",
})  # fmt: skip


def is_systems(name: str) -> bool:
    """Whether a file or folder of this name is the system's, not a person's."""
    return name.startswith(".") or name in _SYSTEM


def type_folders(folder: Path, left_out: list[Path]) -> list[Path]:
    """The folders of the types in `train` or `test`, by name; files beside them are added to `left_out`."""
    found = []
    for path in _entries(folder):
        if not path.is_dir():
            left_out.append(path)
        elif path.name != GOOD and path.name.lower() == GOOD:
            raise UsageError(f"{path} is named otherwise than '{GOOD}', and would be a type of defects; rename it")
        else:
            found.append(path)
    return found


def find_images(folder: Path, left_out: list[Path]) -> list[Path]:
    """The images of one type, by name; other files are added to `left_out`, images in a sub-folder are refused."""
    found = []
    for path in _entries(folder):
        if path.suffix.lower() in SUFFIXES:
            found.append(path)
        elif path.is_dir():
            _refuse_images_below(path)
        else:
            left_out.append(path)
    return found


def find_masks(folder: Path) -> dict[str, Path]:
    """The masks of one type of defects, by the stem of their image: `000_mask.png` is that of `000`."""
    found: dict[str, Path] = {}
    for path in _entries(folder):
        if path.suffix.lower() not in _MASK_SUFFIXES or not path.stem.endswith(_MASK):
            continue
        stem = path.stem.removesuffix(_MASK)
        if (other := found.setdefault(stem, path)) is not path:
            raise UsageError(f"{other} and {path.name} are masks of one image; remove one of them")
    return found


def _entries(folder: Path) -> Iterator[Path]:
    """People's files and folders in a folder, by name; none if the folder does not exist."""
    if folder.is_dir():
        yield from (path for path in sorted(folder.iterdir()) if not is_systems(path.name))


def _refuse_images_below(folder: Path) -> None:
    for subfolder, folders, files in walk(folder):
        folders[:] = [name for name in folders if not is_systems(name)]
        images = [name for name in files if Path(name).suffix.lower() in SUFFIXES and not is_systems(name)]
        if images:
            raise UsageError(
                f"{subfolder / images[0]} lies in a sub-folder, where images are not looked for; move the images of "
                f"{subfolder} into {folder.parent}, or elsewhere"
            )
