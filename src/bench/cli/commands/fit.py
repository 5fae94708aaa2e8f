"""`bench fit`: train and test one method on one category."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.command import HELP, Argument, Known, command, option
from bench.cli.completion import CATEGORY, FIT_WORD, FOLDER, RUN, complete_settings
from bench.cli.options import config_option, one_model_option, quiet_option, run_options, tracking_options
from bench.console import is_main_process, say
from bench.errors import UsageError

if TYPE_CHECKING:
    from bench.config.settings import Config, Layers

_SETTINGS = """Settings, typed by the method; 'bench fit NAME --help' lists them:
  --seed N, --protocol model|full, --threshold_quantile Q, --patience N,
  --model.NAME VALUE, --data.NAME VALUE, --trainer.NAME VALUE
In short, the last part of such a name, or:
  --epochs N, --lr RATE, --batch-size N, --image-size N, --optimizer NAME,
  --device cpu|cuda|cuda:1, --gpus N, --workers N
"""


@command(
    "Train and test one method on one category.",
    Argument("words", nargs=-1, type=FIT_WORD, metavar="[MODEL] [CATEGORY]"),
    option(*HELP, is_flag=True, help="show this, and with --model the method's settings, a line each"),
    option("--help-all", is_flag=True, help="with --model: all settings in full, the Trainer's too"),
    *run_options(),
    option("--category", type=CATEGORY, metavar="NAME", help="category: a folder below the data root, such as screw"),
    one_model_option(),
    config_option(),
    option("--print_config", is_flag=True, help="print all settings, in the form --config reads"),
    option("--runs", type=FOLDER, metavar="FOLDER", help="folder of all runs (default: runs)"),
    option("--force", is_flag=True, help="run again although a finished record is there"),
    option("--resume", type=RUN, metavar="RUN", help="go on with an interrupted run, from its last epoch"),
    *tracking_options("the model's name"),
    quiet_option(),
    settings=complete_settings,
    own_help=True,
    epilog=_SETTINGS,
)
def run(known: Known) -> int:
    """Train and test one method, and print its record."""
    if known.help or known.help_all:
        return _print_help(known)
    files, layers, options = read_words(known)

    from bench.config.settings import resolve

    asked = {"model": known.model, "data": known.data, "category": known.category, "files": files}
    if known.print_config:
        print(_for_products(resolve(**asked, options=options), known).to_yaml(), end="")
        return 0

    _check(known, layers, options)

    from bench.runs.telling import announced

    with announced(layers, options):
        config = _for_products(resolve(**asked, options=options), known)

        from bench.cli.terminal import print_record
        from bench.interface.run import fit_configured
        from bench.runs.run import Options

    done = fit_configured(
        config,
        Options(
            runs=known.runs or Path("runs"),
            force=known.force,
            resume=known.resume,
            wandb=known.wandb,
            group=known.group,
            wandb_images=known.wandb_images,
            wandb_checkpoint=known.wandb_checkpoint,
            progress=True,
        ),
    )
    if is_main_process():
        if not done.is_new:
            say(f"bench: finished before, on {done.record.started}; --force runs it again")
        print_record(done.record, done.folder, as_json=known.json)
    return 0


def read_words(known: Known) -> "tuple[list[Any], Layers, dict[str, str]]":
    """The files of settings of a run, what it is of, and its typed settings."""
    from bench.config.products import joined_name, read_products
    from bench.config.setting_words import read_words

    take_positional(known)
    if known.one_model is not None:
        if known.category is not None:
            raise UsageError(f"--one-model names the products; leave out the category {known.category}")
        known.one_model = read_products(known.one_model)
        known.category = joined_name(known.one_model)
    return read_words(
        known.settings,
        model=known.model,
        data=known.data,
        category=known.category,
        files=known.config,
        resume=known.resume,
    )


def _check(known: Known, layers: "Layers", options: dict[str, str]) -> None:
    from bench.cli.early import check_cell, check_one_model, check_place

    check_one_model([layers.model] if known.one_model is not None else [], options)
    check_cell(layers, known.one_model or layers.categories, options)
    check_place(known.runs or Path("runs"), "--runs FOLDER")


def _for_products(config: "Config", known: Known) -> "Config":
    """The settings, for the products of `--one-model` where it was typed."""
    if known.one_model is None:
        return config
    from bench.data.products import one_model_for  # imports torch

    return one_model_for(config, known.one_model)


def take_positional(known: Known) -> None:
    """Take the words without an option's name for the method and the category, whichever is not named yet."""
    for word in _model_first(known):
        name = next((name for name in ("model", "category") if getattr(known, name) is None), None)
        if name is None:
            raise UsageError(f"'{word}' belongs to no option; see 'bench fit --help'")
        setattr(known, name, word)


def _model_first(known: Known) -> tuple[str, ...]:
    """The method before the category, whichever was typed first."""
    from bench.config.presets import names_preset, preset_names
    from bench.data.facts import known_categories

    words: tuple[str, ...] = known.words
    if known.model is not None or not words or names_preset("model", words[0]):
        return words
    if len(words) == 2 and names_preset("model", words[1]):
        return words[1], words[0]
    if any(words[0] in known_categories(data) for data in preset_names("data")):
        raise UsageError(f"{words[0]} is a category; name a method before it: bench fit padim {words[0]}")
    return words


def _print_help(known: Known) -> int:
    take_positional(known)
    if not known.model:
        print(click.get_current_context().get_help())
        return 0
    from bench.cli.method_help import method_help
    from bench.config.settings import settings_help

    short = None if known.help_all else method_help(known.model, known.data)
    print(settings_help(known.model, known.data) if short is None else short)
    return 0
