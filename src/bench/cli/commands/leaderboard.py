"""`bench leaderboard`: compile the records of runs into tables."""

import gc
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER
from bench.config.tracks import TRACKS
from bench.console import say, tell
from bench.errors import RunError, UsageError
from bench.writing import write_together, writing_to

if TYPE_CHECKING:
    from bench.leaderboard.tables import Table


@command(
    "Compile records into tables: Markdown, CSV and a page.",
    Argument(
        "records",
        nargs=-1,
        type=FOLDER,
        metavar="[FOLDER]...",
        about="folders of runs or records (default: runs and leaderboards/records, whichever is there)",
    ),
    option(
        "--out",
        type=FOLDER,
        default="leaderboards",
        metavar="FOLDER",
        help="of the tables (default: leaderboards)",
    ),
    option("--from-wandb", metavar="ENTITY/PROJECT", help="read the finished runs of a W&B project, alone or besides"),
    option(
        "--to-wandb", metavar="ENTITY/PROJECT", help="log the tables as a run of a W&B project, and their files with it"
    ),
    option("--check", is_flag=True, help="write nothing; fail where the tables are stale"),
    option(
        "--no-bootstrap", is_flag=True, help="leave out the intervals of differences to the best (seconds, not minutes)"
    ),
    option(
        "--baseline", metavar="NAME", help="method that all others are compared with, instead of the best of a category"
    ),
    option("--publish", is_flag=True, help="copy the records into the folder of the tables first, made anonymous"),
)
def run(known: Known) -> int:
    """Choose the records, compile the tables, and write, check or upload them."""
    if known.check and known.publish:
        raise UsageError("--check writes nothing; leave out --publish")
    if known.baseline is not None and known.no_bootstrap:
        raise UsageError("--baseline asks for differences with intervals; leave out --no-bootstrap")
    if known.to_wandb is not None:
        if known.check:
            raise UsageError("--check writes nothing; leave out --to-wandb")
        from bench.tracking.leaderboard import check_upload

        check_upload(known.to_wandb)
    with tempfile.TemporaryDirectory() if known.from_wandb is not None else nullcontext("") as temporary:
        folders = record_folders(known.records, known.out, known.from_wandb)
        problems: list[str] = []
        if known.from_wandb is not None:
            from bench.tracking.leaderboard import download_records

            problems += _say(download_records(known.from_wandb, Path(temporary)))
            folders = [*folders, Path(temporary)]
        if known.publish:
            from bench.leaderboard.publish import publish

            problems += _say(publish(folders, known.out / "records"))
            folders = [known.out / "records"]
        with _without_garbage_collection():
            leaderboards, files, left_out = _fold(
                folders, known.out, intervals=not known.no_bootstrap, baseline=known.baseline, check=known.check
            )
        problems += left_out
        if known.to_wandb is not None:
            from bench.leaderboard.grid import wide_table
            from bench.tracking.leaderboard import upload_tables

            tables = [table for found in leaderboards.values() for table in found]
            upload_tables(known.to_wandb, {table.key.name: wide_table(table) for table in tables}, list(files))
    if problems:
        raise RunError(f"{len(problems)} record(s) left out, named above; the tables hold the others")
    return 0


def _say(lines: Sequence[str]) -> Sequence[str]:
    for line in lines:
        say(f"bench: {line}")
    return lines


def record_folders(typed: Sequence[Path], out: Path, from_wandb: str | None) -> list[Path]:
    """The typed folders, else the default ones that exist."""
    if typed or from_wandb is not None:
        return list(typed)
    there = [folder for folder in (Path("runs"), out / "records") if folder.exists()]
    if not there:
        raise UsageError(f"no folder of records: neither runs nor {out / 'records'}; name one")
    return there


def _fold(
    folders: Sequence[Path], out: Path, *, intervals: bool, baseline: str | None, check: bool
) -> tuple[Mapping[str, Sequence["Table"]], Mapping[Path, str], Sequence[str]]:
    """Write or check the tables; return them, their files, and a line for each record left out."""
    from bench.leaderboard.collect import collect
    from bench.leaderboard.curve_files import render_curves
    from bench.leaderboard.curves import build_curves
    from bench.leaderboard.files import render
    from bench.leaderboard.tables import build_tables

    found = collect(folders, near=out)
    _say([*found.problems, *found.notes])
    if not found.sources:
        raise UsageError(f"no finished record in {', '.join(map(str, folders))}")
    leaderboards = build_tables(found.sources, intervals=intervals, baseline=baseline)
    files = {**render(leaderboards, out), **render_curves(build_curves(found.sources, found.failures), out)}
    if check:
        _check(files, out)
        return leaderboards, files, found.problems
    with writing_to(out, "--out FOLDER"):
        out.mkdir(parents=True, exist_ok=True)
        write_together(files)
    for path in files:
        tell(path)
    return leaderboards, files, found.problems


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Switch garbage collection off: everything read is kept, and scanning it repeatedly takes a fifth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.freeze()  # moves all objects to the oldest generation, or the next allocation would scan them
            gc.enable()
            gc.unfreeze()


def _check(files: Mapping[Path, str], out: Path) -> None:
    """Raise a RunError that names the stale tables, and the tables that no record belongs to."""
    stale = [str(path) for path, text in files.items() if not path.is_file() or path.read_bytes() != text.encode()]
    from bench.leaderboard.curves import SWEPT

    ends = ["", *(f"-{swept.name}" for swept in SWEPT)]
    made_of_none = {path for track in TRACKS for end in ends for path in out.glob(f"*-{track}{end}.*")} - files.keys()
    parts = [f"stale: {', '.join(stale)}; run the same command without --check"] if stale else []
    if made_of_none:
        parts.append(f"no record is in {', '.join(sorted(map(str, made_of_none)))}; remove it")
    if parts:
        raise RunError("; ".join(parts))
