"""Leaderboards as CSV to compute with: one line per method, category and metric."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.escaping import csv_cell
from bench.leaderboard.aggregate import Row, Summary
from bench.leaderboard.standings import Ranking, Standing
from bench.leaderboard.tables import Section, Table
from bench.records.costs import COSTS
from bench.records.published import Figure

_COLUMNS = (
    "dataset", "track", "protocol", "official", "fold", "protocol_version", "category", "digest", "model", "variant",
    "metric", "mean", "spread", "seeds", "published", "published_for", "comparable", "best", "difference",
    "low", "high", "difference_seeds", "fingerprints", "devices",
)  # fmt: skip
Line = dict[str, str]


def render_csv(name: str, tables: Sequence[Table], out: Path) -> str:
    """Figures in full; intervals to 6 digits, for the sums behind them may round otherwise on another machine.

    Lines of the categories `mean`, `textures` and `objects` are means over categories, and the mean rank.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    lines: list[Line] = []
    for table in tables:
        place = dict(zip(_COLUMNS, map(_text, table.key), strict=False))
        for ranking in table.rankings:
            for standing in ranking.standings:
                lines += [place | line for line in _mean_lines(ranking, standing)]
        for section in table.sections:
            for row in section.rows:
                lines += [place | line for line in _category_lines(section, row)]
    writer.writerows([csv_cell(line.get(name, "")) for name in _COLUMNS] for line in lines)
    return text.getvalue()


def _mean_lines(ranking: Ranking, standing: Standing) -> Iterator[Line]:
    metrics = sorted({name for row in standing.rows.values() for record in row.records for name in record.metrics})
    comparable = not standing.differences
    for group, categories in ranking.groups().items():
        digests = " ".join(f"{name}:{ranking.digests[name][:12]}" for name in categories)
        own = {"category": group, "digest": digests, "model": standing.method.model, "variant": standing.method.variant}
        own["devices"] = "; ".join(standing.devices)
        for metric in metrics:
            if found := standing.macro(metric, categories):
                figure = standing.published_mean(metric, categories)
                yield own | {"metric": metric} | _summary(found) | _published(figure, comparable)
        if group == "mean" and standing.mean_rank is not None:
            yield own | {"metric": "mean_rank", "mean": repr(standing.mean_rank)}


def _category_lines(section: Section, row: Row) -> Iterator[Line]:
    own = {"category": row.category, "digest": row.digest, "model": row.method.model, "variant": row.method.variant}
    own["devices"] = "; ".join(row.devices)
    seeds = {"seeds": " ".join(str(record.seed) for record in row.records)}
    comparable = not row.differences
    for name in sorted({name for record in row.records for name in record.metrics}):
        if found := row.summarise(name):
            line = own | {"metric": name} | _summary(found) | seeds | _published(row.published_figure(name), comparable)
            if name == "image_auroc":
                line |= {"fingerprints": " ".join(record.fingerprint for record in row.records)}
                line |= _difference(section, row)
            yield line
    for name in COSTS:
        if found := row.summarise_cost(name):
            yield own | {"metric": name} | _summary(found) | seeds


def _difference(section: Section, row: Row) -> Line:
    found = section.differences.get(row.method)
    if section.best is None or found is None or isinstance(found, str):
        return {}
    value, low, high = (f"{number:.6f}" for number in found.difference)
    seeds = " ".join(map(str, found.seeds))
    best = section.best.full_label
    return {"best": best, "difference": value, "low": low, "high": high, "difference_seeds": seeds}


def _summary(found: Summary) -> Line:
    spread = "" if found.spread is None else repr(found.spread)
    return {"mean": repr(found.mean), "spread": spread, "seeds": str(found.count)}


def _published(figure: Figure | None, comparable: bool) -> Line:
    if figure is None:
        return {}
    return {"published": repr(figure.value), "published_for": figure.of, "comparable": _text(comparable)}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
