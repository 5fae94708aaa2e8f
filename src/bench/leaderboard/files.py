"""The files of a leaderboard: the tables are computed once and written in every format."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.leaderboard.csv_file import render_csv
from bench.leaderboard.leaderboard_page import render_page
from bench.leaderboard.markdown import render_markdown
from bench.leaderboard.tables import Table

# Writers by the suffix of their files; each takes name, tables and the resolved folder that links start from.
FORMATS: dict[str, Callable[[str, Sequence[Table], Path], str]] = {
    ".md": render_markdown,
    ".csv": render_csv,
    ".html": render_page,
}


def render(leaderboards: Mapping[str, Sequence[Table]], out: Path) -> dict[Path, str]:
    """The text of every file of the leaderboards in `out`; the same records give the same text."""
    return {
        out / f"{name}{suffix}": write(name, tables, out.resolve())
        for name, tables in leaderboards.items()
        for suffix, write in FORMATS.items()
    }
