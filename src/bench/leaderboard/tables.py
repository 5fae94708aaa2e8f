"""From records to the files of a leaderboard: computed once, written in every format of `FORMATS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bench.leaderboard.aggregate import Method, Row, TableKey, aggregate
from bench.leaderboard.collect import Source
from bench.leaderboard.columns import TRACKS
from bench.leaderboard.standings import Ranking, rankings

if TYPE_CHECKING:
    from bench.leaderboard.paired import SeedDifference


@dataclass(frozen=True)
class Section:
    """One category on one set of images, best method first."""

    category: str
    digest: str
    rows: list[Row]
    best: Method | None  # by image AUROC, where differences to it were asked for
    differences: "dict[Method, SeedDifference | str]"  # to the best, or why there is none

    @property
    def difference_from_official(self) -> list[str]:
        """In what the images are not MVTec's own."""
        return self.rows[0].records[0].data.differences


@dataclass(frozen=True)
class Table:
    """Everything that may be compared."""

    key: TableKey
    rankings: list[Ranking]
    sections: list[Section]
    notes: list[str]


def build_tables(sources: Sequence[Source], *, intervals: bool) -> dict[str, list[Table]]:
    """All tables by the name of their file: `<dataset>-<track>`."""
    tables: dict[str, list[Table]] = {}
    for key, rows in aggregate(sources).items():
        sections = [
            _section(key, list(found), intervals)
            for _, found in groupby(rows, key=lambda row: (row.category, row.digest))
        ]
        notes = sorted(source.note for row in rows for source in row.sources if source.note)
        name = f"{key.dataset}-{key.track}"
        tables.setdefault(name, []).append(Table(key, rankings(key, rows), sections, notes))
    return tables


def render(sources: Sequence[Source], out: Path, *, intervals: bool) -> dict[Path, str]:
    """The text of every file of the leaderboards in `out`; the same records give the same text."""
    return {
        out / f"{name}{suffix}": write(name, tables, out.resolve())
        for name, tables in build_tables(sources, intervals=intervals).items()
        for suffix, write in _formats().items()
    }


def _formats() -> dict[str, Callable[[str, Sequence[Table], Path], str]]:
    """Writers by the ending of their files; each gets name, tables and the resolved folder that links start from."""
    from bench.leaderboard.csv_file import render_csv
    from bench.leaderboard.markdown import render_markdown
    from bench.leaderboard.page import render_page

    return {".md": render_markdown, ".csv": render_csv, ".html": render_page}


def _section(key: TableKey, rows: list[Row], intervals: bool) -> Section:
    def order(row: Row, metric: str) -> tuple[float, Method]:
        found = row.summarise(metric)
        return -(found.mean if found else 0.0), row.method

    ordered = sorted(rows, key=lambda row: order(row, TRACKS[key.track].headline))
    first = ordered[0]
    scored = [row for row in rows if row.summarise("image_auroc")]
    if not intervals or not scored:
        return Section(first.category, first.digest, ordered, None, {})
    from bench.leaderboard.paired import image_auroc_difference

    best = min(scored, key=lambda row: order(row, "image_auroc"))
    differences = {row.method: image_auroc_difference(best, row) for row in scored if row is not best}
    return Section(first.category, first.digest, ordered, best.method, differences)
