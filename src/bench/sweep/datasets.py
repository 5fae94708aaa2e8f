"""The datasets of a sweep: where each of several lies, and which of the named categories it has."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.class_sources import read_source
from bench.config.paths import DATA, expanded
from bench.config.presets import DEFAULT_DATA, Preset, read_preset
from bench.data.category_folders import ALL
from bench.errors import UsageError, unknown

_NAMED_AFTER_ITS_ROOT = "folder"


# A dataset as it was named; None: the one that a file of settings names, else the default.
Named = str | None


def datasets_of(named: str | Sequence[str] | None) -> list[Named]:
    """The datasets that a sweep names, each once."""
    if named is None or isinstance(named, str):
        return [named]
    return list(dict.fromkeys(named)) or [None]


def root_of_each(datasets: Sequence[Named], settings: Mapping[str, Any]) -> dict[Named, dict[str, str]]:
    """The setting of the root of each of several datasets, `ROOT/NAME`; nothing for a single one.

    ROOT is what the settings or BENCH_DATA name. A dataset that makes its own images, or whose YAML file has its root,
    keeps what it has. A UsageError where ROOT is not named, or a dataset's folder is not in it.
    """
    if len(datasets) < 2:
        return {name: {} for name in datasets}
    return {name: _own_root(read_preset("data", name or DEFAULT_DATA), settings) for name in datasets}


def _own_root(data: Preset, settings: Mapping[str, Any]) -> dict[str, str]:
    if data.name == _NAMED_AFTER_ITS_ROOT:
        raise UsageError("--data folder bears the name of its root, so it is swept by itself: leave the others out")
    source, own = read_source(data), data.settings.get("data", {})
    if (source is not None and "find_root" in source.defined) or own.get("root"):
        return {}
    named = settings.get("data.root") or os.environ.get(DATA)
    if named in (None, "", "null"):
        raise UsageError(
            f"no data folder; of several datasets name the one that holds a folder of each, such as {data.name}: "
            "--data.root or BENCH_DATA"
        )
    root = Path(expanded(str(named)))
    if not (root / data.name).is_dir():
        raise UsageError(
            f"no folder {root / data.name}; of several datasets --data.root (or BENCH_DATA) holds a folder of each, by "
            "its name: move it there, or make a link"
        )
    return {"data.root": str(root / data.name)}


def categories_of_each(named: Sequence[str], known: Mapping[Named, Sequence[str]]) -> dict[Named, list[str]]:
    """The categories of each of several datasets that are meant: those named that it has, or with `all` all it has.

    A UsageError names a category that none has, and a dataset that has none of them.
    """
    if ALL in named:
        return {name: list(categories) for name, categories in known.items()}
    everywhere = {category for categories in known.values() for category in categories}
    if missing := next((category for category in named if category not in everywhere), None):
        raise unknown("category", missing, everywhere)
    chosen = {name: [each for each in dict.fromkeys(named) if each in own] for name, own in known.items()}
    if empty := next((name for name, categories in chosen.items() if not categories), None):
        own = ", ".join(sorted(known[empty]))
        raise UsageError(f"{empty} has no category {' or '.join(named)}; leave it out, or name one of {own}")
    return chosen
