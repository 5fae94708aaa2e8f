"""A command of `bench`: click reads its options; words that are none of them are settings, by their dotted names."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import click

from bench.config.paths import check_path, expanded
from bench.config.setting_words import Typed
from bench.errors import UsageError, nearest, unknown

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

HELP = ("-h", "--help")
PENDING = "bench.pending"  # the setting whose value is being typed, while a shell completes it

Known = SimpleNamespace  # the typed options by name, and `settings` where the command takes them


# The completions of a word that begins a setting's name.
SettingOffers: TypeAlias = "Callable[[click.Context, str], list[CompletionItem[str]]] | None"


class Run(Protocol):
    """What a command does with its typed options."""

    def __call__(self, known: Known, /) -> int:
        """Do it; the exit status."""


class Argument(click.Argument):
    """A word without an option's name, with a line of help."""

    def __init__(self, name: str, *, about: str = "", **options: Any) -> None:
        super().__init__([name], **options)
        self.about = about


class Command(click.Command):
    """A click command whose mistakes are a UsageError of one line, and whose options have both spellings of `_`."""

    def __init__(self, *, settings: SettingOffers, **options: Any) -> None:
        super().__init__(context_settings={"help_option_names": HELP, "allow_extra_args": True}, **options)
        self.settings = settings

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse options and expand `~` in all of them; a path that no file can have is a UsageError."""
        options = args[: args.index("--")] if "--" in args else args
        if self.add_help_option and set(HELP) & set(options) and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        kept, typed_settings = self._sorted(ctx, args)
        if ctx.resilient_parsing and typed_settings.words and typed_settings.words[-1][1] is None:
            ctx.meta[PENDING] = typed_settings.words[-1][0]
        try:
            rest = super().parse_args(ctx, kept)
        except click.UsageError as error:
            raise UsageError(f"{_one_line(error)}; see '{ctx.command_path} --help'") from error
        for name, typed in ctx.params.items():
            value = list(typed) if isinstance(typed, tuple) else typed
            ctx.params[name] = expanded(value)
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, Path) or "\0" in str(each):
                    check_path(Path(each))
        if ctx.args and not ctx.resilient_parsing:
            raise _stray(ctx, ctx.args[0])
        if self.settings:
            ctx.params["settings"] = typed_settings
        return rest

    def read(self, words: Sequence[str]) -> Known:
        """The options that these words are, without running anything."""
        return Known(**self.make_context(f"bench {self.name}", list(words)).params)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the arguments and the options, each with its line."""
        rows = [(str(param.metavar or param.name), param.about) for param in self.params if isinstance(param, Argument)]
        if any(about for _, about in rows):
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they stand."""
        if self.epilog:
            formatter.write(f"\n{self.epilog}")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """The options that begin with what is typed, settings included."""
        found = super().shell_complete(ctx, incomplete)
        return found + self.settings(ctx, incomplete) if self.settings and incomplete.startswith("-") else found

    def _sorted(self, ctx: click.Context, words: list[str]) -> tuple[list[str], Typed]:
        """The words that click parses, and those that stand for settings."""
        own = {_spelled(name): each for each in self.get_params(ctx) if _is_option(each) for name in each.opts}
        kept: list[str] = []
        settings: list[tuple[str, str | None]] = []
        rest = _Words(words)
        for word in rest:
            name, equals, text = word.partition("=")
            option = own.get(_spelled(name))
            if word == "--":
                kept += [word, *rest]
            elif option is not None:
                kept += _option_word(option, name, text if equals else None, rest, complete=not ctx.resilient_parsing)
            elif word == "-" or not word.startswith("-"):
                kept.append(word)
            elif self.settings and word.startswith("--"):
                settings.append((name, text if equals else rest.value()))
            elif not ctx.resilient_parsing:
                raise self._unknown_option(ctx, word)
        if self.settings and kept[-1:] == ["--"]:
            raise _stray(ctx, "--")
        return kept, Typed(ctx.command_path, tuple(settings), self._names(ctx))

    def _unknown_option(self, ctx: click.Context, word: str) -> UsageError:
        """The error for an unknown `word`, with the nearest option of this command."""
        if not word.startswith("--"):
            return _stray(ctx, word)
        hint = f"'{ctx.command_path} --help' lists them"
        return unknown("option", word.partition("=")[0], self._names(ctx), hint=hint)

    def _names(self, ctx: click.Context) -> tuple[str, ...]:
        return tuple(name for param in self.get_params(ctx) for name in param.opts if name.startswith("--"))


def command(
    about: str,
    *params: click.Parameter,
    settings: SettingOffers = None,
    own_help: bool = False,
    epilog: str = "",
) -> Callable[[Run], Command]:
    """Make a command of the function that takes its typed options.

    `settings` completes the names of settings, where the command takes any; `own_help`: the function prints the help.
    """

    def make(run: Run) -> Command:
        def callback(**typed: Any) -> int:
            return run(Known(**typed))

        return Command(
            name=None,
            help=about,
            params=list(params),
            callback=callback,
            epilog=epilog,
            settings=settings,
            add_help_option=not own_help,
        )

    return make


def option(*names: str, **details: Any) -> click.Option:
    """An option of a command."""
    return click.Option(names, **details)


class _Words(Iterator[str]):
    """The words of a command line, one after the other."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words, self._next = words, 0

    def __next__(self) -> str:
        if self._next == len(self._words):
            raise StopIteration
        self._next += 1
        return self._words[self._next - 1]

    def value(self) -> str | None:
        """The next word as a value; None where there is none, or an option."""
        following = self._words[self._next : self._next + 1]
        return None if not following or following[0].startswith("--") else next(self)


def _is_option(param: click.Parameter) -> bool:
    return isinstance(param, click.Option)


def _spelled(name: str) -> str:
    return name.replace("_", "-")


def _option_word(option: click.Parameter, typed: str, text: str | None, rest: "_Words", *, complete: bool) -> list[str]:
    """An option with its value as one word, under the name that click knows; none while its value is being typed."""
    if getattr(option, "is_flag", False):
        if text is not None and complete:
            raise UsageError(f"{typed} takes no value; leave out '={text}'")
        return [option.opts[0]]
    value = rest.value() if text is None else text
    if value is None and complete:
        raise UsageError(f"{typed} expects a value")
    return [f"{option.opts[0]}={value}"] if value is not None else []


def _stray(ctx: click.Context, word: str) -> UsageError:
    return UsageError(f"'{word}' belongs to no option; see '{ctx.command_path} --help'")


def _one_line(error: click.UsageError) -> str:
    """What click found wrong, by the name that was typed."""
    param = getattr(error, "param", None)
    if param is None:
        return error.format_message().rstrip(".")
    name = param.opts[0] if _is_option(param) else param.metavar or param.name
    if isinstance(error, click.MissingParameter):
        return f"{name} is missing"
    problem = error.message.rstrip(".")
    if isinstance(param.type, click.Choice):
        near = nearest(problem.split("'")[1], map(str, param.type.choices))
        problem += f"; did you mean '{near}'?" if near else ""
    return f"{name}: {problem}"
