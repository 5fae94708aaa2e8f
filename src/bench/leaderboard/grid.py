"""The tables of a leaderboard as typed grids: Markdown, HTML, CSV and W&B render the same columns in the same order.

Grids for readers show the metrics that the catalogue names for the track. Grids for computations are complete: they
hold all metrics and costs of the records.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from bench.config.tracks import TRACKS
from bench.escaping import visible
from bench.leaderboard.aggregate import Method, Row, Summary, TableKey, quality_of
from bench.leaderboard.collect import Source
from bench.leaderboard.one_for_all import COMPARED, Gap
from bench.leaderboard.paired import SeedDifference
from bench.leaderboard.standings import Ranking, Standing
from bench.leaderboard.tables import Section, Table
from bench.leaderboard.text import MIXED, NOT_CLEAR, difference_to_best, machine, mean_and_std
from bench.metrics.catalogue import column_title, digits_of
from bench.records.costs import COSTS
from bench.records.published import Figure
from bench.records.published_comparison import describe_figure

Of = TypeVar("Of")


class Column(NamedTuple):
    """The name of a column, and what its cells hold: words, or numbers that are sorted as numbers."""

    key: str  # in `Line.cells`
    title: str
    words: bool = False
    metric: str = ""  # the metric or cost whose own values it holds
    group: str = ""  # the group of categories that the values are means over


class Published(NamedTuple):
    """A published figure, and whether it was measured by the same protocol."""

    figure: Figure
    comparable: bool


class ToBest(NamedTuple):
    """The difference to the best method, or to the named baseline."""

    best: Method
    found: SeedDifference


class OverTrivial(NamedTuple):
    """The difference to the best trivial baseline, and whether its interval lies above 0."""

    trivial: Method
    found: SeedDifference
    is_clear: bool


class Cell(NamedTuple):
    """The text, '' for nothing; the number that it is sorted by; the content that it was made from."""

    text: str = ""
    value: float | None = None
    content: Summary | Published | ToBest | OverTrivial | None = None
    sources: Sequence[Source] = ()  # that the cell links to
    mark: str = ""

    @property
    def marked(self) -> str:
        """The text with its mark."""
        return f"{self.text} {self.mark}" if self.mark else self.text


@dataclass(frozen=True)
class Line:
    """One row of a table: the cells of a method, by the keys of the columns."""

    method: Method
    cells: Mapping[str, Cell]
    devices: Collection[str]
    row: Row | None = None  # where the line is of one category


@dataclass(frozen=True)
class Grid:
    """A table: its columns, the first of which is the method, and its lines."""

    columns: Sequence[Column]
    lines: Sequence[Line]

    def without(self, keys: Collection[str]) -> "Grid":
        """The grid without the columns of these keys."""
        return Grid([column for column in self.columns if column.key not in keys], self.lines)


class _Made(NamedTuple, Generic[Of]):
    """A column, and the function that makes its cell from the subject of a line."""

    column: Column
    make: Callable[[Of], Cell]


class _SectionRow(NamedTuple):
    """A row and the section that it belongs to."""

    section: Section
    row: Row


def results(key: TableKey, sections: Sequence[Section], *, complete: bool = False) -> Grid:
    """A line for each method on each category."""
    track = TRACKS[key.track]
    rows = [_SectionRow(section, row) for section in sections for row in section.rows]
    metrics = sorted({m for _, row in rows for record in row.records for m in record.metrics}) if complete else []
    made: list[_Made[_SectionRow]] = [
        _method(lambda each: each.row.method),
        _Made(Column("category", "category", words=True), lambda each: Cell(each.row.category)),
        _Made(Column("seeds", "seeds"), lambda each: _seeds(each.row)),
    ]
    for name in metrics or quality_of(track, [row for _, row in rows]):
        made.append(_metric_of_row(name, column_title(name, track)))
        if name == "image_auroc" and any(section.differences for section in sections):
            compared = next((section.baseline for section in sections if section.baseline), "") or "the best"
            made.append(_Made(Column("to_best", f"to {compared} (95 %)"), _to_best))
        if complete and name == "image_auroc":
            made.append(_Made(Column("over_trivial", "over the best trivial baseline"), _over_trivial))
    for name in metrics or track.published:
        if any(row.published_figure(name) for _, row in rows):
            made.append(_published_of_row(name, f"published {column_title(name, track)}"))
    made += [_cost_of_row(name) for name in COSTS]
    columns = [column for column, _ in made]
    lines = [Line(p.row.method, {c.key: make(p) for c, make in made}, list(p.row.devices), p.row) for p in rows]
    return Grid(columns, lines)


def ranked(key: TableKey, ranking: Ranking, *, complete: bool = False) -> Grid:
    """A line for each method: mean rank, and means over the ranked categories."""
    track, groups = TRACKS[key.track], ranking.groups()
    standings = ranking.standings
    made: list[_Made[Standing]] = [
        _method(lambda standing: standing.method),
        _Made(Column("mean_rank", "mean rank", metric="mean_rank", group="mean"), _mean_rank),
    ]
    if len(ranking.ranked) < len(standings):
        made.append(_Made(Column("categories", "categories"), lambda s: _categories(s, ranking)))
    made.append(_Made(Column("seeds", "seeds"), _seed_counts))
    shown = quality_of(track, [row for standing in standings for row in standing.rows.values()])
    means = [(name, "mean") for name in sorted(shown, key=lambda name: name != track.headline)]
    means[1:1] = [(track.headline, group) for group in groups if group != "mean"]
    theirs = [(name, "mean") for name in track.published]
    if complete:
        rows = [row for standing in standings for row in standing.rows.values()]
        metrics = sorted({name for row in rows for record in row.records for name in record.metrics})
        theirs = means = [(name, group) for group in groups for name in metrics]
    for name, group in means:
        title = column_title(name, track)
        column = Column(f"{name}/{group}", title if group == "mean" else group, metric=name, group=group)
        made.append(_mean(column, groups))
    for name, group in theirs:
        if any(standing.published_mean(name, groups[group]) for standing in standings):
            made.append(_published_mean(name, group, f"published {column_title(name, track)}", groups))
    lines = [Line(s.method, {column.key: make(s) for column, make in made}, s.devices) for s in standings]
    return Grid([column for column, _ in made], lines)


def costs(ranking: Ranking) -> Grid:
    """A line for each method: the machine, and the means of its costs."""
    columns = [Column("method", "method", words=True), Column("machine", "machine", words=True)]
    columns += [Column(name, cost.title) for name, cost in COSTS.items()]
    lines = []
    for standing in ranking.standings:
        machines = sorted({machine(record) for row in standing.rows.values() for record in row.records})
        cells = {"method": Cell(standing.method.label), "machine": Cell(", ".join(machines))}
        for name in COSTS:
            mean = standing.mean_cost(name)
            cells[name] = _cost(name, None if mean is None else Summary(mean, None, 1))
        lines.append(Line(standing.method, cells, standing.devices))
    return Grid(columns, lines)


def one_for_all(table: Table) -> Grid:
    """A line for each method and product, and for its mean: one model per product against one for all."""
    track = TRACKS[table.key.track]
    columns = [
        Column("method", "method", words=True),
        Column("product", "product", words=True),
        Column("seeds", "seeds"),
    ]
    for name in COMPARED:
        title = column_title(name, track)
        columns.append(Column(f"{name}/alone", f"{title}, one per product", metric=name))
        columns.append(Column(f"{name}/for_all", "one for all", metric=name))
        columns += [Column("gap", "gap (95 %)")] if name == COMPARED[0] else []
    lines = []
    for gap in table.gaps:
        cells = {"method": Cell(gap.method.label), "product": Cell(gap.product), "gap": _gap(gap)}
        cells["seeds"] = Cell(str(len(gap.seeds)), len(gap.seeds)) if gap.seeds else Cell()
        for name in COMPARED:
            for way, figures in (("alone", gap.alone), ("for_all", gap.for_all)):
                value = figures.get(name)
                text = "" if value is None else f"{value:.{digits_of(name)}f}"
                cells[f"{name}/{way}"] = Cell(text, value)
        lines.append(Line(gap.method, cells, []))
    return Grid(columns, lines)


def _gap(gap: Gap) -> Cell:
    if isinstance(gap.difference, str):
        alone, for_all = gap.alone.get(COMPARED[0]), gap.for_all.get(COMPARED[0])
        if alone is None or for_all is None:
            return Cell()
        return Cell(f"{for_all - alone:+.3f}", round(for_all - alone, 6))
    value, low, high = gap.difference.difference
    return Cell(f"{value:+.3f} [{low:+.3f}, {high:+.3f}]", round(value, 6))


def papers(table: Table) -> Grid:
    """A line for each figure that was published for a method's category, beside the figure measured here."""
    track = TRACKS[table.key.track]
    columns = [
        Column("method", "method", words=True),
        Column("category", "category", words=True),
        Column("figure", "figure", words=True),
        Column("published", "published"),
        Column("ours", "ours"),
        Column("difference", "ours - published"),
        Column("why", "why they do not compare", words=True),
    ]
    lines = []
    for row in (row for section in table.sections for row in section.rows):
        for name in track.published:
            theirs, own = row.published_figure(name), row.summarise(name)
            if theirs is None or theirs.of == "mean":
                continue
            gap = own.mean - theirs.value if own and not row.differences else None
            cells = {
                "method": Cell(row.method.label),
                "category": Cell(row.category),
                "figure": Cell(column_title(name, track)),
                "published": Cell(f"{theirs.value:.3f}", theirs.value),
                "ours": _summary(name, own),
                "difference": Cell() if gap is None else Cell(f"{gap:+.3f}", gap),
                "why": Cell("; ".join(row.differences)),
            }
            lines.append(Line(row.method, cells, list(row.devices), row))
    return Grid(columns, lines)


