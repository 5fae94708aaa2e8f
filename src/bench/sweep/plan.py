"""Read a sweep from a file or the command line, and list its cells."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.config.decisive_settings import unusable
from bench.config.presets import (
    Preset,
    conf_folder,
    constructor_keywords,
    is_path,
    preset_names,
    read_preset,
    read_yaml,
)
from bench.config.products import read_products
from bench.config.settings import Config, flatten, read_layers, resolve
from bench.data.category_folders import ALL
from bench.errors import UsageError, unknown
from bench.sweep.datasets import Named, categories_of_each, datasets_of, root_of_each


class Sweep(BaseModel):
    """A grid: every model with every variant on every category of every dataset with every seed."""

    model_config = ConfigDict(extra="forbid")
    models: list[str] = Field(min_length=1)
    categories: list[str] = Field(default=[], min_length=1)
    one_model: list[str] | None = None  # the products that one model is for, instead of a model for each category
    seeds: list[int] = Field(default=[0], min_length=1)
    data: str | list[str] | None = None
    settings: dict[str, Any] = {}  # of every cell, in the form of --config
    variants: dict[str, dict[str, Any]] = {}  # by name: additional settings
    more_seeds: dict[str, list[int]] = {}  # of some variants, besides `seeds`
    baseline: str | None = None  # the variant that `bench study` compares the others with
    not_run: dict[str, str] = {}  # variants that a study leaves out, and why

    @property
    def subjects(self) -> list[str]:
        """What the cells are of, in words."""
        return self.categories if self.one_model is None else [f"one model for {', '.join(self.one_model)}"]


@dataclass(frozen=True)
class Planned:
    """One cell of a sweep, with the names of its variant and its dataset ('' where there is only one)."""

    variant: str
    config: Config
    dataset: str = ""

    @property
    def place(self) -> str:
        """The category, with its dataset where the sweep has several."""
        return f"{self.config.category} ({self.dataset})" if self.dataset else self.config.category

    @property
    def title(self) -> str:
        """Model, variant, category and seed in words."""
        names = [self.config.model.name, self.variant, self.place]
        return ", ".join([*filter(None, names), f"seed {self.config.settings['seed']}"])


def read_sweep(reference: str | None, typed: Mapping[str, Any]) -> Sweep:
    """Read a sweep from a file, or by its name in `conf/sweep`; typed values replace the file's."""
    where, content = "bench sweep", {}
    if reference is not None:
        path = Path(reference).expanduser()
        if not path.suffix:
            path = conf_folder() / "sweep" / f"{reference}.yaml"
        if not path.is_file():
            raise UsageError(f"no sweep file {reference}; there are: {', '.join(preset_names('sweep'))}")
        where, content = str(path), read_yaml(path)
        _check_names(where, content, typed)
    _choose_subjects(content, typed)
    content |= {key: value for key, value in typed.items() if value is not None}
    if isinstance(content.get("one_model"), str):
        content["one_model"] = content["one_model"].split(",")
    if typed.get("seeds") is not None:
        content.pop("more_seeds", None)
    for key, example in (("models", "--models padim,vae"), ("categories", "--categories screw, or all")):
        if key not in content and not (key == "categories" and content.get("one_model")):
            raise UsageError(f"no {key}; name a sweep file, or some: {example}")
    try:
        sweep = Sweep.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise UsageError(f"{where}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from error
    if sweep.one_model is not None:
        sweep = sweep.model_copy(update={"one_model": read_products(",".join(sweep.one_model))})
    for name in sorted(sweep.more_seeds.keys() - sweep.variants.keys()):
        raise unknown(f"variant in more_seeds of {where}:", name, sweep.variants)
    for name, layer in {"settings": sweep.settings, **{f"variants: {k}": v for k, v in sweep.variants.items()}}.items():
        _check_layer(f"{where}: {name}", layer)
    return sweep


def _choose_subjects(content: dict[str, Any], typed: Mapping[str, Any]) -> None:
    """Drop the file's categories where products of one model were typed, and the other way round."""
    given = {key for key in ("categories", "one_model") if typed.get(key) is not None}
    if len(given) == 2:
        raise UsageError("--one-model names the products; leave out --categories")
    for key, other in (("categories", "one_model"), ("one_model", "categories")):
        if key in given:
            content.pop(other, None)


def _check_layer(where: str, layer: Mapping[str, Any]) -> None:
    """Refuse settings that the sweep's own lists set: they would be ignored."""
    lists = {"seed": "seeds", "category": "categories", "model": "models", "data": "data"}
    for key, own in lists.items():
        value = layer.get(key)
        found = [f"{key}.{word}" for word in ("name", "class_path") if isinstance(value, Mapping) and word in value]
        if key in ("seed", "category") or isinstance(value, str):
            found = [key] if key in layer else []
        if found:
            raise UsageError(f"{where}: {found[0]}: the sweep's '{own}' says it; leave it out here")


def _check_names(where: str, content: Mapping[str, Any], typed: Mapping[str, Any]) -> None:
    """Refuse paths of a user's own code, which runs only where its path was typed: sweep files get passed on."""
    for key in ("models", "data"):
        names = content.get(key) if typed.get(key) is None else None
        for name in names if isinstance(names, list) else [names]:
            if isinstance(name, str) and is_path(name):
                raise UsageError(f"{where}: {key}: code of one's own runs only where it is typed: --{key} {name}")


def read_sets(texts: Sequence[str]) -> dict[str, list[str]]:
    """`data.image_size=224,256` as a name and its values; commas within brackets belong to a value."""
    sets: dict[str, list[str]] = {}
    for text in texts:
        key, equals, values = text.partition("=")
        if not (key and equals and values):
            raise UsageError(f"--set expects NAME=VALUE,VALUE,..., not '{text}'")
        if key == "seed":
            raise UsageError("--set seed: name seeds with --seeds 0,1,2")
        if key in sets:
            raise UsageError(f"--set {key} stands there twice; write all values behind one: {key}=A,B")
        sets[key] = _split(values)
    return sets


def plan(
    sweep: Sweep,
    options: Mapping[str, str],
    data: str | Sequence[str] | None = None,
    *,
    files: Sequence[Any] = (),
    sets: Mapping[str, list[str]] | None = None,
) -> list[Planned]:
    """All cells, models first; a mistake in any of their settings is found here, before anything runs.

    Each of several datasets lies in the folder of its name below `data.root`.
    """
    sets = sets or {}
    if "seed" in options:  # it would give every cell the same seed
        raise UsageError("--seed: the seeds of a sweep are a list; write them under 'seeds' or --seeds 0,1,2")
    if twice := sets.keys() & options.keys():
        raise UsageError(f"--{min(twice)} stands beside --set {min(twice)}; leave one out")
    datasets = datasets_of(data or sweep.data)
    cells = list(_cells(sweep, options, _roots(datasets, sweep, options, files, sets), files, sets))
    _check_modules([preset for cell in cells for preset in (cell.config.model, cell.config.data)])
    return cells


def _roots(
    datasets: Sequence[Named],
    sweep: Sweep,
    options: Mapping[str, str],
    files: Sequence[Any],
    sets: Mapping[str, list[str]],
) -> dict[Named, dict[str, str]]:
    """The setting of the root of each of several datasets; nothing for a single one."""
    if len(datasets) > 1 and "data.root" in sets:
        raise UsageError("--set data.root: each dataset of several has a root of its own; sweep them apart")
    own = read_layers(model=sweep.models[0], data=datasets[0], category=ALL, files=[*files, sweep.settings]).own
    return root_of_each(datasets, flatten(own) | dict(options))


def _cells(
    sweep: Sweep,
    options: Mapping[str, str],
    roots: Mapping[Named, dict[str, str]],
    files: Sequence[Any],
    sets: Mapping[str, list[str]],
) -> Iterator[Planned]:
    models, seeds = list(dict.fromkeys(sweep.models)), list(dict.fromkeys(sweep.seeds))
    variants = sweep.variants or {"": {}}
    named = [*options, *sets, *flatten(sweep.settings), *(key for each in variants.values() for key in flatten(each))]
    others = _settings_of_others(models, named)
    for model in models:
        typed = {key: text for key, text in options.items() if key not in others[model]}
        axes = {key: values for key, values in sets.items() if key not in others[model]}
        for name, settings in _own_variants(variants, others[model]).items():
            layers = [_without(sweep.settings, others[model]), settings]
            for values in product(*axes.values()):
                own = dict(zip(axes, values, strict=True))
                title = ", ".join([*filter(None, [name]), *(f"{k.rpartition('.')[2]}={v}" for k, v in own.items())])
                configs = {
                    dataset: [
                        resolve(
                            model=model,
                            data=dataset,
                            category=ALL,
                            files=[*files, *layers, {"seed": seed}],
                            options=typed | own | root,
                        )
                        for seed in dict.fromkeys([*seeds, *sweep.more_seeds.get(name, [])])
                    ]
                    for dataset, root in roots.items()
                }
                for config, *_ in configs.values():
                    _check(config, layers)
                for dataset, found in _of_each_dataset(sweep, configs).items():
                    shown = configs[dataset][0].data.name if len(configs) > 1 else ""
                    yield from (Planned(title, config, shown) for config in found)


def _settings_of_others(models: Sequence[str], keys: Sequence[str]) -> dict[str, set[str]]:
    """For each model the settings that it lacks or cannot use and another one can: they are meant for that one.

    A setting that no model has or can use is a mistake, which `resolve` or `_check` raises.
    """
    classes = {model: read_preset("model", model).load_class() for model in models}
    own = {model: {f"model.{name}" for name in constructor_keywords(found)} for model, found in classes.items()}
    of_some = set().union(*own.values())
    barred = {model: (of_some - own[model]) | set(unusable(found)) for model, found in classes.items()}
    usable = {key for key in keys if any(key not in names for names in barred.values())}
    return {model: usable & names for model, names in barred.items()}


def _own_variants(variants: Mapping[str, Mapping[str, Any]], others: set[str]) -> dict[str, dict[str, Any]]:
    """A model's variants without other models' settings; a variant that becomes equal to another is left out."""
    kept = {name: dict(each) for name, each in variants.items() if not others & flatten(each).keys()}
    for name, each in variants.items():
        own = _without(each, others)
        if name not in kept and own not in kept.values():
            kept[name] = own
    return {name: kept[name] for name in variants if name in kept}


def _without(tree: Mapping[str, Any], keys: set[str], prefix: str = "") -> dict[str, Any]:
    """Nested settings without these dotted names, and without the sections that this empties."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            below = _without(value, keys, f"{prefix}{key}.")
            if below or not value:  # a section that is empty from the start is a mistake, which is reported later
                found[key] = below
        elif f"{prefix}{key}" not in keys:
            found[key] = value
    return found


def _check(config: Config, layers: Sequence[Mapping[str, Any]]) -> None:
    """Refuse settings that no run can honour, and settings of a sweep file that none of its methods can use."""
    from bench.runs.plan import check_settings  # imports torch; a sweep's file is read without it

    check_settings(config, here=False)
    reasons, settings = unusable(config.model.load_class()), flatten(config.settings)
    for layer in layers:
        for key, value in flatten(layer).items():
            if key in reasons and settings[key] != value:
                raise UsageError(f"{config.model.name} {reasons[key]}: leave out {key}")


def _of_each_dataset(sweep: Sweep, configs: Mapping[Named, Sequence[Config]]) -> dict[Named, list[Config]]:
    """The settings of all cells of each dataset: of each of its categories, or of one model for products."""
    if sweep.one_model is not None:
        return {dataset: _one_model(sweep.one_model, own) for dataset, own in configs.items()}
    return {
        dataset: [replace(config, category=category) for category in categories for config in configs[dataset]]
        for dataset, categories in _categories(sweep.categories, configs).items()
    }


def _categories(named: Sequence[str], configs: Mapping[Named, Sequence[Config]]) -> dict[Named, list[str]]:
    """The named categories of each dataset; for `all`, every category that its data have."""
    if ALL not in named and len(configs) == 1:
        return {dataset: list(dict.fromkeys(named)) for dataset in configs}
    from bench.data.products import make_data  # imports torch; a sweep's file is read without it

    known = {dataset: make_data(config, ALL).category_names() for dataset, (config, *_) in configs.items()}
    return categories_of_each(named, known)


def _one_model(products: Sequence[str], configs: Sequence[Config]) -> list[Config]:
    """The same settings for one model for these products."""
    from bench.data.products import one_model_for  # imports torch; a sweep's file is read without it

    return [one_model_for(config, products) for config in configs]


def _check_modules(presets: Sequence[Preset]) -> None:
    """Refuse two modules of one name: Python imports only one, and the second model would silently be the first."""
    folders: dict[str, Path] = {}
    for preset in presets:
        module = preset.class_path.rpartition(".")[0]
        if module.split(".")[0] != "bench" and folders.setdefault(module, preset.folder) != preset.folder:
            raise UsageError(
                f"{folders[module]} and {preset.folder} both hold a module '{module}'; rename one, or sweep them apart"
            )


def _split(text: str) -> list[str]:
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]
