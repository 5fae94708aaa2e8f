"""The options that name the cells of a sweep, which `bench sweep` and `bench study` share."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.command import Known, option
from bench.cli.completion import CATEGORIES, DATASETS, MODELS
from bench.cli.options import config_option, one_model_option
from bench.config.presets import DEFAULT_DATA, Preset, read_preset
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.sweep.plan import Sweep


def parse_seeds(text: str) -> list[int]:
    """`0,1,2` as numbers."""
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise UsageError(f"--seeds expects numbers such as 0,1,2, not '{text}'") from None


def grid_options() -> list[click.Option]:
    """Methods, categories, seeds, settings with several values, dataset and files of settings."""
    return [
        option("--models", "--model", type=MODELS, metavar="A,B", help="methods, instead of the file's"),
        option(
            "--categories", "--category", type=CATEGORIES, metavar="A,B", help="categories, or all that the data have"
        ),
        one_model_option(),
        option("--seeds", type=parse_seeds, metavar="0,1,2", help="seeds (default: 0)"),
        option("--set", multiple=True, metavar="NAME=A,B", help="a setting with several values; repeatable"),
        option(
            "--data",
            type=DATASETS,
            metavar="A,B",
            help="dataset, as for 'bench fit'; each of several in the folder of its name below --data.root",
        ),
        config_option(),
    ]


def read_grid(known: Known) -> "Sweep":
    """The sweep of the typed file and lists."""
    from bench.sweep.plan import read_sweep

    return read_sweep(known.sweep, grid_lists(known))


def grid_lists(known: Known) -> dict[str, list[Any] | None]:
    """The typed lists, which replace those of a sweep's file."""
    return {name: getattr(known, name) for name in ("models", "categories", "one_model", "seeds")}


def read_grid_words(known: Known, launcher: Preset | None = None) -> dict[str, str]:
    """The typed settings by their full names, and `--set` with the full names of its settings."""
    from bench.config.setting_words import Vocabulary, any_vocabulary

    if known.sweep is None and known.models is None:
        any_vocabulary(known.settings, launcher).full()  # an unknown option is the first mistake to tell
    from bench.sweep.datasets import datasets_of

    grid = read_grid(known)
    data = read_preset("data", datasets_of(known.data or grid.data)[0] or DEFAULT_DATA)
    words = Vocabulary(known.settings, [read_preset("model", name) for name in grid.models], data, launcher)
    options = words.full()
    known.set = [words.in_full(text) for text in known.set]
    return options


def grid_words(known: Known, settings: dict[str, str]) -> list[str]:
    """The words that name the same cells again."""
    words: list[str] = []
    lists = {"--models": known.models, "--categories": known.categories, "--seeds": known.seeds, "--data": known.data}
    lists["--one-model"] = known.one_model
    for name, values in lists.items():
        words += [name, ",".join(map(str, values))] if values else []
    words += [word for text in known.set for word in ("--set", text)]
    words += [word for file in known.config for word in ("--config", str(file))]
    return words + [word for name, value in settings.items() for word in (f"--{name}", value)]


def typed_runs(runs: Path) -> list[str]:
    """The folder of runs as a word, where it is not the default."""
    return [] if runs == Path("runs") else [str(runs)]