class Entry(NamedTuple):
    """All metrics and costs of a method on one category, or its means over a group of categories."""

    category: str
    digest: str
    line: Line
    values: Sequence[tuple[Column, Cell]]


def entries(table: Table) -> Iterator[Entry]:
    """Yield the complete grids of a table: an entry for each method on each category and group of categories."""
    for ranking in table.rankings:
        grid, groups = ranked(table.key, ranking, complete=True), ranking.groups()
        for line in grid.lines:
            for group, categories in groups.items():
                digests = " ".join(f"{name}:{ranking.digests[name][:12]}" for name in categories)
                values = _values(line, (column for column in grid.columns if column.group == group))
                yield Entry(group, digests, line, sorted(values, key=lambda found: found[0].key == "mean_rank"))
    grid = results(table.key, table.sections, complete=True)
    for line in grid.lines:
        if line.row is not None:
            yield Entry(line.row.category, line.row.digest, line, _values(line, grid.columns))


def wide_table(table: Table) -> tuple[list[str], list[list[str | float | None]]]:
    """Titles and rows, a row per method and category: each metric and its standard deviation over seeds in columns."""
    about = ["category", "digest", "model", "variant"]
    rows: list[tuple[list[str], dict[str, float]]] = []
    for entry in entries(table):
        values = {}
        for column, cell in entry.values:
            if cell.value is not None:
                values[column.metric] = cell.value
            if isinstance(cell.content, Summary) and cell.content.std is not None:
                values[f"{column.metric} ±"] = cell.content.std
        digest = entry.digest[:12] if entry.line.row else entry.digest
        words = (entry.category, digest, entry.line.method.model, entry.line.method.variant)
        rows.append((list(map(visible, words)), values))
    titles = list(dict.fromkeys(title for _, values in rows for title in values))
    return [*about, *titles], [[*words, *(values.get(title) for title in titles)] for words, values in rows]


