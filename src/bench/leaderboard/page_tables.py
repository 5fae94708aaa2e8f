"""The tables of a leaderboard's page as plain data: what stands in each cell, and by what it is sorted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from bench.leaderboard.aggregate import Method, Row, Summary
from bench.leaderboard.markdown_cells import MIXED, figure, machine
from bench.leaderboard.standings import Ranking
from bench.leaderboard.tables import Table
from bench.leaderboard.text import describe_seeds, difference_to_best
from bench.metrics.catalogue import TRACKS
from bench.records.costs import COSTS
from bench.records.published import Figure
from bench.records.published_comparison import describe_figure
from bench.views.viridis import heat_colour, text_on


class Column(NamedTuple):
    """A title, and whether its cells are words; numbers are sorted as numbers."""

    title: str
    words: bool = False


class Cell(NamedTuple):
    """What is shown, '' for nothing; `value` is the number that it is sorted by."""

    text: str = ""
    value: str = ""


@dataclass(frozen=True)
class Line:
    """One row of a table: a method, and the cells of all columns but the first."""

    method: Method
    cells: list[Cell]
    row: Row | None = None


@dataclass(frozen=True)
class Grid:
    """A table with its columns, the first of which is the method."""

    columns: list[Column]
    lines: list[Line]


class HeatCell(NamedTuple):
    """A figure with its colour and the colour of the text on it; no text where there is no figure."""

    text: str = ""
    colour: str = ""
    ink: str = ""
    about: str = ""


@dataclass(frozen=True)
class HeatTable:
    """One metric of methods over categories, all on one scale from `low` to `high`."""

    title: str
    columns: list[str]
    lines: list[tuple[Method, list[HeatCell]]]
    low: float
    high: float


def results(table: Table) -> Grid:
    """A row for each method on each category."""
    columns = TRACKS[table.key.track]
    rows = [(section, row) for section in table.sections for row in section.rows]
    printed = [name for name in columns.published if any(row.published_figure(name) for _, row in rows)]
    intervals = any(section.best for section in table.sections)
    titles = [Column("method", True), Column("category", True), Column("seeds")]
    titles += [Column(title) for title in columns.quality.values()]
    place = len(titles) - len(columns.quality) + list(columns.quality).index("image_auroc") + 1
    if intervals:
        titles.insert(place, Column("to the best (95 %)"))
    titles += [Column(f"published {columns.quality[name]}") for name in printed]
    titles += [Column(cost.title) for cost in COSTS.values()]
    lines = []
    for section, row in rows:
        seeds = len(row.sources)
        cells = [Cell(row.category), Cell(f"{seeds} {MIXED}" if len(row.devices) > 1 else str(seeds), str(seeds))]
        cells += [_summary(row.summarise(name)) for name in columns.quality]
        if intervals:
            found = section.differences.get(row.method)
            value = "0" if row.method == section.best else ""
            if found is not None and not isinstance(found, str):
                value = f"{found.difference.value:.6f}"
            text = difference_to_best(section, row.method)
            cells.insert(place - 1, Cell("" if text == "-" else text, value))
        for name in printed:
            cells.append(_published(row.published_figure(name), row.summarise(name), comparable=not row.differences))
        cells += list(_costs({name: row.summarise_cost(name) for name in COSTS}))
        lines.append(Line(row.method, cells, row))
    return Grid(titles, lines)


def ranked(table: Table, ranking: Ranking) -> Grid:
    """A row for each method: mean rank, and means over the categories that are ranked."""
    columns, groups = TRACKS[table.key.track], ranking.groups()
    printed = {
        name: figures
        for name in columns.published
        if any(figures := [standing.published_mean(name, ranking.categories) for standing in ranking.standings])
    }
    split = [name for name in groups if name != "mean"]
    titles = [Column("method", True), Column("mean rank"), Column("categories"), Column("seeds")]
    titles += [Column(title) for title in columns.quality.values()]
    titles += [Column(f"{columns.quality[columns.headline]}, {name}") for name in split]
    titles += [Column(f"published {columns.quality[name]}") for name in printed]
    lines = []
    for place, standing in enumerate(ranking.standings):
        have = sum(name in standing.rows for name in ranking.categories)
        rank = standing.mean_rank
        seeds = describe_seeds(standing)
        cells = [
            Cell() if rank is None else Cell(f"{rank:.2f}", repr(rank)),
            Cell(f"{have}/{len(ranking.categories)}", str(have)),
            Cell(seeds, seeds.partition(" ")[0].partition("-")[0]),
        ]
        cells += [_summary(standing.macro(name, ranking.categories)) for name in columns.quality]
        cells += [_summary(standing.macro(columns.headline, groups[name])) for name in split]
        for name, figures in printed.items():
            own = standing.macro(name, ranking.categories)
            cells.append(_published(figures[place], own, comparable=not standing.differences))
        lines.append(Line(standing.method, cells))
    return Grid(titles, lines)


def costs(ranking: Ranking) -> Grid:
    """A row for each method: the machine, and the means of its costs."""
    titles = [Column("method", True), Column("machine", True), *(Column(cost.title) for cost in COSTS.values())]
    lines = []
    for standing in ranking.standings:
        machines = sorted({machine(record) for row in standing.rows.values() for record in row.records})
        means = {name: standing.mean_cost(name) for name in COSTS}
        found = {name: None if mean is None else Summary(mean, None, 1) for name, mean in means.items()}
        lines.append(Line(standing.method, [Cell(", ".join(machines)), *_costs(found)]))
    return Grid(titles, lines)


def papers(table: Table) -> Grid:
    """A row for each figure that was published for a method's category: theirs beside ours."""
    columns = TRACKS[table.key.track]
    titles = [Column("method", True), Column("category", True), Column("figure", True), Column("published")]
    titles += [Column("ours"), Column("ours - published"), Column("why they do not compare", True)]
    lines = []
    for section in table.sections:
        for row in section.rows:
            for name in columns.published:
                theirs, own = row.published_figure(name), row.summarise(name)
                if theirs is None or theirs.of == "mean":
                    continue
                cells = [Cell(row.category), Cell(columns.quality[name])]
                cells += [Cell(f"{theirs.value:.3f}", repr(theirs.value)), _summary(own)]
                gap = own.mean - theirs.value if own and not row.differences else None
                cells.append(Cell() if gap is None else Cell(f"{gap:+.3f}", repr(gap)))
                cells.append(Cell("; ".join(row.differences)))
                lines.append(Line(row.method, cells, row))
    return Grid(titles, lines)


