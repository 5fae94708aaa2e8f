"""Leaderboards as Markdown, to be read."""

from collections.abc import Sequence
from pathlib import Path

from bench.escaping import Markdown, markdown, markdown_table, sentence
from bench.leaderboard.aggregate import TableKey
from bench.leaderboard.markdown_cells import figure, fingerprints, published, seeds
from bench.leaderboard.markdown_ranking import describe_costs, describe_ranking
from bench.leaderboard.tables import Section, Table
from bench.leaderboard.text import (
    ABOUT,
    ABOUT_INTERVALS,
    describe_images,
    difference_to_best,
    footnotes,
    remarks,
    several_sets,
    table_notes,
    table_title,
)
from bench.metrics.catalogue import TRACKS


def render_markdown(name: str, tables: Sequence[Table], out: Path) -> str:
    """For each table the ranking and the costs, then a section for each category."""
    parts = [f"# {markdown(name)}\n", f"{ABOUT[tables[0].key.track]}\n"]
    if any(section.differences for table in tables for section in table.sections):
        parts.append(f"{ABOUT_INTERVALS}\n")
    for table in tables:
        parts.append(_head(table))
        parts += [describe_ranking(table.key, ranking, len(table.rankings)) for ranking in table.rankings]
        parts.append(describe_costs(table.rankings[0]))
        several = several_sets(table)
        parts += [_section(table.key, section, out, section.category in several) for section in table.sections]
        parts.append(_footnotes(table))
    return "\n".join(filter(None, parts))


def _head(table: Table) -> str:
    return "\n\n".join([f"## {sentence(table_title(table.key))}", *map(sentence, table_notes(table))]) + "\n"


def _section(key: TableKey, section: Section, out: Path, several: bool) -> str:
    lines = [f"### {markdown(section.category)}{f' ({section.digest[:12]})' if several else ''}\n"]
    lines.append(f"{sentence(describe_images(key, section, several))}\n")
    columns = TRACKS[key.track]
    printed = [name for name in columns.published if any(row.published_figure(name) for row in section.rows)]
    titles = ["method", "seeds", *columns.quality.values()]
    place = titles.index(columns.quality["image_auroc"]) + 1
    if section.differences:
        titles.insert(place, "to the best (95 %)")
    titles += [f"published {columns.quality[name]}" for name in printed]
    rows = []
    for row in section.rows:
        cells = [row.method.label, seeds(row, out), *(figure(row.summarise(metric)) for metric in columns.quality)]
        if section.differences:
            cells.insert(place, Markdown(difference_to_best(section, row.method)))
        for metric in printed:
            own = row.summarise(metric)
            cells.append(published(row.published_figure(metric), own, comparable=not row.differences))
        rows.append(cells)
    said = [f"{sentence(remark)}\n" for remark in remarks(section)]
    lines += [markdown_table(titles, rows), *said, fingerprints(section.rows, out)]
    return "\n".join(filter(None, lines))


def _footnotes(table: Table) -> str:
    parts = list(map(sentence, footnotes(table)))
    return "### Notes\n\n" + "\n\n".join(parts) + "\n" if parts else ""