def _values(line: Line, columns: Iterable[Column]) -> list[tuple[Column, Cell]]:
    return [(c, line.cells[c.key]) for c in columns if c.metric and line.cells[c.key].value is not None]


def _method(of: Callable[[Of], Method]) -> _Made[Of]:
    return _Made(Column("method", "method", words=True), lambda about: Cell(of(about).label))


def _metric_of_row(name: str, title: str) -> _Made[_SectionRow]:
    def make(each: _SectionRow) -> Cell:
        cell = _summary(name, each.row.summarise(name))
        marked = name == "image_auroc" and each.section.is_clear_of_trivial(each.row.method) is False
        return cell._replace(mark=NOT_CLEAR) if marked else cell

    return _Made(Column(name, title, metric=name), make)


def _cost_of_row(name: str) -> _Made[_SectionRow]:
    column = Column(name, COSTS[name].title, metric=name)
    return _Made(column, lambda each: _cost(name, each.row.summarise_cost(name)))


def _published_of_row(name: str, title: str) -> _Made[_SectionRow]:
    def make(each: _SectionRow) -> Cell:
        row = each.row
        return _published(row.published_figure(name), row.summarise(name), comparable=not row.differences)

    return _Made(Column(f"published {name}", title), make)


def _mean(column: Column, groups: Mapping[str, Sequence[str]]) -> _Made[Standing]:
    return _Made(column, lambda standing: _summary(column.metric, standing.macro(column.metric, groups[column.group])))


