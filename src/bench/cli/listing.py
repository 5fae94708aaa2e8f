"""The commands of a package: one for each module, whose function `run` takes the words after the command's name."""

from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

from bench.cli.arguments import Parser

Command = Callable[[list[str]], int]


def command_names(package: ModuleType, first: Iterable[str]) -> list[str]:
    """The commands of a package: those named in `first`, then all others."""
    found = sorted(module.name for module in iter_modules(package.__path__))
    known = [name for name in first if name in found]
    return [*known, *(name for name in found if name not in known)]


def load_command(package: ModuleType, name: str) -> Command:
    """The function of a command; only that command's module is imported."""
    command: Command = import_module(f"{package.__name__}.{name}").run
    return command


def print_commands(package: ModuleType, names: Iterable[str], *, prog: str, description: str, examples: str) -> None:
    """Print the help of a package: a line for each command, the first of its function's docstring, and examples."""
    docs = {name: str(load_command(package, name).__doc__).splitlines()[0] for name in names}
    lines = "\n".join(f"  {name:<14}{doc}" for name, doc in docs.items())
    Parser(
        prog=prog,
        usage=f"{prog} COMMAND [OPTIONS]",
        description=description,
        epilog=f"commands:\n{lines}\n\n{examples}",
        formatter_class=RawDescriptionHelpFormatter,
    ).print_help()
