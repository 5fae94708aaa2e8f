"""Leaderboards as one self-contained HTML page: `<dataset>-<track>.html`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.decisive_settings import makes_method
from bench.config.settings import flatten
from bench.config.tracks import TRACKS
from bench.leaderboard.aggregate import Method, Row
from bench.leaderboard.collect import Source
from bench.leaderboard.grid import Grid, costs, one_for_all, papers, ranked, results
from bench.leaderboard.page_charts import cost_charts, difference_chart, heat_tables, paper_chart, seed_charts
from bench.leaderboard.standings import Ranking
from bench.leaderboard.tables import Table
from bench.leaderboard.text import (
    ABOUT_COSTS,
    ABOUT_GAPS,
    ABOUT_TRIVIAL,
    about_intervals,
    about_track,
    describe_images,
    describe_sets,
    describe_significance,
    explain_ranking,
    footnotes,
    machine,
    ranking_title,
    remarks,
    several_sets,
    table_notes,
    table_title,
)
from bench.metrics.catalogue import column_title, digits_of, interval_text
from bench.records.costs import COSTS
from bench.records.record import Record, changed_settings

Link = Callable[[Source], str | None]


class Run(NamedTuple):
    """One record as a row's details show it; '' for a value that it lacks."""

    seed: int
    link: str
    fingerprint: str
    value: str
    interval: str
    seconds: str
    machine: str
    commit: str
    started: str


@dataclass(frozen=True)
class Detail:
    """The details that a row opens."""

    id: str
    title: str
    runs: list[Run]
    commands: str
    overrides: str
    differences: str
    settings: str  # id of the settings of the method


def render_page(name: str, tables: Sequence[Table], out: Path, link: Link | None = None) -> str:
    """Render these tables; `link` gives the address of a record's page on a server, None links to files below `out`."""
    from bench.views.page_frame import render_page as render

    def to_file(source: Source) -> str | None:
        found = source.link_from(out)
        return found and f"{found}/record.json"

    settings = {method: f"settings-{index}" for index, method in enumerate(_examples(tables))}
    views = [_view(f"t{index}", table, settings, link or to_file) for index, table in enumerate(tables, 1)]
    track = TRACKS[tables[0].key.track]
    about = [*filter(None, [about_track(tables[0].key), about_intervals(tables)])]
    if any(section.over_trivial for table in tables for section in table.sections):
        about.append(ABOUT_TRIVIAL)
    return render(
        "leaderboard.html.j2",
        script="leaderboard.js",
        served=link is not None,
        name=name,
        headline=column_title(track.headline, track),
        about=about,
        about_costs=ABOUT_COSTS,
        about_gaps=ABOUT_GAPS,
        fit=COSTS["fit_seconds"].title,
        views=views,
        settings=[(settings[key], key, _settings(record)) for key, record in _examples(tables).items()],
    )


def _view(id: str, table: Table, settings: Mapping[Method, str], link: Link) -> dict[str, Any]:
    """The values that the template shows of a table."""
    grid = results(table.key, table.sections)
    details = _details(id, grid, TRACKS[table.key.track].headline, settings, link)
    several = several_sets(table)
    return {
        "id": id,
        "title": table_title(table.key),
        "notes": table_notes(table),
        "rankings": [_ranking_view(f"{id}-{n}", table, ranking) for n, ranking in enumerate(table.rankings, 1)],
        "results": grid,
        "models": sorted({line.method.model for line in grid.lines}),
        "categories": sorted({line.row.category for line in grid.lines if line.row}),
        "details": list(details),
        "images": [
            (s.category, describe_images(table.key, s, s.category in several), remarks(s)) for s in table.sections
        ],
        "costs": costs(table.rankings[0]),
        "gaps": one_for_all(table) if table.gaps else None,
        "papers": papers(table),
        "paper_chart": paper_chart(id, table),
        "footnotes": footnotes(table),
    }


def _ranking_view(id: str, table: Table, ranking: Ranking) -> dict[str, Any]:
    """A ranking with its charts; where there is none, a sentence with the reason."""
    track = TRACKS[table.key.track]
    title = column_title(track.headline, track)
    seeds, seeds_by_category = seed_charts(id, table, ranking)
    view: dict[str, Any] = {
        "id": id,
        "sets": describe_sets(ranking, len(table.rankings)) if len(table.rankings) > 1 else "",
        "heat": heat_tables(table, ranking),
        "seeds": seeds,
        "seeds_by_category": seeds_by_category,
        "charts": [],
        "differences": None,
    }
    if not ranking.categories:
        return view | {"title": "No ranking", "grid": None, "explain": "No two methods have a category in common."}
    return view | {
        "title": ranking_title(ranking, title),
        "grid": ranked(table.key, ranking),
        "explain": f"{explain_ranking(ranking, title)} {describe_significance(ranking)}",
        "charts": cost_charts(id, table, ranking),
        "differences": difference_chart(id, ranking),
    }


def _examples(tables: Sequence[Table]) -> dict[Method, Record]:
    """A record of each method, sorted by method."""
    rows = [row for table in tables for section in table.sections for row in section.rows]
    found: dict[Method, Record] = {}
    for row in sorted(rows, key=lambda row: (row.method, row.category, row.digest)):
        found.setdefault(row.method, row.records[0])
    return found


def _settings(record: Record) -> str:
    """The settings of a method, one per line, without seed, category and the settings of the machine."""
    settings = flatten(record.config)
    lines = [f"{key}: {value}" for key, value in settings.items() if makes_method(key) or key == "model.weights"]
    return "\n".join(lines)


def _details(id: str, grid: Grid, headline: str, settings: Mapping[Method, str], link: Link) -> Iterator[Detail]:
    for index, line in enumerate(grid.lines):
        if line.row is None:
            continue
        row: Row = line.row
        changed = ", ".join(f"{key}={value}" for key, value in changed_settings(row.records[0]).items())
        yield Detail(
            id=f"{id}-row-{index}",
            title=f"{row.method.label} on {row.category}",
            runs=[_run(source, headline, link) for source in row.sources],
            commands="\n".join(record.command for record in row.records),
            overrides=changed or "none",
            differences="; ".join(row.differences),
            settings=settings[row.method],
        )


def _run(source: Source, headline: str, link: Link) -> Run:
    record = source.record
    value, interval = record.metrics.get(headline), record.intervals.get(headline)
    return Run(
        seed=record.seed,
        link=link(source) or "",
        fingerprint=record.fingerprint,
        value="" if value is None else f"{value:.{digits_of(headline)}f}",
        interval=interval_text(interval),
        seconds=COSTS["fit_seconds"].text(record.cost.fit_seconds) if record.cost else "",
        machine=machine(record),
        commit=str(record.environment.get("commit") or "")[:12],
        started=record.started,
    )
