"""`bench data`: import, download, check and describe the images."""

from bench.cli import data
from bench.cli.groups import Commands

_EXAMPLES = """Examples:
  bench data import ~/photos --name tablet
  bench data download --category screw --data.root ~/mvtec_ad
  bench data check --data.root ~/mvtec_ad
  bench data describe --category screw --data.root ~/mvtec_ad --out screw
  bench data export --category screw --format coco --data.root ~/mvtec_ad
"""

run = Commands(
    data,
    ("import", "describe", "check", "download", "export", "cache"),
    kind="command of bench data",
    none="no command of bench data; name one: import, describe, check, download, export, cache",
    help="Get the images, see whether they are the published ones, and what is in them.",
    epilog=_EXAMPLES,
)
