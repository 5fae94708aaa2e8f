"""The files of an archive or folder of any kind, one after the other; paths that could leave the folder are refused.

Only plain files and folders with plain names pass. That is stricter than the standard library's `data` filter (links
are refused as well, in zip files too), and the same for every release of Python 3.11.
"""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from bench.errors import RunError, UsageError

_LEVELS = ("", "*/", "*/*/")  # how deep in a folder the categories may lie
_ENCRYPTED = 0x1  # bit of a zip member's flags
_SWELLING, _ALWAYS = 20, 2**30  # an archive of images never swells this many times; bytes that any archive may hold
_IN_CATEGORY = ("train/*/*", "test/*/*", "ground_truth/*/*", "license.txt", "readme.txt")


class Member(NamedTuple):
    """A file in an archive: the parts of its path, and its content, to be read before the next is requested."""

    parts: tuple[str, ...]
    content: IO[bytes]


def members(source: Path, read: Callable[[int], object]) -> Iterator[Member]:
    """The files of a tar (compressed or not), a zip or a folder; `read` gets the number of bytes read of it.

    Paths begin with the archive's own name, because it may hold a category's files without a folder around them. Raises
    RunError if a member is no plain file below the archive, UsageError if `source` is no archive. Errors of a damaged
    archive, here or when content is read, are converted by `named_damage`.
    """
    if source.is_dir():
        yield from _of_folder(source, read)
        return
    if not source.is_file():
        raise UsageError(f"no archive or folder {source}")
    zipped = zipfile.is_zipfile(source)
    if not zipped and not tarfile.is_tarfile(source):
        raise UsageError(f"{source} is neither a tar nor a zip archive")
    yield from _of_zip(source, read) if zipped else _of_tar(source, read)


def uncompressed_bytes(source: Path) -> int:
    """Estimated bytes of the files of `source`: of a tar its own size, as PNG images hardly shrink; else exact."""
    if source.is_dir():
        return sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
    if zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            return sum(info.file_size for info in archive.infolist())
    return source.stat().st_size


def most_bytes(source: Path) -> float:
    """The most bytes that an archive's files may take before it counts as a bomb: images hardly shrink."""
    return float("inf") if source.is_dir() else max(_ALWAYS, _SWELLING * source.stat().st_size)


def category_folders(source: Path) -> list[Path]:
    """The folders that hold train/good, at the least depth that has one: `source` itself, or folders below it."""
    for level in _LEVELS:
        if found := sorted(path.parents[1].resolve() for path in source.glob(f"{level}train/good")):
            return found
    return []


@contextmanager
def named_damage(source: Path) -> Iterator[None]:
    """Convert the errors of a damaged archive to a RunError of one line."""
    try:
        yield
    except (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError) as error:
        raise RunError(f"{source} is damaged ({error or 'it ends too early'}); get it again") from error
    except NotImplementedError as error:
        raise UsageError(f"{source} cannot be read ({error}); unpack it and give the folder") from error


def _of_tar(source: Path, read: Callable[[int], object]) -> Iterator[Member]:
    with source.open("rb") as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        before = 0
        for info in archive:
            if not (info.isreg() or info.isdir()):
                raise _refused(source, info.name, "is a link or device")
            parts = _plain_parts(source, info.name)
            if info.isreg():
                content = archive.extractfile(info)
                assert content is not None
                yield Member(parts, content)
            read(file.tell() - before)
            before = file.tell()


def _of_zip(source: Path, read: Callable[[int], object]) -> Iterator[Member]:
    with zipfile.ZipFile(source) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(source, info.filename, "is a link or device")
            parts = _plain_parts(source, info.filename)
            if info.flag_bits & _ENCRYPTED:
                raise UsageError(f"{source} is encrypted; unpack it and give the folder")
            if not info.is_dir():
                with archive.open(info) as content:
                    yield Member(parts, content)
            read(info.compress_size)


def _of_folder(source: Path, read: Callable[[int], object]) -> Iterator[Member]:
    for folder in category_folders(source):
        for pattern in _IN_CATEGORY:
            for path in sorted(folder.glob(pattern)):
                if path.is_file():
                    with path.open("rb") as content:
                        yield Member((folder.name, *path.relative_to(folder).parts), content)
                    read(path.stat().st_size)


def _plain_parts(source: Path, name: str) -> tuple[str, ...]:
    """The parts of a member's path after the archive's name; a RunError if it does not lie below the archive."""
    if name.startswith("/") or "\\" in name or "\0" in name or ":" in name.partition("/")[0]:
        raise _refused(source, name, "is no relative path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _refused(source, name, "leaves the folder")
    return source.name.partition(".")[0], *parts


def _refused(source: Path, name: str, why: str) -> RunError:
    shown = name.encode("unicode_escape").decode()
    return RunError(f"{source} was not unpacked: its member '{shown}' {why}")
