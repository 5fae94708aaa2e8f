"""Parse the command line: argparse reads the fixed options; dotted settings go to the classes that they belong to."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from bench.config.paths import check_path, expanded
from bench.errors import UsageError, unknown

FREE_SETTINGS = ("seed", "protocol", "threshold_quantile", "patience")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that reports a mistake as a UsageError, in one line like every other mistake."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def parse_known_args(self, *arguments: Any, **options: Any) -> tuple[Any, list[str]]:
        """Parse options and expand `~` in all of them; a path that no file can have is a UsageError."""
        known, rest = super().parse_known_args(*arguments, **options)
        for name, value in vars(known).items():
            setattr(known, name, expanded(value))
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Path) or "\0" in str(each):
                    check_path(Path(each))
        return known, rest

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see '{self.prog} --help'")

    def parse_all(self, typed: list[str]) -> argparse.Namespace:
        """Parse options; a word left over is a UsageError."""
        known: argparse.Namespace
        known, rest = self.parse_known_args(typed)
        if rest:
            raise self.unknown_option(rest[0])
        return known

    def unknown_option(self, word: str, others: Iterable[str] = ()) -> UsageError:
        """The error for an unknown `word`, with the nearest option of this command."""
        if not word.startswith("--"):
            return UsageError(f"'{word}' belongs to no option; see '{self.prog} --help'")
        own = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
        return unknown("option", word.partition("=")[0], [*own, *others])


def run_parser(command: str, about: str) -> Parser:
    """The options that `fit` and `test` share."""
    parser = Parser(prog=f"bench {command}", description=about, add_help=False)
    parser.add_argument("-h", "--help", action="store_true", help="show this, and with --model the method's settings")
    parser.add_argument(
        "--model", metavar="NAME", help="method: a name from 'bench models', or a YAML file of your own"
    )
    parser.add_argument("--data", metavar="NAME", help=data_help())
    parser.add_argument("--json", action="store_true", help="print the record as JSON instead of tables")
    return parser


def data_help() -> str:
    """The help of `--data`, with the names of the datasets."""
    from bench.config.presets import DEFAULT_DATA, preset_names  # imports YAML; the list of commands needs none

    others = ", ".join(name for name in preset_names("data") if name != DEFAULT_DATA)
    return f"dataset: {DEFAULT_DATA} (default), {others}, or a YAML file"


def add_tracking(parser: Parser, group: str) -> None:
    """Add the Weights & Biases options of `fit` and `sweep`."""
    modes = ("online", "offline", "disabled")
    parser.add_argument("--wandb", choices=modes, help="Weights & Biases (default: online with a key)")
    parser.add_argument("--group", help=f"W&B group (default: {group})")
    parser.add_argument(
        "--wandb_images",
        choices=("auto", "on", "off"),
        default="auto",
        help="test images to W&B: auto (default) = synthetic ones only, for licences forbid much; see docs",
    )
    parser.add_argument("--wandb_checkpoint", action="store_true", help="the finished model to W&B, as an artifact")


def read_settings(rest: list[str], parser: Parser) -> dict[str, str]:
    """`--model.latent_dim 64` and `--model.latent_dim=64` as a mapping of dotted names to text."""
    options: dict[str, str] = {}
    words = iter(rest)
    for word in words:
        key, equals, value = word[2:].partition("=")
        if not word.startswith("--") or ("." not in key and key not in FREE_SETTINGS):
            raise parser.unknown_option(word, [f"--{name}" for name in FREE_SETTINGS])
        if not equals:
            value = next(words, "--")
            if value.startswith("--"):
                raise UsageError(f"--{key} expects a value")
        options[key] = value
    return options
