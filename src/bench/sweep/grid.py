"""A sweep file and the cells that it stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.config import Config, resolve
from bench.errors import UsageError
from bench.presets import conf_folder, preset_names, read_yaml


class Sweep(BaseModel):
    """A grid: every model with every variant on every category with every seed."""

    model_config = ConfigDict(extra="forbid")
    models: list[str] = Field(min_length=1)
    categories: list[str] = Field(min_length=1)
    seeds: list[int] = Field(default=[0], min_length=1)
    data: str | None = None
    settings: dict[str, Any] = {}  # of every cell, in the form of --config
    variants: dict[str, dict[str, Any]] = {}  # by name: settings besides
    baseline: str | None = None  # the variant that `bench study` compares the others with
    not_run: dict[str, str] = {}  # variants that a study would have, and why it has them not


@dataclass(frozen=True)
class Planned:
    """One cell of a sweep, with the name of its variant ('' where there is only one)."""

    variant: str
    config: Config

    @property
    def title(self) -> str:
        """What a person reads of it."""
        names = [self.config.model.name, self.variant, self.config.category]
        return ", ".join([*filter(None, names), f"seed {self.config.settings['seed']}"])


def read_sweep(reference: str) -> Sweep:
    """Read a sweep file, or the one of that name in `conf/sweep`."""
    path = Path(reference).expanduser()
    if not path.suffix:
        path = conf_folder() / "sweep" / f"{reference}.yaml"
    if not path.is_file():
        raise UsageError(f"no sweep file {reference}; there are: {', '.join(preset_names('sweep'))}")
    try:
        return Sweep.model_validate(read_yaml(path))
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"{path}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error


def plan(sweep: Sweep, options: Mapping[str, str], data: str | None = None) -> list[Planned]:
    """All cells, models first; a mistake in any of them is found here, before anything runs."""
    if "seed" in options:  # it would make every cell of a seed the same one
        raise UsageError("--seed: a sweep file names its seeds; write them under 'seeds'")
    return list(_cells(sweep, options, data or sweep.data))


def _cells(sweep: Sweep, options: Mapping[str, str], data: str | None) -> Iterator[Planned]:
    variants = sweep.variants or {"": {}}
    for model, (name, settings), category, seed in product(
        sweep.models, variants.items(), sweep.categories, sweep.seeds
    ):
        layers = [sweep.settings, settings, {"seed": seed}]
        config = resolve(model=model, data=data, category=category, files=layers, options=options)
        yield Planned(name, config)
