"""Leaderboards as CSV, for computations: one line per method, category and metric."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.escaping import csv_cell
from bench.leaderboard.aggregate import Summary
from bench.leaderboard.grid import Cell, Entry, OverTrivial, Published, ToBest, entries
from bench.leaderboard.one_for_all import COMPARED, Gap
from bench.leaderboard.tables import Table

_COLUMNS = (
    "dataset", "track", "protocol", "official", "fold", "protocol_version", "category", "digest", "model", "variant",
    "metric", "mean", "spread", "seeds", "published", "published_for", "comparable", "best", "difference",
    "low", "high", "difference_seeds", "fingerprints", "devices", "trivial", "over_trivial", "over_trivial_low",
    "over_trivial_high", "clear_of_trivial",
)  # fmt: skip


# Further columns where one model is for several products.
_OF_PRODUCTS = ("products", "one_per_product", "gap", "gap_low", "gap_high", "gap_seeds")


def render_csv(name: str, tables: Sequence[Table], out: Path) -> str:
    """Write values in full, intervals to 6 digits: the sums behind these may round differently on another machine.

    The column `best` is named `baseline` where differences are to a named method.
    Lines of the categories `mean`, `textures` and `objects` hold means over categories, and the mean rank.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    named = any(section.baseline for table in tables for section in table.sections)
    columns = [*_COLUMNS, *(_OF_PRODUCTS if any(table.key.products for table in tables) else ())]
    writer.writerow(["baseline" if named and name == "best" else name for name in columns])
    for table in tables:
        about = dict(zip(table.key._fields, map(_text, table.key), strict=True))
        gaps = {(gap.method, gap.product): gap for gap in table.gaps}
        lines = (
            about | line | _of_gap(gaps.get((entry.line.method, entry.category)), line["metric"])
            for entry in entries(table)
            for line in _lines(entry)
        )
        writer.writerows([csv_cell(line.get(name, "")) for name in columns] for line in lines)
    return text.getvalue()


def _of_gap(gap: Gap | None, metric: str) -> dict[str, str]:
    """What a method with one model for this product alone has, and of image AUROC the gap with its interval."""
    if gap is None or metric not in gap.alone or metric not in gap.for_all:
        return {}
    found = {"one_per_product": repr(gap.alone[metric]), "gap_seeds": " ".join(map(str, gap.seeds))}
    if metric != COMPARED[0] or isinstance(gap.difference, str):
        return found | {"gap": f"{gap.for_all[metric] - gap.alone[metric]:.6f}"}
    value, low, high = (f"{number:.6f}" for number in gap.difference.difference)
    return found | {"gap": value, "gap_low": low, "gap_high": high}


def _lines(entry: Entry) -> Iterator[dict[str, str]]:
    method, cells, row = entry.line.method, entry.line.cells, entry.line.row
    own = {"category": entry.category, "digest": entry.digest, "model": method.model, "variant": method.variant}
    own["devices"] = "; ".join(entry.line.devices)
    seeds = {"seeds": " ".join(str(record.seed) for record in row.records)} if row else {}
    for column, cell in entry.values:
        line = own | {"metric": column.metric, "mean": repr(cell.value)} | _content(cell) | seeds
        if theirs := cells.get(f"published {column.key}"):
            line |= _content(theirs)
        if row is not None and column.key == "image_auroc":
            line |= {"fingerprints": " ".join(record.fingerprint for record in row.records)}
            line |= _content(cells.get("to_best", Cell())) | _content(cells.get("over_trivial", Cell()))
        yield line


def _content(cell: Cell) -> dict[str, str]:
    match cell.content:
        case Summary(std=std, count=count):
            return {"spread": "" if std is None else repr(std), "seeds": str(count)}
        case Published(figure, comparable):
            return {"published": repr(figure.value), "published_for": figure.of, "comparable": _text(comparable)}
        case ToBest(best, found):
            value, low, high = (f"{number:.6f}" for number in found.difference)
            seeds = " ".join(map(str, found.seeds))
            return {
                "best": best.full_label, "difference": value, "low": low, "high": high, "difference_seeds": seeds
            }  # fmt: skip
        case OverTrivial(trivial, found, is_clear):
            value, low, high = (f"{number:.6f}" for number in found.difference)
            return {
                "trivial": trivial.full_label, "over_trivial": value, "over_trivial_low": low,
                "over_trivial_high": high, "clear_of_trivial": _text(is_clear),
            }  # fmt: skip
    return {}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
