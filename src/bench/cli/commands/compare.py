"""`bench compare`: show two runs side by side."""

import json
import math
import re
from typing import TYPE_CHECKING, Any

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import RUN
from bench.escaping import terminal

if TYPE_CHECKING:
    from bench.leaderboard.run_comparison import Comparison
    from bench.metrics.bootstrap import Difference

_HASH = re.compile("[0-9a-f]{40,}")


@command(
    "Settings, figures and costs of two runs side by side; with 95 % intervals of a paired bootstrap over the test "
    "images that both predicted.",
    Argument("before", type=RUN, metavar="RUN", about="folder of a run, or its record"),
    Argument("after", type=RUN, metavar="RUN", about="the other; differences are this one's minus the first's"),
    option("--json", is_flag=True, help="print as JSON instead of tables"),
)
def run(known: Known) -> int:
    """Print two runs side by side, as tables or as JSON."""
    from bench.records.record import Record

    for path in (known.before, known.after):
        Record.read(path)  # before what compares them is imported

    from bench.leaderboard.run_comparison import compare_runs

    found = compare_runs(known.before, known.after)
    if known.json:
        print(json.dumps(found.as_dict(), indent=2, allow_nan=False))
    else:
        _print(found)
    return 0


def _print(found: "Comparison") -> None:
    from bench.console import plain_console
    from bench.metrics.catalogue import smaller_is_better

    console = plain_console()
    for number, record in (("first", found.before), ("second", found.after)):
        title = f"{number:<8}{record.model} on {record.category} ({record.dataset}), seed {record.seed}"
        console.print(terminal(f"{title}, {record.fingerprint}"), soft_wrap=True)
    if found.settings:
        rows = [[key, _text(one), _text(other)] for key, (one, other) in found.settings.items()]
        console.print(_table(["differs in", "first", "second"], rows))
    else:
        console.print("\nThe settings are the same.")
    rows = []
    for name, (one, other) in found.metrics().items():
        if smaller_is_better(name) is None:  # each method's threshold has its own unit
            rows.append([name, _number(one), _number(other), "-", "-"])
            continue
        rows.append([name, _number(one), _number(other), *_difference(found.differences.get(name), one, other)])
    console.print(_table(["figure", "first", "second", "difference", "95 % interval"], rows))
    console.print(
        f"intervals: paired bootstrap over {found.images}" if found.differences else found.images, soft_wrap=True
    )
    rows = [[name, _text(one), _text(other)] for name, (one, other) in found.costs().items()]
    if rows:
        console.print(_table(["cost", "first", "second"], rows))


def _table(titles: list[str], rows: list[list[str]]) -> Any:
    from rich import box
    from rich.table import Table

    from bench.console import add_row

    table = Table(box=box.SIMPLE, pad_edge=False)
    for place, title in enumerate(titles):
        table.add_column(title, justify="right" if place else "left", overflow="fold")
    for row in rows:
        add_row(table, row)
    return table


def _difference(found: "Difference | None", one: float | None, other: float | None) -> list[str]:
    """The difference over the shared images where there are predictions, else that of the records."""
    if found is not None:
        if math.isnan(found.low):
            return ["-", "not defined"]
        return [f"{found.value:+.4f}", f"[{found.low:+.4f}, {found.high:+.4f}]"]
    return [f"{other - one:+.4g}" if one is not None and other is not None else "-", "-"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}" if abs(value) <= 1 else f"{value:.4g}"


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "-" if value is None else str(value)
    return text[:12] if _HASH.fullmatch(text) else text
