"""All settings of a run: layers of YAML and the command line, typed by the signatures of the classes they build."""

import os
from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol

import yaml

from bench.config.class_sources import read_source, trainer_source
from bench.config.decisive_settings import DECIDE_NOTHING, defaults_of_idle, name_once
from bench.config.parse_errors import one_line
from bench.config.paths import DATA, expanded
from bench.config.plain_names import check_name
from bench.config.presets import DEFAULT_DATA, Preset, conf_folder, read_preset, read_yaml
from bench.config.products import joined_name
from bench.config.tracks import track_of_run
from bench.config.trusted_code import check_classes, choose_preset
from bench.errors import UsageError, unknown

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

# Settings of Lightning's Trainer that decide a result. `bench.runs.plan` refuses some, which records still name.
_TRAINER_RESULT = (
    "max_epochs", "min_epochs", "max_steps", "min_steps", "precision", "deterministic", "overfit_batches",
    "limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches",
    "check_val_every_n_epoch", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm",
)  # fmt: skip
_TRAINER_NO_RESULT = {key.removeprefix("trainer.") for key in DECIDE_NOTHING if key.startswith("trainer.")}
# The Trainer accepts objects for these as well, and jsonargparse would import any class that a file names here.
_TRAINER_WORDS: dict[str, tuple[Any, str]] = {
    "accelerator": (str, "what it is computed on: auto, cpu, gpu or mps"),
    "strategy": (str, "how processes share the work: auto, ddp, ddp_find_unused_parameters_true or _false"),
    "profiler": (Literal["simple", "advanced", "pytorch", "xla"] | None, "tells what took how long"),
}
SETTINGS = "config.yaml"  # all settings of a run, in its folder
SECTIONS = ("model", "data", "trainer")
FREE_SETTINGS = ("seed", "protocol", "threshold_quantile", "patience")
_PRESET_KEYS = ("name", "class_path")


class _Named(Protocol):
    """The part of a dataset's class that determines the dataset's name."""

    @classmethod
    def dataset_name(cls, preset: str, settings: Mapping[str, Any]) -> str:
        """The dataset's name in records."""


class _Tracked(Protocol):
    """The part of a method's class that determines its track."""

    track: str


