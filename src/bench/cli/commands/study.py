"""`bench study`: parse the options and write the table of a study."""

from pathlib import Path

from bench.cli.arguments import Parser
from bench.console import tell


def run(typed: list[str]) -> int:
    """tell what each variant of a sweep changed, and whether that is more than chance"""
    parser = Parser(prog="bench study", description="Compare the variants of a sweep with its baseline.")
    parser.add_argument("sweep", help="a sweep file with a baseline, or a name in conf/sweep")
    parser.add_argument("records", nargs="*", type=Path, default=[Path("runs")], help="folders of runs or records")
    parser.add_argument("--out", type=Path, default=Path("leaderboards"), help="folder of the table")
    parser.add_argument("--models", metavar="A,B", help="methods, instead of the file's, as for the sweep")
    known = parser.parse_all(typed)
    from bench.leaderboard.study import write_study
    from bench.sweep.plan import plan, read_sweep

    sweep = read_sweep(known.sweep, {"models": known.models and known.models.split(",")})
    tell(write_study(Path(known.sweep).stem, sweep, plan(sweep, {}), known.records, known.out))
    return 0
