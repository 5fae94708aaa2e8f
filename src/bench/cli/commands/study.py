"""`bench study`: tell how each variant or method of a sweep differs from one, and whether that is more than chance."""

from pathlib import Path

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER, SWEEP, complete_settings
from bench.cli.grid_options import grid_options, read_grid, read_grid_words
from bench.console import tell


@command(
    "Compare the variants or methods of a sweep with one of them. The sweep's own settings name its cells: type them "
    "again.",
    Argument("sweep", type=SWEEP, about="a sweep file, or a name in conf/sweep"),
    Argument(
        "records", nargs=-1, type=FOLDER, metavar="[RECORDS]...", about="folders of runs or records (default: runs)"
    ),
    *grid_options(),
    option(
        "--baseline", metavar="NAME", help="variant or method that the others are compared with (default: the file's)"
    ),
    option("--out", type=FOLDER, default="leaderboards", metavar="FOLDER", help="folder of the table"),
    settings=complete_settings,
)
def run(known: Known) -> int:
    """Write the table of a study."""
    settings = read_grid_words(known)
    sweep = read_grid(known)

    from bench.leaderboard.study import write_study
    from bench.sweep.plan import plan, read_sets

    cells = plan(sweep, settings, known.data, files=known.config, sets=read_sets(known.set))
    tell(write_study(Path(known.sweep).stem, sweep, cells, known.records or [Path("runs")], known.out, known.baseline))
    return 0
