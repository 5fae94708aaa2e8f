"""The commands of a package: one for each module, whose `run` is the command and whose first line is its help."""

import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any

import click

from bench.cli.command import HELP
from bench.errors import UsageError, unknown

_FIRST_LINE = re.compile(r'"""`bench [a-z ]+`: (.+)\.?"""')


class Commands(click.Group):
    """A group whose commands are the modules of a package; a module is imported when its command is run."""

    aliases: Mapping[str, str] = {}  # other words for some of the commands

    def __init__(self, package: ModuleType, first: Iterable[str], *, kind: str, none: str, **options: Any) -> None:
        super().__init__(
            context_settings={"help_option_names": HELP},
            options_metavar=None,
            subcommand_metavar="COMMAND [OPTIONS]",
            **options,
        )
        self.package, self.first, self.kind, self.none = package, tuple(first), kind, none

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands named in `first`, then all others."""
        found = sorted(module.name for module in iter_modules(self.package.__path__))
        return [*(name for name in self.first if name in found), *(name for name in found if name not in self.first)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name; only its module is imported."""
        if cmd_name not in self.list_commands(ctx):
            return None
        found: click.Command = import_module(f"{self.package.__name__}.{cmd_name}").run
        return found

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse a line without a command, and words before it that are no options."""
        if not ctx.resilient_parsing:
            if not args:
                raise UsageError(self.none)
            if args[0].startswith("-") and args[0] not in [name for each in self.get_params(ctx) for name in each.opts]:
                raise self._unknown(ctx, args[0])
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; the UsageError for an unknown one offers the nearest."""
        name = self.aliases.get(args[0], args[0])
        found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing:
            raise self._unknown(ctx, name)
        return name, found, args[1:]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write a line for each command, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._about(name)) for name in self.list_commands(ctx)])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they stand."""
        formatter.write(f"\n{self.epilog}")

    def _about(self, name: str) -> str:
        with Path(self.package.__path__[0], f"{name}.py").open(encoding="utf-8") as file:
            found = _FIRST_LINE.match(file.readline())
        return found[1].rstrip(".") if found else ""

    def _unknown(self, ctx: click.Context, word: str) -> UsageError:
        return unknown(self.kind, word, [*self.list_commands(ctx), *self.aliases])
