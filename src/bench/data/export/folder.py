"""The folder of an export: complete or absent, and never written over anything else."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UsageError
from bench.writing import whole_folder, writing_to

SUMMARY = "export.json"  # the file that marks a folder as an export


def check_target(out: Path, *, force: bool) -> None:
    """Raise a UsageError if `out` holds something that must stay."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SUMMARY).is_file():
        raise UsageError(f"{out} holds something that is no export of bench; name another folder: --out FOLDER")
    if not force:
        raise UsageError(f"{out} holds an export; --force replaces it, --out names another folder")


@contextmanager
def building(out: Path, *, force: bool) -> Iterator[Path]:
    """A new folder beside `out` that replaces it once everything is written; errors of the disk name `out`."""
    check_target(out, force=force)
    with writing_to(out, "--out FOLDER"), whole_folder(out.resolve()) as complete:
        yield complete
        check_target(out, force=force)  # it may have changed meanwhile
