"""Which images a command of `bench data` is about: the options, and the categories that they name."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.arguments import Parser
from bench.data.layout import Category
from bench.errors import UsageError

if TYPE_CHECKING:  # it brings torch, and help needs none
    from bench.data.datamodule import MVTecAD

ALL = "all"  # in the place of a category


def add_data_options(parser: Parser) -> None:
    """`--category`, `--data` and `--data.root`, as for `bench fit`."""
    parser.add_argument("--category", metavar="NAME", help="a folder below the data root, or all of them: all")
    parser.add_argument("--data", metavar="NAME", help="dataset: mvtec_ad (default) or synthetic, or a YAML file")
    parser.add_argument(
        "--data.root", dest="root", metavar="FOLDER", help="folder that holds the categories (default: BENCH_DATA)"
    )


def chosen_categories(data: str | None, root: str | None, category: str | None) -> Iterator[tuple[str, Category]]:
    """Name of the dataset and category, one after the other; a UsageError where there is none."""
    from bench.data.datamodule import MVTecAD
    from bench.presets import read_preset

    if not category:
        raise UsageError("no category; name one: --category screw, or all: --category all")
    preset = read_preset("data", data or "mvtec_ad")
    load = preset.load_class()
    if not issubclass(load, MVTecAD):
        raise UsageError(f"class_path '{preset.class_path}' of '{preset.name}' is no {MVTecAD.__name__}")
    settings = dict(preset.settings.get("data", {}))
    if root:
        settings["root"] = root
    names = category_names(load(ALL, 0, "model", **settings)) if category == ALL else [category]
    for name in names:
        yield preset.name, load(name, 0, "model", **settings).whole


def category_names(data: "MVTecAD") -> list[str]:
    """Every category that the data have."""
    from bench.data.synthetic import Synthetic
    from bench.data.synthetic_images import CATEGORIES

    return list(CATEGORIES) if isinstance(data, Synthetic) else categories_below(data.find_root())


def categories_below(root: Path) -> list[str]:
    """Names of the folders with training images; a UsageError where there is none."""
    found = sorted(path.parents[1].name for path in root.glob("*/train/good"))
    if not found:
        raise UsageError(f"no category in {root}; expected CATEGORY/train/good there")
    return found