def heat_tables(table: Table, ranking: Ranking) -> list[HeatTable]:
    """The figure that methods are ranked by, and those that papers publish, over all categories."""
    columns = TRACKS[table.key.track]
    metrics = dict.fromkeys([columns.headline, *columns.published])
    found = [_heat_table(columns.quality[name], name, ranking) for name in metrics]
    return [heat for heat in found if any(cell.text for _, cells in heat.lines for cell in cells)]


def _heat_table(title: str, metric: str, ranking: Ranking) -> HeatTable:
    categories = sorted(ranking.digests)
    figures: list[tuple[Method, list[Summary | None]]] = []
    for standing in ranking.standings:
        rows = [standing.rows.get(name) for name in categories]
        own = [row.summarise(metric) if row else None for row in rows]
        means = [standing.macro(metric, ranking.categories)] if len(ranking.categories) > 1 else []
        figures.append((standing.method, own + means))
    values = [found.mean for _, own in figures for found in own if found]
    low, high = (int(min(values) * 10) / 10 if values else 0.0), 1.0
    low = min(low, 0.9)
    lines = [(method, [_heat_cell(found, low, high) for found in own]) for method, own in figures]
    columns = [*categories, "mean"] if len(ranking.categories) > 1 else categories
    return HeatTable(title, columns, lines, low, high)


def _heat_cell(found: Summary | None, low: float, high: float) -> HeatCell:
    if found is None:
        return HeatCell()
    colour = heat_colour((found.mean - low) / (high - low))
    seeds = "1 seed" if found.count == 1 else f"{found.count} seeds"
    return HeatCell(f"{found.mean:.3f}", colour, text_on(colour), f"{figure(found)}, {seeds}")


def _summary(found: Summary | None) -> Cell:
    return Cell() if found is None else Cell(figure(found), repr(found.mean))


def _published(found: Figure | None, own: Summary | None, *, comparable: bool) -> Cell:
    if found is None:
        return Cell()
    return Cell(describe_figure(found, own.mean if own else None, comparable=comparable), repr(found.value))


def _costs(found: dict[str, Summary | None]) -> Iterator[Cell]:
    for name, own in found.items():
        cost = COSTS[name]
        yield Cell() if own is None else Cell(f"{own.mean / cost.unit:,.{cost.digits}f}", repr(own.mean))
