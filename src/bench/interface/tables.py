"""Records and leaderboards as data frames."""

import warnings
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.tracks import TRACKS
from bench.errors import UsageError
from bench.leaderboard.collect import collect, record_files
from bench.leaderboard.curve_files import render_curves_csv
from bench.leaderboard.curves import build_curves
from bench.leaderboard.grid import wide_table
from bench.leaderboard.tables import build_tables
from bench.records.record import Record

if TYPE_CHECKING:
    import pandas as pd

Folders = Path | str | Iterable[Path | str]
_FIELDS = (
    "model", "dataset", "category", "seed", "fold", "track", "status", "error", "official", "fingerprint", "overrides",
    "started", "device",
)  # fmt: skip


def load_records(folders: Folders = "runs") -> "pd.DataFrame":
    """All records below some folders, a row a run, failed and interrupted ones too.

    Args:
        folders: one folder or several.

    Returns:
        A frame with `model`, `dataset`, `category`, `seed`, `fold`, `track`, `status`, `error`, `official`,
        `fingerprint`, `overrides` (settings that differ from the preset's, as a mapping), `started`, `device`, every
        metric and every cost by its name in the record (seconds, bytes), and `folder`. A file that is no record is left
        out with a warning that names it.

    Raises:
        UsageError: a folder is not there.
    """
    import pandas as pd

    rows = []
    for file in record_files(_paths(folders)):
        try:
            record = Record.read(file)
        except UsageError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        costs = record.cost.model_dump(exclude={"device"}) if record.cost else {}
        about = {name: getattr(record, name) for name in _FIELDS}
        rows.append(about | dict(record.metrics) | costs | {"folder": str(file.parent)})
    return pd.DataFrame(rows, columns=None if rows else [*_FIELDS, "folder"])


def tables(folders: Folders = "runs", *, intervals: bool = False) -> "dict[str, pd.DataFrame]":
    """The leaderboard's tables, as `bench leaderboard` compiles them: only runs that compare stand in one table.

    Args:
        folders: one folder of records or several.
        intervals: whether to compute the paired bootstrap intervals of the difference to the best method.

    Returns:
        Frames by name: dataset, track, protocol, whether the images are the official ones, fold, and version of the
        protocol. A row is a method on a category, or its mean over categories; columns are metrics, averaged over
        seeds, and their standard deviations, `±`. Runs of few or dirty training images have frames of their own,
        `<dataset>-<track>-shots` and `-contamination`, in which a row is one metric of a method at one value of the
        setting. Records that were changed or are of no finished run are left out with
        a warning that names them.

    Raises:
        UsageError: a folder is not there.
    """
    import pandas as pd

    found = collect(_paths(folders))
    for line in [*found.problems, *found.notes]:
        warnings.warn(line, stacklevel=2)
    frames = {}
    for made in build_tables(found.sources, intervals=intervals).values():
        for table in made:
            titles, rows = wide_table(table)
            headline = TRACKS[table.key.track].headline
            frame = pd.DataFrame(rows, columns=titles)
            frame.attrs["headline"] = headline
            frames[table.key.name] = frame
    for name, curves in build_curves(found.sources, found.failures).items():
        frames[name] = pd.read_csv(StringIO(render_curves_csv(name, curves)))
    return frames


def _paths(folders: Folders) -> list[Path]:
    several = [folders] if isinstance(folders, str | Path) else folders
    return [Path(each).expanduser() for each in several]
