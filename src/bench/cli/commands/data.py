"""`bench data`: commands on the images, before any run."""

from bench.cli import data
from bench.cli.listing import command_names, load_command, print_commands
from bench.errors import UsageError, unknown

_FIRST = ("describe", "check", "download", "export", "cache")
_ABOUT = "Get the images, see whether they are the published ones, and what is in them."
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
        print_commands(data, names, prog="bench data", description=_ABOUT, examples=_EXAMPLES)
        return 0
    if typed[0] not in names:
        raise unknown("command of bench data", typed[0], names)
    return load_command(data, typed[0])(typed[1:])