@dataclass(frozen=True)
class Config:
    """The settings of one run, complete and typed; `overrides` are those that differ from the presets'."""

    model: Preset
    data: Preset
    category: str
    settings: dict[str, Any]
    overrides: dict[str, Any]

    @property
    def dataset(self) -> str:
        """The dataset's name in records and tables: its preset's, or that of a user's own folder."""
        loaded: type[_Named] = self.data.load_class()
        return loaded.dataset_name(self.data.name, self.settings["data"])

    @property
    def track(self) -> str:
        """The track of the run: that of its method, unless one model is for several products."""
        method: type[_Tracked] = self.model.load_class()
        return track_of_run(method.track, self.settings["data"].get("products"))

    def section(self, name: str) -> dict[str, Any]:
        """The settings of the model's, the data's or the Trainer's constructor."""
        return dict(self.settings[name])

    def as_dict(self) -> dict[str, Any]:
        """All settings, in the form that --config reads again."""
        tree = deepcopy(self.settings)
        for kind, preset, name in (("model", self.model, self.model.name), ("data", self.data, self.dataset)):
            tree[kind] = {"name": name, "class_path": preset.class_path} | tree[kind]
        return {"category": self.category} | tree

    def lying_at(self, path: str, name: str = "root") -> "Config":
        """The settings with a path of the data in full: another shell may have another folder, or BENCH_DATA."""
        if self.settings["data"][name] == path:
            return self
        settings = _merged(self.settings, {"data": {name: path}})
        return replace(self, settings=settings, overrides=self.overrides | {f"data.{name}": path})

    def for_products(self, products: Sequence[str]) -> "Config":
        """The settings of one model for these products, named in their alphabetical order."""
        names = list(products)
        settings = _merged(self.settings, {"data": {"products": names}})
        overrides = self.overrides | {"data.products": names}
        return replace(self, category=joined_name(names), settings=settings, overrides=overrides)

    def to_yaml(self) -> str:
        """All settings as YAML."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False, allow_unicode=True)


@dataclass(frozen=True)
class Layers:
    """What a run is of, before any class is imported: its presets and the settings of its files."""

    model: Preset
    data: Preset
    category: str
    own: Mapping[str, Any]

    @property
    def title(self) -> str:
        """The method and the category."""
        return f"{self.model.name} on {self.category}"

    def describe(self, seed: object) -> str:
        """The run in words; `seed` is the typed one, if any."""
        return f"{self.title} ({self.data.name}), seed {self.own.get('seed', 0) if seed is None else seed}"

    @property
    def categories(self) -> list[str]:
        """The category, or the products that one model is for, where the files name some."""
        found = self.setting("data", "products")
        return found if isinstance(found, list) and all(isinstance(name, str) for name in found) else [self.category]

    def setting(self, section: str, name: str) -> Any:
        """A setting as the files have it, else the presets; None where none of them has it."""
        for layer in (self.own, self.model.settings, self.data.settings):
            content = layer.get(section)
            if isinstance(content, Mapping) and name in content:
                return content[name]
        return None


def read_layers(
    *, model: str | Preset | None, data: str | Preset | None, category: str | None, files: list[Any]
) -> Layers:
    """The presets that are named and the settings of `files`, as for `resolve`."""
    own = _merged(*(_layer(file) for file in files))
    named = {kind: own.get(kind, {}) for kind in ("model", "data")}
    model_preset = choose_preset("model", model, named["model"], None)
    data_preset = choose_preset("data", data, named["data"], DEFAULT_DATA)
    category = category or own.pop("category", None)
    if not category:
        raise UsageError("no category; name one: --category screw")
    own.pop("category", None)
    for kind, name in {"model": model_preset.name, "dataset": data_preset.name}.items():
        check_name(kind, name)
    if "/" not in category and not category.startswith("."):  # the dataset refuses a path as its category
        check_name("category", category)
    for kind in named:
        own[kind] = {k: v for k, v in named[kind].items() if k not in _PRESET_KEYS}
    return Layers(model_preset, data_preset, category, own)


def resolve(
    *,
    model: str | Preset | None,
    data: str | Preset | None,
    category: str | None,
    files: list[Any],
    options: Mapping[str, str],
) -> Config:
    """Merge the layers: default.yaml, the data's and the model's preset, --config files, dotted `options`.

    `files` are paths, or mappings in the form of `Config.as_dict`.
    """
    layers = read_layers(model=model, data=data, category=category, files=files)
    model_preset, data_preset, own = layers.model, layers.data, layers.own
    base = _merged(read_yaml(conf_folder() / "default.yaml"), data_preset.settings, model_preset.settings)
    parser = _parser(model_preset, data_preset)
    defaults = flatten(parser.get_defaults().as_dict())
    method = model_preset.name, model_preset.load_class()
    check_classes(flatten(own), flatten(base))
    presets, settings = _parse(parser, base, {}), _parse(parser, _merged(base, own), options)
    presets = _merged(presets, _nested(defaults_of_idle(*method, flatten(presets), defaults)))
    settings = _merged(settings, _nested(defaults_of_idle(*method, flatten(settings), defaults, typed=options)))
    presets, settings = expanded(presets), expanded(settings)
    _check(settings)
    before, after = flatten(presets), flatten(settings)
    overrides = {key: value for key, value in after.items() if before.get(key) != value}
    config = Config(model_preset, data_preset, layers.category, settings, overrides)
    if settings["data"].get("root") or os.environ.get(DATA):
        _ = config.dataset  # refuses a folder whose name no dataset can have, before any data are read
    return config


def setting_names(model: Preset, data: Preset) -> set[str]:
    """The dotted names of all settings of a run; the classes are imported only where their files do not tell."""
    sources = {"model": read_source(model), "data": read_source(data)}
    if None in sources.values():
        return set(flatten(_parser(model, data).get_defaults().as_dict()))
    own = {f"{section}.{name}" for section, source in sources.items() if source for name in source.settings}
    return own | {f"trainer.{name}" for name in (*_TRAINER_RESULT, *_TRAINER_NO_RESULT)} | set(FREE_SETTINGS)


def settings_help(model: str, data: str | None) -> str:
    """All settings of one method and dataset, with their types and defaults."""
    model_preset, data_preset = read_preset("model", model), read_preset("data", data or DEFAULT_DATA)
    parser = deepcopy(_parser(model_preset, data_preset))  # the defaults below are this preset's alone
    base = _merged(read_yaml(conf_folder() / "default.yaml"), data_preset.settings, model_preset.settings)
    parser.set_defaults(flatten(_parse(parser, base, {})))
    return str(parser.format_help())


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _layer(source: Any) -> dict[str, Any]:
    """One of `files`, with `model: vae` written out as `model: {name: vae}`."""
    layer = dict(source if isinstance(source, Mapping) else read_yaml(source))
    where = "" if isinstance(source, Mapping) else f"{source}: "
    for kind in SECTIONS:
        value = layer.pop(kind, None)
        if isinstance(value, str) and kind != "trainer":
            value = {"name": value}
        if not isinstance(value, Mapping | None):
            raise UsageError(f"{where}'{kind}' expects a mapping of settings, not '{value}'")
        layer[kind] = value or {}
    if not isinstance(layer.get("category"), str | None):
        raise UsageError(f"{where}'category' expects a name, not '{layer['category']}'")
    return layer


def _check(settings: Mapping[str, Any]) -> None:
    for key, value in flatten(settings).items():
        if isinstance(value, str) and "\0" in value:
            raise UsageError(f"--{key} '{value}' holds a NUL character, which no name and no path can hold")
    _check_numbers(settings)


def _check_numbers(settings: Mapping[str, Any]) -> None:
    """Check the ranges of those settings that no class has, as far as they are given."""
    seed, quantile, patience = (settings.get(key) for key in ("seed", "threshold_quantile", "patience"))
    if seed is not None and not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} does not lie between 0 and {2**32 - 1}")
    if quantile is not None and not 0 < quantile <= 1:
        raise UsageError(f"--threshold_quantile {quantile} does not lie in (0, 1]")
    if patience is not None and patience < 1:
        raise UsageError(f"--patience {patience} is not positive; null (the default) never stops early")


def _merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = _merged(result[key], value) if both else deepcopy(value)
    return result


def _parser(model: Preset, data: Preset) -> "ArgumentParser":
    return _parser_of(model.load_class(), data.load_class())


@cache  # a worker runs many cells, and most of them are of few classes
def _parser_of(model: type, data: type) -> "ArgumentParser":
    import inspect

    from jsonargparse import ArgumentParser
    from lightning import Trainer

    parser = ArgumentParser(exit_on_error=False, prog="bench fit")
    _add_free(parser)
    parser.add_class_arguments(model, "model", skip={"spec"})
    parser.add_class_arguments(data, "data", skip={"category", "seed", "protocol"})
    known = inspect.signature(Trainer.__init__).parameters
    hidden = set(known) - {"self", *_TRAINER_RESULT, *_TRAINER_NO_RESULT}
    parser.add_class_arguments(Trainer, "trainer", skip=hidden | set(_TRAINER_WORDS))
    for name, (kind, about) in _TRAINER_WORDS.items():
        parser.add_argument(f"--trainer.{name}", type=kind, default=known[name].default, help=about)
    return parser


def _add_free(parser: "ArgumentParser") -> None:
    """Add the settings that no class has."""
    parser.add_argument("--seed", type=int, default=0, help="seed of everything random")
    parser.add_argument(
        "--protocol", type=Literal["model", "full"], default="model", help="resolution of pixel metrics"
    )
    parser.add_argument(
        "--threshold_quantile", type=float, default=0.99, help="share of held-out normal scores below the threshold"
    )
    parser.add_argument(
        "--patience",
        type=int | None,
        default=None,
        help="epochs without a better validation loss before training stops",
    )


def read_typed(model: Preset, data: Preset, options: Mapping[str, str]) -> dict[str, Any]:
    """The typed settings whose types stand in the files of their classes, which are not imported.

    A UsageError says what `resolve` would say of a value. A setting of another type is left to `resolve`.
    """
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False, prog="bench fit")
    _add_free(parser)
    sources = {"model": read_source(model), "data": read_source(data), "trainer": trainer_source()}
    types = {f"{section}.{key}": each.type for section, source in sources.items() if source
             for key, each in source.settings.items()}  # fmt: skip
    types |= {f"trainer.{name}": kind for name, (kind, _) in _TRAINER_WORDS.items()}
    known = [key for key in options if types.get(key) is not None]
    for key in known:
        parser.add_argument(f"--{key}", type=types[key])
    chosen = {key: text for key, text in options.items() if key in known or key in FREE_SETTINGS}
    typed = _typed(parser, chosen)
    found = {key: typed[key] for key in chosen}
    _check_numbers(found)
    return found


def _parse(parser: "ArgumentParser", tree: Mapping[str, Any], options: Mapping[str, str]) -> dict[str, Any]:
    known = flatten(parser.get_defaults().as_dict())
    # The parser accepts null for any type, as if the setting were absent.
    nulls = [key for key, value in flatten(tree).items() if value is None and known.get(key) is not None]
    for key in [*flatten(tree), *_empty_sections(tree), *options]:
        if key not in known:
            raise unknown(
                "option", key if key in tree else f"--{key}", known if key in tree else {f"--{k}" for k in known}
            )
    try:
        base: dict[str, Any] = parser.parse_object(dict(tree)).as_dict()
        base.setdefault("model", {})  # a class may have no settings
    except ArgumentError as error:
        raise UsageError(one_line(str(error))) from error
    typed = _typed(parser, dict.fromkeys(nulls, "null") | dict(options))
    if text := [key for key in nulls if typed[key] == "null"]:
        raise UsageError(f"--{text[0]} expects a text, not null")
    settings = _merged(base, _nested({key: typed[key] for key in options}))
    name_once(settings["trainer"], flatten(tree) | dict(options))
    return settings


def _typed(parser: "ArgumentParser", options: Mapping[str, str]) -> dict[str, Any]:
    """Values from their text, as on any command line; they override the rest."""
    try:
        words = [f"--{key}={value}" for key, value in options.items()]
        return flatten(parser.parse_args(words).as_dict()) if words else {}
    except ArgumentError as error:
        raise UsageError(one_line(str(error))) from error


def _empty_sections(tree: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Dotted names of empty sections, apart from the sections that every tree has."""
    below = [(f"{prefix}{key}", value) for key, value in tree.items() if isinstance(value, Mapping)]
    empty = [name for name, value in below if not value and name not in SECTIONS]
    return empty + [found for name, value in below for found in _empty_sections(value, f"{name}.")]


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in flat.items():
        tree = _merged(
            tree, {key.split(".", 1)[0]: _nested({key.split(".", 1)[1]: value})} if "." in key else {key: value}
        )
    return tree
