"""The base of launchers. A launcher is a class, and a file in `conf/launcher` that names it and its settings."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.config.paths import expanded
from bench.config.presets import read_preset
from bench.config.strict_yaml import parse_yaml
from bench.errors import UsageError, unknown
from bench.sweep.tasks import Event, Task


class Pool(Protocol):
    """Processes that run cells, for as long as a sweep lasts."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Event]:
        """Run these cells; yield an outcome for each, and other events in between."""


class Launcher(BaseModel):
    """The settings that all launchers share.

    Args:
        lease: seconds after which a sweep on another machine takes over a cell whose process gave no sign of life.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    lease: float = Field(default=60, gt=0, le=1e6)  # a thread cannot wait for ever

    def check(self) -> None:
        """Raise a UsageError where something is not installed, before anything runs."""

    def open(self, tasks: Sequence[Task]) -> AbstractContextManager[Pool]:
        """Open a pool of processes for cells like these; the processes end with the context."""
        raise NotImplementedError


def read_launcher(reference: str, options: Mapping[str, str]) -> Launcher:
    """Read `conf/launcher/<reference>.yaml`, or a user's own file; `options` are dotted names below `launcher`."""
    preset = read_preset("launcher", reference)
    launcher_class: type[Launcher] = preset.load_class()
    settings = dict(preset.settings)
    for key, text in options.items():
        _put(settings, key.split("."), _parsed(key, text))
    for key in settings:
        if key not in launcher_class.model_fields:
            raise unknown(f"setting of the launcher '{preset.name}'", str(key), launcher_class.model_fields)
    try:
        return launcher_class.model_validate(expanded(settings))
    except ValidationError as error:
        place = error.errors()[0]["loc"][:1]
        problems = [each for each in error.errors() if each["loc"][:1] == place]  # one for each possible type
        wanted = " or ".join(each["msg"].removeprefix("Input should be ") for each in problems)
        name = ".".join(map(str, ("launcher", *place)))
        raise UsageError(f"--{name}: expects {wanted}, not '{problems[0]['input']}'") from error


def _put(tree: dict[str, Any], names: Sequence[str], value: Any) -> None:
    name, *rest = names
    if not rest:
        tree[name] = value
        return
    below = tree.get(name)
    tree[name] = dict(below) if isinstance(below, Mapping) else {}
    _put(tree[name], rest, value)


def _parsed(key: str, text: str) -> Any:
    try:
        return parse_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--launcher.{key}: '{text}' is no value") from error
