"""Unpack into the data root: into a temporary folder first, then renamed, so that no category is ever incomplete."""

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.digests import write_digests
from bench.data.download.members import Member, members, most_bytes, named_damage
from bench.errors import RunError, UsageError
from bench.writing import sync_files

UNPACKING = ".unpacking-"  # prefix of temporary folders
_SPLITS = ("train", "test", "ground_truth")
_TEXTS = ("license.txt", "readme.txt")
_BLOCK = 1 << 20


@dataclass
class _Unpacked:
    """A category being unpacked: its path in the archive, and the digests of its files."""

    prefix: tuple[str, ...]
    digests: dict[str, str] = field(default_factory=dict)


def extract(
    source: Path,
    root: Path,
    wanted: Collection[str] | None,
    *,
    origin: str | None = None,
    read: Callable[[int], object] = lambda count: None,
) -> list[str]:
    """Unpack the categories of an archive or folder that `root` lacks; return their names.

    `wanted` None takes all. With `origin`, SHA256SUMS is written and names it. File modes of the archive are not kept:
    MVTec's own archive stores its files read-only.
    """
    with _folder_beside(root) as folder:
        unpacked: dict[str, _Unpacked] = {}
        there: set[str] = set()
        room = most_bytes(source)
        with named_damage(source):
            for member in members(source, read):
                depth, name = _category_of(member.parts)
                if not name or (wanted is not None and name not in wanted):
                    continue
                if (root / name).exists():
                    there.add(name)
                    continue
                category = unpacked.setdefault(name, _Unpacked(member.parts[:depth]))
                room -= _unpack(member, depth, source, folder / name, category, room)
        names = sorted(name for name in unpacked if (folder / name / "train").is_dir())
        if not names and not there:
            what = f"no category {' or '.join(sorted(wanted))}" if wanted else "no category"
            raise UsageError(f"{what} in {source}; expected CATEGORY/train/good/*.png there")
        for name in names:
            if origin:
                write_digests(folder / name, unpacked[name].digests, origin)
            sync_files(folder / name)
            (folder / name).rename(root / name)
        return names


def remove_leftovers(root: Path) -> None:
    """Remove the temporary folders of killed processes; the caller must hold the root's lock."""
    for folder in root.glob(f"{UNPACKING}*"):
        _remove(folder)


def _unpack(member: Member, depth: int, source: Path, folder: Path, category: _Unpacked, room: float) -> int:
    """Write one file of at most `room` bytes below `folder`; return its number of bytes.

    The first `depth` parts of its path lead to its category.
    """
    if category.prefix != member.parts[:depth]:
        paths = " and ".join("/".join(prefix) for prefix in (category.prefix, member.parts[:depth]))
        raise RunError(f"{source} holds {folder.name} twice: {paths}")
    target = folder.joinpath(*member.parts[depth:])
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, written = hashlib.sha256(), 0
    try:
        with target.open("xb") as file:
            while block := member.content.read(_BLOCK):
                written += len(block)
                if written > room:
                    raise RunError(f"{source} unpacks to far more than images would; nothing of it was unpacked")
                digest.update(block)
                file.write(block)
    except FileExistsError:
        raise RunError(f"{source} holds {'/'.join(member.parts)} twice") from None
    category.digests["/".join(member.parts[depth:])] = digest.hexdigest()
    return written


def _category_of(parts: tuple[str, ...]) -> tuple[int, str]:
    """The number of path parts down to the category's folder, and its name; 0 and "" for a file of no category."""
    depth = 0
    if not any(part.startswith((".", "__MACOSX")) for part in parts):
        if len(parts) >= 4 and parts[-3] in _SPLITS:
            depth = len(parts) - 3
        elif len(parts) >= 2 and parts[-1] in _TEXTS:
            depth = len(parts) - 1
    return depth, parts[depth - 1] if depth else ""


@contextmanager
def _folder_beside(root: Path) -> Iterator[Path]:
    """A temporary folder in `root`, so on its disk, that is always removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=UNPACKING, dir=root))
    try:
        yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a folder although it, or something in it, is read-only."""
    for path, _, _ in os.walk(folder):
        Path(path).chmod(stat.S_IRWXU)
    shutil.rmtree(folder)
