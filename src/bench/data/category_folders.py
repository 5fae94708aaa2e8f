"""Where the images of a category lie: the folder of the categories, and the category's own. No image is opened."""

import os
from collections.abc import Mapping
from pathlib import Path

from bench.config.plain_names import plain_name
from bench.config.presets import preset_names
from bench.errors import UsageError, unknown

ALL = "all"  # given instead of a category
GOOD = "good"  # the folder of images without defects


def named_root(typed: str | None) -> Path:
    """The folder that holds the categories: what was typed, else BENCH_DATA; a UsageError where none is named."""
    named = typed or os.environ.get("BENCH_DATA")
    if not named:
        raise UsageError(
            "no data folder; name the one that holds the categories with --data.root or BENCH_DATA, "
            "or try --data synthetic"
        )
    return Path(named).expanduser()


def name_of_root(root: Path) -> str:
    """The name of a dataset of one's own, which is that of its folder; a UsageError where that cannot be one."""
    absolute = Path(os.path.abspath(root))  # noqa: PTH100 - drops `..`, keeps link names
    if absolute.name.casefold() in preset_names("data"):
        raise UsageError(
            f"{absolute} has the name of a dataset of bench: use --data {absolute.name.casefold()}, or rename the "
            "folder"
        )
    try:
        return plain_name(absolute.name)
    except ValueError as error:
        raise UsageError(
            f"{str(absolute)!r} cannot name a dataset: {error}; rename the folder, or give --data.root another"
        ) from error


def category_folder(root: Path, name: str, obtainable: Mapping[str, str]) -> Path:
    """The folder of a category; a UsageError names what is missing and what to do.

    `obtainable` maps categories to how they get into the root: `unpack screw.tar.xz there`.
    """
    if not root.is_dir():
        raise UsageError(
            f"no data folder at {root}; name the folder that holds the categories: --data.root or BENCH_DATA"
        )
    folder = root / name
    present = {p.name for p in root.iterdir() if p.is_dir()}
    if name not in present:  # a path such as `../screw` may well be a folder, and is no category
        if (root / "train" / GOOD).is_dir():
            raise UsageError(
                f"{root} is a category itself, it holds train/{GOOD}; name the folder above it, and the category: "
                f"--data.root {root.absolute().parent} --category {root.absolute().name}"
            )
        if name in obtainable:
            raise UsageError(f"no category folder {folder}; {obtainable[name]}, or set --data.root")
        raise unknown("category", name, present | obtainable.keys())
    return folder
