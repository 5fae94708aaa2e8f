"""docs/published.md shows the figures that `published.json` holds."""

from pathlib import Path

from published_page import tables

PAGE = Path(__file__).parents[2] / "docs" / "published.md"


def test_the_page_shows_the_figures_of_the_file():
    assert PAGE.read_text(encoding="utf-8").endswith(tables()), "write the tables of tests/published_page.py"
