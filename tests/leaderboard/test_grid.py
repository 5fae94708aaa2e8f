"""One grid, four formats: each shows the same columns in the same order, and the same cells."""

import re
from pathlib import Path

import pytest

from bench.leaderboard.collect import collect
from bench.leaderboard.grid import Column, entries, ranked, results, wide_table
from bench.leaderboard.tables import Table, build_tables
from fake_records import make_record, write_record, write_seeds

SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}
FIVE = ("bottle", "cable", "carpet", "grid", "screw")


@pytest.fixture
def runs(own_folder: Path) -> Path:
    """Two methods on textures and objects, of which one was published, and one method that lacks categories."""
    runs = own_folder / "runs"
    for place, model in enumerate(("cutpaste", "other")):
        for category in FIVE:
            paper = {"official": True, "reference": "cutpaste/3way/paper"}
            write_seeds(runs, (0.9 - 0.1 * place, 0.8 - 0.1 * place), model=model, category=category, **paper)
    for seed, model in enumerate(("third", "fourth")):
        write_record(runs, make_record(model, "screw", seed=0, official=True), {**SCORES, "hole": (0.1 + seed,)})
    return runs


@pytest.fixture
def table(runs) -> Table:
    ((table,),) = build_tables(collect([runs]).sources, intervals=True).values()
    return table


def titles(columns: list[Column]) -> list[str]:
    return [column.title for column in columns]


def markdown_heads(text: str) -> list[list[str]]:
    return [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| method")]


def html_heads(text: str) -> list[list[str]]:
    heads = re.findall(r"<thead><tr>(.*?)</tr></thead>", text, flags=re.DOTALL)
    return [re.findall(r"<th[^>]*>([^<]*)</th>", head) for head in heads]


def test_markdown_and_the_page_show_the_columns_of_the_grid_in_its_order(bench, table):
    assert bench("leaderboard", "runs").status == 0
    ranking, result = (
        titles(ranked(table.key, table.rankings[0]).columns),
        titles(results(table.key, table.sections).columns),
    )
    assert {"mean rank", "categories", "textures", "published image AUROC"} <= set(ranking)
    assert {"to the best (95 %)", "fit (s)", "published image AUROC"} <= set(result)
    page = html_heads(Path("leaderboards/mvtec_ad-one-class.html").read_text(encoding="utf-8"))
    assert ranking in page
    assert result in page
    first, _, *by_category = markdown_heads(Path("leaderboards/mvtec_ad-one-class.md").read_text(encoding="utf-8"))
    assert first == ranking
    for head in by_category:
        assert head == [title for title in result if title in head], "the same order"


def test_a_cell_says_the_same_in_markdown_and_on_the_page(bench, table):
    assert bench("leaderboard", "runs").status == 0
    text, page = (Path(f"leaderboards/mvtec_ad-one-class.{end}").read_text(encoding="utf-8") for end in ("md", "html"))
    grid = ranked(table.key, table.rankings[0])
    shown = [cell.marked for line in grid.lines for key, cell in line.cells.items() if cell.text and key != "method"]
    assert len(shown) > 20
    for words in shown:
        assert words.replace("*", r"\*") in text
        assert f">{words}</td>" in page


def test_complete_grids_have_every_metric_and_cost_of_the_records(table):
    of_category = [entry for entry in entries(table) if entry.category == "screw"]
    for entry in of_category:
        found = {column.metric: cell.value for column, cell in entry.values}
        record = entry.line.row.records[0]
        assert set(record.metrics) <= set(found)
        assert found["peak_memory_bytes"] == record.cost.peak_memory_bytes, "as the record has it"
    assert {entry.category for entry in entries(table)} == {*FIVE, "mean", "textures", "objects"}


def test_means_over_two_sets_of_images_stay_two_rows_in_the_wide_table(own_folder):
    runs = own_folder / "sets"
    for model in ("one", "other"):
        for digest in ("a" * 64, "b" * 64):
            write_seeds(runs, (0.7 if digest < "b" else 0.9,), model=model, digest=digest)
        write_seeds(runs, (0.5,), model=model, category="bottle")
    ((table,),) = build_tables(collect([runs]).sources, intervals=False).values()
    names, rows = wide_table(table)
    means = [dict(zip(names, row, strict=True)) for row in rows if row[0] == "mean" and row[2] == "one"]
    assert [row["image_auroc"] for row in means] == [pytest.approx(0.6), pytest.approx(0.7)]
