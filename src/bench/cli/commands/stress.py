"""`bench stress`: score test images under changes of light, contrast, blur, noise, JPEG and position."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.command import Argument, Known, command, option
from bench.cli.completion import FOLDER, RUN
from bench.cli.options import device_option, own_file_options, root_option
from bench.console import add_row, plain_console, say, tell
from bench.escaping import terminal
from bench.writing import check_folder, write_atomically, writing_to

if TYPE_CHECKING:  # these import torch
    from bench.stress.measure import Stress

PAGE = "stress.html"
_ON_THE_PAGE = ("to anomalous", "to good")  # the two directions of flips, which the page and JSON tell apart


@command(
    "Score the test images of finished runs again under six changes (light, contrast, blur, noise, JPEG, shift) in "
    "three strengths each, at the runs' unchanged thresholds: AUROC, false alarms, misses, flipped verdicts.",
    Argument("runs", nargs=-1, required=True, type=RUN, metavar="RUN...", about="folders of one-class runs"),
    option("--out", type=FOLDER, metavar="FOLDER", help=f"of the page {PAGE} (default: the first run's folder)"),
    option(
        "--seed", type=click.IntRange(0, 2**32 - 1), default=0, metavar="N", help="of noise and shifts (default: 0)"
    ),
    option("--no-pixels", is_flag=True, help="leave out the figures of pixels, the slow part with large masks"),
    option("--json", is_flag=True, help="print as JSON instead of tables"),
    root_option("where the runs' data lie now"),
    device_option(),
    *own_file_options(),
)
def run(options: Known) -> int:
    """Put runs under stress, print the figures and write the page."""
    from bench.records.record import Record

    for folder in options.runs:
        Record.read(folder)  # `read_finished` reads it as well, after the import of torch
    out: Path = options.out or options.runs[0]
    check_folder(out, "--out FOLDER")

    from bench.runs.telling import telling
    from bench.stress.measure import put_under_stress
    from bench.stress.page import render
    from bench.stress.tested_runs import read_runs

    own = {name: getattr(options, name) for name in ("model", "data", "root", "device")}
    with telling("bench stress", progress=True):
        found = put_under_stress(read_runs(options.runs, **own), seed=options.seed, pixels=not options.no_pixels)
        page = render(found)
    with writing_to(out, "--out FOLDER"):
        out.mkdir(parents=True, exist_ok=True)
        write_atomically(out / PAGE, page)
    if options.json:
        print(json.dumps(found.as_dict(), indent=2, allow_nan=False))
        say(f"bench: {out / PAGE}")
    else:
        _print(found)
        tell(out / PAGE)
    return 0


def _print(found: "Stress") -> None:
    from rich import box
    from rich.table import Table

    from bench.stress.page import cells, notes, titles

    console = plain_console()
    for place, one in enumerate(found.runs):
        title = f"{one.name} on {one.record.category}, threshold {one.threshold:.4g}"
        console.print(terminal(title), soft_wrap=True)
        table = Table(box=box.SIMPLE, pad_edge=False)
        names = ["images", *titles(found)]
        shown = [number for number, name in enumerate(names) if name not in _ON_THE_PAGE]
        for number in shown:  # titles of two words on two lines, so that no number is folded in 80 columns
            table.add_column(names[number].replace(" ", "\n"), justify="right" if number else "left", no_wrap=True)
        for row in found.rows:
            written = [row.label, *cells(row.figures[place], found)]
            add_row(table, [written[number] for number in shown])
        console.print(table)
    for note in notes(found):
        console.print(terminal(note), soft_wrap=True)
