"""The commands of a package: one for each module, whose function `run` takes the words after the command's name."""

from collections.abc import Callable, Iterable
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType

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


def describe_commands(package: ModuleType, names: Iterable[str]) -> str:
    """A line for each command: its name, and the first line of its function's docstring."""
    docs = {name: str(load_command(package, name).__doc__).splitlines()[0] for name in names}
    return "\n".join(f"  {name:<14}{doc}" for name, doc in docs.items())
