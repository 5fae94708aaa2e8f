"""Build the tables of a leaderboard from records; every format shows these tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING

from bench.config.presets import is_trivial
from bench.config.tracks import TRACKS
from bench.errors import UsageError, unknown
from bench.leaderboard.aggregate import Method, Row, TableKey, aggregate
from bench.leaderboard.collect import Source
from bench.leaderboard.curves import is_swept
from bench.leaderboard.products import by_product
from bench.leaderboard.standings import Ranking, rankings

if TYPE_CHECKING:
    from bench.leaderboard.one_for_all import Gap
    from bench.leaderboard.paired import SeedDifference


@dataclass(frozen=True)
class Section:
    """One category on one set of images, best method first."""

    category: str
    digest: str
    rows: list[Row]
    best: Method | None  # by image AUROC, or the named baseline, where differences to it are requested
    differences: "dict[Method, SeedDifference | str]"  # to the best or the baseline, or why there is none
    baseline: str = ""  # the label of the named baseline; '' where differences are to the best
    trivial: Method | None = None  # the best trivial baseline by image AUROC, where differences are requested
    over_trivial: "dict[Method, SeedDifference | str]" = field(default_factory=dict)  # to the best trivial baseline

    def is_clear_of_trivial(self, method: Method) -> bool | None:
        """Whether the interval of its difference to the best trivial baseline lies above 0; None without one."""
        found = self.over_trivial.get(method)
        # Rounded as the tables are, because the sums behind it may round differently on another machine.
        return None if found is None or isinstance(found, str) else round(found.difference.low, 6) > 0

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
    gaps: "Sequence[Gap]" = ()  # to one model per product, where the table is of models for several


def build_tables(sources: Sequence[Source], *, intervals: bool, baseline: str | None = None) -> dict[str, list[Table]]:
    """All tables by the name of their file: `<dataset>-<track>`; runs of chosen training images have curves instead.

    Differences are to the method named `baseline`, else to the best; a table without that method has none.
    """
    tables: dict[str, list[Table]] = {}
    kept = by_product(source for source in sources if not is_swept(source.record))
    found_rows = aggregate(kept)
    if baseline is not None:
        _check_baseline(baseline, [row.method for rows in found_rows.values() for row in rows])
    for key, rows in found_rows.items():
        named = None if baseline is None else _find_method(baseline, [row.method for row in rows])
        sections = [
            _section(key, list(found), intervals and (baseline is None or named is not None), named)
            for _, found in groupby(rows, key=lambda row: (row.category, row.digest))
        ]
        notes = sorted(source.note for row in rows for source in row.sources if source.note)
        if baseline is not None and named is None:
            notes.append(f"no method here is {baseline}, so nothing is compared with it.")
        name = f"{key.dataset}-{key.track}"
        table = Table(key, rankings(key, rows), sections, notes, _gaps(key, rows, kept, intervals=intervals))
        tables.setdefault(name, []).append(table)
    return tables


def _gaps(key: TableKey, rows: Sequence[Row], sources: Sequence[Source], *, intervals: bool) -> "Sequence[Gap]":
    if not key.products:
        return ()
    from bench.leaderboard.one_for_all import gaps

    return gaps(rows, sources, intervals=intervals)


def _check_baseline(name: str, methods: Sequence[Method]) -> None:
    """Refuse a name that no table has."""
    if not any(name in _names(method) for method in methods):
        raise unknown("baseline", name, {known for method in methods for known in _names(method)})


def _names(method: Method) -> tuple[str, str, str]:
    return method.full_label, method.label, method.model


def _find_method(name: str, methods: Sequence[Method]) -> Method | None:
    """The method of a table that is named by its label, or by its model alone; the plain preset before its variants."""
    for at in range(len(_names(methods[0]))):
        found = list(dict.fromkeys(method for method in methods if _names(method)[at] == name))
        if len(found) > 1:
            labels = ", ".join(f"'{method.full_label}'" for method in found)
            raise UsageError(f"--baseline {name}: several methods are named so; name one of {labels}")
        if found:
            return found[0]
    return None


def _section(key: TableKey, rows: list[Row], intervals: bool, baseline: Method | None) -> Section:
    def order(row: Row, metric: str) -> tuple[float, Method]:
        found = row.summarise(metric)
        return -(found.mean if found else 0.0), row.method

    ordered = sorted(rows, key=lambda row: order(row, TRACKS[key.track].headline))
    first = ordered[0]
    scored = [row for row in rows if row.summarise("image_auroc")]
    if not intervals or not scored:
        return Section(first.category, first.digest, ordered, None, {})
    from bench.leaderboard.paired import image_auroc_difference

    trivial, over = _over_trivial(scored, order)
    if baseline is None:
        best = min(scored, key=lambda row: order(row, "image_auroc"))
        differences = {row.method: image_auroc_difference(best, row) for row in scored if row is not best}
        return Section(first.category, first.digest, ordered, best.method, differences, "", trivial, over)
    label = baseline.label
    found = next((row for row in scored if row.method == baseline), None)
    differences = {
        row.method: image_auroc_difference(found, row, label) if found else f"no figure of {label} on these images"
        for row in scored
        if row is not found
    }
    return Section(first.category, first.digest, ordered, baseline, differences, label, trivial, over)


def _over_trivial(
    scored: Sequence[Row], order: Callable[[Row, str], tuple[float, Method]]
) -> "tuple[Method | None, dict[Method, SeedDifference | str]]":
    """The best trivial baseline, and the difference of each other method to it; nothing without one."""
    from bench.leaderboard.paired import image_auroc_difference

    trivial = [row for row in scored if is_trivial(row.method.model)]
    if not trivial:
        return None, {}
    least = min(trivial, key=lambda row: order(row, "image_auroc"))
    return least.method, {row.method: image_auroc_difference(least, row) for row in scored if row not in trivial}