def _published_mean(name: str, group: str, title: str, groups: Mapping[str, Sequence[str]]) -> _Made[Standing]:
    def make(standing: Standing) -> Cell:
        theirs, own = standing.published_mean(name, groups[group]), standing.macro(name, groups[group])
        return _published(theirs, own, comparable=not standing.differences)

    return _Made(Column(f"published {name}/{group}", title), make)


def _seeds(row: Row) -> Cell:
    count = len(row.sources)
    return Cell(str(count), count, sources=row.sources, mark=MIXED if len(row.devices) > 1 else "")


def _seed_counts(standing: Standing) -> Cell:
    """`3`, or `1-3` where the categories differ in their number of seeds."""
    counts = sorted({len(row.sources) for row in standing.rows.values()})
    text = str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"
    return Cell(text, counts[0], mark=MIXED if len(standing.devices) > 1 else "")


def _mean_rank(standing: Standing) -> Cell:
    rank = standing.mean_rank
    return Cell() if rank is None else Cell(f"{rank:.2f}", rank)


def _categories(standing: Standing, ranking: Ranking) -> Cell:
    have = sum(name in standing.rows for name in ranking.categories)
    return Cell(f"{have}/{len(ranking.categories)}", have)


def _to_best(each: _SectionRow) -> Cell:
    section, method = each
    text = difference_to_best(section, method.method)
    found = section.differences.get(method.method)
    if section.best is None or found is None or isinstance(found, str):
        return Cell(text, 0) if text else Cell()
    # Rounded, because the sums behind it may round differently on another machine.
    return Cell(text, round(found.difference.value, 6), ToBest(section.best, found))


def _over_trivial(each: _SectionRow) -> Cell:
    section, method = each.section, each.row.method
    found, is_clear = section.over_trivial.get(method), section.is_clear_of_trivial(method)
    if section.trivial is None or found is None or isinstance(found, str) or is_clear is None:
        return Cell()
    return Cell(content=OverTrivial(section.trivial, found, is_clear))


def _summary(name: str, found: Summary | None) -> Cell:
    return Cell() if found is None else Cell(mean_and_std(found, digits_of(name)), found.mean, found)


def _cost(name: str, found: Summary | None) -> Cell:
    return Cell() if found is None else Cell(COSTS[name].text(found.mean), found.mean, found)


def _published(found: Figure | None, own: Summary | None, *, comparable: bool) -> Cell:
    if found is None:
        return Cell()
    text = describe_figure(found, own.mean if own else None, comparable=comparable)
    return Cell(text, found.value, Published(found, comparable))
