"""Build the tables of a leaderboard from records; every format shows these tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from bench.leaderboard.aggregate import Method, Row, TableKey, aggregate
from bench.leaderboard.collect import Source
from bench.leaderboard.standings import Ranking, rankings
from bench.metrics.catalogue import TRACKS

if TYPE_CHECKING:
    from bench.leaderboard.paired import SeedDifference


@dataclass(frozen=True)
class Section:
    """One category on one set of images, best method first."""

    category: str
    digest: str
    rows: list[Row]
    best: Method | None  # by image AUROC, where differences to it are requested
    differences: "dict[Method, SeedDifference | str]"  # to the best, or why there is none

    @property
    def difference_from_official(self) -> list[str]:
        """How the images differ from MVTec's own."""
        return self.rows[0].records[0].data.differences


@dataclass(frozen=True)
class Table:
    """The rankings and sections of all records that may be compared with each other."""

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
