"""`bench data`: what a person does with the images before any run."""

import argparse
from collections.abc import Callable

from bench.arguments import Parser
from bench.errors import UsageError, unknown

_EXAMPLES = """examples:
  bench data download --category screw --data.root ~/mvtec_ad
  bench data check --data.root ~/mvtec_ad
  bench data describe --category screw --data.root ~/mvtec_ad --out screw
  bench data export --category screw --format coco --data.root ~/mvtec_ad
"""


def data(typed: list[str]) -> int:
    """download, check and describe the images"""
    if not typed:
        raise UsageError(f"no command of bench data; name one: {', '.join(_SUBCOMMANDS)}")
    if typed[0] in ("-h", "--help"):
        _parser().print_help()
        return 0
    subcommand = _SUBCOMMANDS.get(typed[0])
    if subcommand is None:
        raise unknown("command of bench data", typed[0], _SUBCOMMANDS)
    return subcommand(typed[1:])


def _parser() -> Parser:
    lines = "\n".join(f"  {name:<14}{str(function.__doc__).splitlines()[0]}" for name, function in _SUBCOMMANDS.items())
    return Parser(
        prog="bench data",
        usage="bench data COMMAND [OPTIONS]",
        description="Get the images, see whether they are the published ones, and what is in them.",
        epilog=f"commands:\n{lines}\n\n{_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _describe(typed: list[str]) -> int:
    """tell what is in a category: classes, sizes, defects, near-duplicates, a contact sheet"""
    from bench.data.describe_command import describe

    return describe(typed)


def _check(typed: list[str]) -> int:
    """name each deviation from the published dataset"""
    from bench.data.check_command import check

    return check(typed)


def _download(typed: list[str]) -> int:
    """get MVTec AD from its maker, or from an archive at hand"""
    from bench.data.download.command import download

    return download(typed)


def _export(typed: list[str]) -> int:
    """write images and masks for detectors and segmenters: COCO, YOLO, SAM"""
    from bench.data.export.command import export

    return export(typed)


def _cache(typed: list[str]) -> int:
    """show what the decoded images take on the disk, or remove them"""
    from bench.data.cache_command import cache

    return cache(typed)


_SUBCOMMANDS: dict[str, Callable[[list[str]], int]] = {
    "describe": _describe,
    "check": _check,
    "download": _download,
    "export": _export,
    "cache": _cache,
}
