"""`--threshold` of the commands that use a finished run: a threshold instead of its record's."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench.cli.command import option
from bench.cli.completion import FILE_NAME
from bench.console import say

if TYPE_CHECKING:
    from bench.records.record import Record
    from bench.runs.chosen_threshold import TakenThreshold


def threshold_option() -> click.Option:
    """`--threshold`, a number or a file."""
    return option(
        "--threshold",
        type=FILE_NAME,
        metavar="NUMBER|FILE",
        help="that decides instead of the record's: a number, or a threshold.json of 'bench threshold' or 'accept'",
    )


def taken_threshold(run: Path, record: "Record", given: str | None) -> "TakenThreshold | None":
    """The threshold to take instead of the record's; says where one was chosen and is not taken."""
    from bench.records.chosen_threshold import THRESHOLD
    from bench.runs import chosen_threshold

    if given is not None:
        return chosen_threshold.taken_threshold(run, record, given)
    if (chosen := run / THRESHOLD).is_file():
        say(f"bench: the record's threshold decides, not the one chosen later; to take that: --threshold {chosen}")
    return None
