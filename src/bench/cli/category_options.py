"""The options that choose the images of a `bench data` command, and the categories that they name."""

from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bench.cli.arguments import Parser, data_help
from bench.console import say
from bench.data.layout import ALL
from bench.errors import UsageError

if TYPE_CHECKING:  # imports torch, which help does not need
    from bench.data.datamodule import DefectData


def add_data_options(parser: Parser) -> None:
    """Add `--category`, `--data` and `--data.root`, as for `bench fit`."""
    parser.add_argument("--category", metavar="NAME", help="a folder below the data root, or all of them: all")
    parser.add_argument("--data", metavar="NAME", help=data_help())
    parser.add_argument(
        "--data.root", dest="root", metavar="FOLDER", help="folder that holds the categories (default: BENCH_DATA)"
    )
    add_reading_options(parser)


def add_reading_options(parser: Parser) -> None:
    """Add `--data.masks` and the other settings that turn files into pixels, as for `bench fit`."""
    parser.add_argument("--data.masks", dest="masks", choices=("required", "optional"), help="whether some may lack")
    parser.add_argument(
        "--data.mask_threshold", dest="mask_threshold", type=int, metavar="N", help="least grey value of a defect"
    )
    parser.add_argument("--data.bits", dest="bits", type=int, metavar="N", help="that deep grey images use, 9 to 16")


def reading_settings(known: Namespace) -> dict[str, Any]:
    """These settings and the root, without those that were not typed."""
    typed = {name: getattr(known, name) for name in ("root", "masks", "mask_threshold", "bits")}
    return {name: value for name, value in typed.items() if value is not None}


def chosen_categories(known: Namespace) -> Iterator[tuple[str, "DefectData"]]:
    """Yield the dataset's name and the data of each chosen category; a UsageError where no category is named."""
    data, category = known.data, known.category
    from bench.config.presets import DEFAULT_DATA, read_preset
    from bench.data.remarks import remarks

    if not category:
        raise UsageError("no category; name one: --category screw, or all: --category all")
    preset = read_preset("data", DEFAULT_DATA if data is None else data)
    load = preset.load_class()
    settings = dict(preset.settings.get("data", {})) | reading_settings(known)
    names = load(ALL, 0, "model", **settings).category_names() if category == ALL else [category]
    for name in names:
        found: DefectData = load(name, 0, "model", **settings)
        for line in remarks(found.whole):
            say(f"bench: {line}")
        yield found.dataset_name(preset.name, settings), found
