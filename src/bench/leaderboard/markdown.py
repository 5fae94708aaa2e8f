"""Leaderboards as Markdown, for readers."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.config.tracks import TRACKS
from bench.escaping import Markdown, markdown, markdown_table, sentence
from bench.leaderboard.aggregate import Row, TableKey
from bench.leaderboard.grid import Cell, Column, Grid, costs, one_for_all, ranked, results
from bench.leaderboard.standings import Ranking
from bench.leaderboard.tables import Section, Table
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
    ranking_title,
    remarks,
    several_sets,
    table_notes,
    table_title,
)
from bench.metrics.catalogue import column_title
from bench.records.costs import COSTS


def render_markdown(name: str, tables: Sequence[Table], out: Path) -> str:
    """Render for each table the ranking and the costs, then a section for each category."""
    parts = [f"# {markdown(name)}\n", f"{markdown(about_track(tables[0].key))}\n"]
    if about := about_intervals(tables):
        parts.append(f"{sentence(about)}\n")
    if any(section.over_trivial for table in tables for section in table.sections):
        parts.append(f"{markdown(ABOUT_TRIVIAL)}\n")
    for table in tables:
        parts.append(_head(table))
        parts += [_ranking(table.key, ranking, len(table.rankings), out) for ranking in table.rankings]
        if table.gaps:
            said = f"### One per product against one for all\n\n{markdown(ABOUT_GAPS)}\n"
            parts.append(f"{said}\n{_render(one_for_all(table), out)}")
        parts.append(f"### Cost\n\n{ABOUT_COSTS}\n\n{_render(costs(table.rankings[0]), out)}")
        several = several_sets(table)
        parts += [_section(table.key, section, out, section.category in several) for section in table.sections]
        parts.append(_footnotes(table))
    return "\n".join(filter(None, parts))


def _head(table: Table) -> str:
    return "\n\n".join([f"## {sentence(table_title(table.key))}", *map(sentence, table_notes(table))]) + "\n"


def _ranking(key: TableKey, ranking: Ranking, of: int, out: Path) -> str:
    """Means over categories in the order of mean ranks; empty where there is only one category."""
    if len(ranking.digests) < 2:
        return ""
    if not ranking.categories:
        return "### No ranking\n\nNo two methods have a category in common.\n"
    track = TRACKS[key.track]
    title = column_title(track.headline, track)
    parts = [f"### {sentence(ranking_title(ranking, title))}\n"]
    if of > 1:
        parts.append(f"{sentence(describe_sets(ranking, of))}\n")
    said = [explain_ranking(ranking, title), describe_significance(ranking)]
    parts += [_render(ranked(key, ranking), out), *(f"{sentence(text)}\n" for text in said)]
    return "\n".join(parts)


def _section(key: TableKey, section: Section, out: Path, several: bool) -> str:
    """The results on one category without costs, which stand above as means over all categories."""
    lines = [f"### {markdown(section.category)}{f' ({section.digest[:12]})' if several else ''}\n"]
    lines.append(f"{sentence(describe_images(key, section, several))}\n")
    grid = results(key, [section]).without({"category", *COSTS})
    said = [f"{sentence(remark)}\n" for remark in remarks(section)]
    lines += [_render(grid, out), *said, _unlinked(section.rows, out)]
    return "\n".join(filter(None, lines))


def _render(grid: Grid, out: Path) -> str:
    rows = ([_cell(column, line.cells[column.key], out) for column in grid.columns] for line in grid.lines)
    # The name of a method, which is anyone's word, stands in one title.
    titles = [markdown(c.title) if c.key == "to_best" else c.title for c in grid.columns]
    return markdown_table(titles, rows, words=sum(c.words for c in grid.columns))


def _cell(column: Column, cell: Cell, out: Path) -> str:
    """The cell's text, `-` for none; seeds link to the folders of their records that lie below `out` (resolved)."""
    if cell.sources:
        links = ((source.record.seed, source.link_from(out)) for source in cell.sources)
        seeds = [f"[{seed}]({link})" if link else str(seed) for seed, link in links]
        return Markdown(" ".join(filter(None, [*seeds, cell.mark])))
    text = cell.marked or "-"
    return Markdown(text) if column.key in ("to_best", "gap") else text


def _unlinked(rows: Iterable[Row], out: Path) -> str:
    """The fingerprints of the records that have no link; empty where there are none."""
    lines = []
    for row in rows:
        records = [source.record for source in row.sources if source.link_from(out) is None]
        if records:
            names = ", ".join(f"seed {record.seed} `{record.fingerprint}`" for record in records)
            lines.append(f"{markdown(row.method.label)}: {names}")
    return f"<details><summary>Records</summary>\n\n{'; '.join(lines)}.\n\n</details>\n" if lines else ""


def _footnotes(table: Table) -> str:
    parts = list(map(sentence, footnotes(table)))
    return "### Notes\n\n" + "\n\n".join(parts) + "\n" if parts else ""
