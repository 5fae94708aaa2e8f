"""The folder of an export: there as a whole or not at all, and never in the place of anything else."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UsageError

SUMMARY = "export.json"  # by which an export is known


def check_target(out: Path, *, force: bool) -> None:
    """A UsageError where something lies that must stay."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SUMMARY).is_file():
        raise UsageError(f"{out} holds something that is no export of bench; name another folder: --out FOLDER")
    if not force:
        raise UsageError(f"{out} holds an export; --force replaces it, --out names another folder")


@contextmanager
def building(out: Path, *, force: bool) -> Iterator[Path]:
    """A new folder beside `out` that takes its place once everything is written."""
    check_target(out, force=force)
    out = out.resolve()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        complete, former = Path(temporary, "new"), Path(temporary, "former")
        complete.mkdir()
        yield complete
        check_target(out, force=force)  # writing took its time
        if out.exists():
            out.rename(former)
        try:
            complete.rename(out)
        except OSError:
            if former.exists():
                former.rename(out)
            raise
