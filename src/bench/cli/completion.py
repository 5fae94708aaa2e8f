"""What a shell offers for a word that is not whole yet. It is asked at each key, so nothing heavy is imported."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from bench.cli.command import PENDING
from bench.config.presets import DEFAULT_DATA, preset_names, read_preset
from bench.errors import UsageError

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:  # no generic class in releases before 8.5
    _ParamType = click.ParamType

Offers = Callable[[click.Context], Iterable[str]]


class Word(_ParamType):
    """A value that is one of some names, and may be another; with commas, several of them.

    Where no name fits, the shell completes a path: a `file`, or a folder (`dir`).
    """

    name = "text"

    def __init__(
        self, offers: Offers, read: Callable[[str], Any] = str, *, several: bool = False, path: str = ""
    ) -> None:
        self.offers, self.read, self.several, self.path = offers, read, several, path

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the command takes it."""
        return self.read(value) if isinstance(value, str) else value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """The names that begin with what is typed."""
        if pending := ctx.meta.get(PENDING):
            return complete_value(pending, incomplete)
        before, comma, last = incomplete.rpartition(",") if self.several else ("", "", incomplete)
        found = [f"{before}{comma}{name}" for name in self.offers(ctx) if name.startswith(last)]
        if not found and self.path:
            return [CompletionItem(incomplete, type=self.path)]
        return [CompletionItem(name) for name in found]


class PathWord(_ParamType):
    """A path, which the shell completes: of a `file`, or of a folder (`dir`)."""

    def __init__(self, kind: str, read: Callable[[str], Any] = Path) -> None:
        self.name, self.read = kind, read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the command takes it."""
        return self.read(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[str]]":
        """Leave it to the shell."""
        return [CompletionItem(incomplete, type=self.name)]


def _models(ctx: click.Context) -> list[str]:
    return preset_names("model")


def _datasets(ctx: click.Context) -> list[str]:
    return preset_names("data")


def _dataset(ctx: click.Context) -> str:
    """The dataset that was typed, the first one of several; the default without one."""
    typed = ctx.params.get("data") or DEFAULT_DATA
    return typed if isinstance(typed, str) else str(typed[0])


def _categories(ctx: click.Context) -> list[str]:
    """The folders below the data root with training images, or the categories that are drawn."""
    from bench.data.facts import categories_of

    data = _dataset(ctx)
    if data == "synthetic":
        return list(categories_of("synthetic"))
    typed = dict(getattr(ctx.params.get("settings"), "words", ()))
    root = ctx.params.get("root") or typed.get("--data.root") or typed.get("--root") or os.environ.get("BENCH_DATA")
    found = Path(root).expanduser().glob("*/train/good") if root else []
    return sorted(path.parents[1].name for path in found)


def _imported(ctx: click.Context) -> list[str]:
    """The categories below the data root, and those that `bench data import` made here."""
    here = (path.parents[1].name for path in Path("products").glob("*/train/good"))
    return sorted({*_categories(ctx), *here})


def _published(ctx: click.Context) -> list[str]:
    from bench.data.facts import known_categories

    return [*known_categories(_dataset(ctx)), "all"]


def _runs(ctx: click.Context) -> list[str]:
    """The folders of runs below the folder of all runs."""
    folder = Path(ctx.params.get("runs") or "runs")
    return sorted(
        {str(path.parent) for name in ("record.json", "config.yaml") for path in folder.glob(f"*/*/*/{name}")}
    )


def _first_words(ctx: click.Context) -> list[str]:
    """What `bench fit` takes without an option's name: a method, then a category."""
    typed = len(ctx.params.get("words") or ()) + bool(ctx.params.get("model"))
    return _models(ctx) if typed == 0 else _categories(ctx)


def split(text: str) -> list[str]:
    """`a, b` as a list of names."""
    return [name.strip() for name in text.split(",") if name.strip()]


FILE, FOLDER = PathWord("file"), PathWord("dir")
FILE_NAME, FOLDER_NAME = PathWord("file", str), PathWord("dir", str)
MODEL, DATA = Word(_models, path="file"), Word(_datasets, path="file")
CATEGORY, PUBLISHED, IMPORTED = Word(_categories), Word(_published), Word(_imported, path="dir")
MODELS, CATEGORIES = Word(_models, split, several=True), Word(_categories, split, several=True)
DATASETS = Word(_datasets, split, several=True, path="file")
RUN, FIT_WORD = Word(_runs, Path, path="dir"), Word(_first_words, path="file")
SWEEP = Word(lambda _: preset_names("sweep"), path="file")
LAUNCHER = Word(lambda _: preset_names("launcher"), path="file")


def complete_settings(ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
    """The settings of the chosen method and dataset, by their names; without a method, what all of them share."""
    from bench.config.setting_words import SHORT
    from bench.config.settings import setting_names

    params = ctx.params
    several = [*(params.get("words") or ()), *(params.get("models") or params.get("methods") or ())]
    named = params.get("model") or next(iter(several), None)
    with suppress(UsageError, OSError):
        data = read_preset("data", _dataset(ctx))
        names = setting_names(read_preset("model", named or "vae"), data)
        if not named:
            names = {name for name in names if not name.startswith("model.")}
        words = [f"--{name}" for name in [*sorted(names), *(name.replace("_", "-") for name in SHORT)]]
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]
    return []


def complete_value(name: str, incomplete: str) -> "list[CompletionItem[str]]":
    """The value of a setting: the shell's own paths where it is one."""
    last = name.rpartition(".")[2].removeprefix("--")
    kind = {"root": "dir", "cache": "dir", "weights": "file", "image_folder": "dir"}.get(last)
    return [CompletionItem(incomplete, type=kind)] if kind else []
