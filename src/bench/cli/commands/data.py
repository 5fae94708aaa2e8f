"""`bench data`: commands on the images, before any run."""

import argparse
from collections.abc import Sequence

from bench.cli import data
from bench.cli.arguments import Parser
from bench.cli.listing import command_names, describe_commands, load_command
from bench.errors import UsageError, unknown

_FIRST = ("describe", "check", "download", "export", "cache")
_EXAMPLES = """examples:
  bench data download --category screw --data.root ~/mvtec_ad
  bench data check --data.root ~/mvtec_ad
  bench data describe --category screw --data.root ~/mvtec_ad --out screw
  bench data export --category screw --format coco --data.root ~/mvtec_ad
"""


def run(typed: list[str]) -> int:
    """download, check and describe the images"""
    names = command_names(data, _FIRST)
    if not typed:
        raise UsageError(f"no command of bench data; name one: {', '.join(names)}")
    if typed[0] in ("-h", "--help"):
        _parser(names).print_help()
        return 0
    if typed[0] not in names:
        raise unknown("command of bench data", typed[0], names)
    return load_command(data, typed[0])(typed[1:])


def _parser(names: Sequence[str]) -> Parser:
    return Parser(
        prog="bench data",
        usage="bench data COMMAND [OPTIONS]",
        description="Get the images, see whether they are the published ones, and what is in them.",
        epilog=f"commands:\n{describe_commands(data, names)}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
