"""What is refused before torch is imported: a person who mistypes a folder shall not wait seconds for the answer."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from bench.config.class_sources import read_source
from bench.config.paths import expanded
from bench.config.presets import Preset
from bench.config.settings import Layers, read_typed
from bench.config.tracks import TRACKS
from bench.data.category_folders import ALL, category_folder, named_root
from bench.data.check_settings import check_draws, check_fold, check_geometry, check_reading
from bench.data.facts import facts_of_class
from bench.errors import UsageError, unknown
from bench.models.parts.weight_files import (
    existing_file,
    has_identity_batchnorm,
    is_file_reference,
    read_batchnorm,
    refuse_identity_batchnorm,
)
from bench.processes import is_one_of_several

_CHECKS: tuple[Callable[..., None], ...] = (check_geometry, check_reading, check_draws, check_fold)
_READING = ("root", "masks", "mask_threshold", "bits")
_MVTEC = "bench.data.datasets.mvtec_ad.MVTecAD"
_ELPV = "bench.data.datasets.elpv.Elpv"
_SYNTHETIC = "bench.data.datasets.synthetic.Synthetic"


def check_cell(layers: Layers, categories: Iterable[str], options: Mapping[str, str]) -> None:
    """Refuse values of the wrong kind, weights and images that are not there, of a run or of the cells of a sweep.

    Of several processes that were started together each would look on its own machine: these agree later.
    """
    if is_one_of_several() or options.get("trainer.num_nodes", "1") != "1":
        return
    check_values(layers, options)
    weights = options.get("model.weights", layers.setting("model", "weights"))
    if isinstance(weights, str) and is_file_reference(weights):
        path = existing_file(weights)
        if _trains_batchnorm(layers, options) and has_identity_batchnorm(read_batchnorm(path)):
            raise refuse_identity_batchnorm(weights)
    others = options.get("model.image_folder", layers.setting("model", "image_folder"))
    if isinstance(others, str) and others != "null" and not Path(expanded(others)).is_dir():
        raise UsageError(f"no folder of images at {others}; name one with --model.image_folder")
    settings = {name: options.get(f"data.{name}", layers.setting("data", name)) for name in _READING}
    chosen = list(categories)
    for category in chosen:
        check_images(layers.data, category, settings, masks=len(chosen) == 1)


def check_one_model(models: Iterable[Preset], options: Collection[str]) -> None:
    """Refuse one model for several products of methods that learn labelled defects, and the setting that makes it."""
    if "data.products" in options:
        raise UsageError("--data.products is set by the products of one model: --one-model A,B")
    for model in models:
        source = read_source(model)
        track = source.track if source and source.track else model.track
        if track in TRACKS and TRACKS[track].learns_from_defects:
            reason = TRACKS[track].idle["data.products"]
            raise UsageError(f"{model.name} {reason}: leave out --one-model")
        if "data.fold" in options:
            raise UsageError("one model for several products learns from good images alone: leave out --data.fold")


def _trains_batchnorm(layers: Layers, options: Mapping[str, str]) -> bool:
    """Whether it is a classifier of labelled defects whose BatchNorm learns."""
    source = read_source(layers.model)
    if source is None or not source.track or not TRACKS[source.track].learns_from_defects:
        return False
    own = layers.setting("model", "freeze_batchnorm")
    frozen = read_typed(layers.model, layers.data, options).get("model.freeze_batchnorm", own)
    return "freeze_batchnorm" in source.settings and frozen in (None, False)


def check_values(layers: Layers, options: Mapping[str, str]) -> None:
    """Refuse typed values as the parser of all settings and the dataset's constructor would, importing neither."""
    if not options:
        return
    typed, source = read_typed(layers.model, layers.data, options), read_source(layers.data)
    if source is None or not any(key.startswith("data.") for key in typed):
        return

    def value(name: str) -> Any:
        if f"data.{name}" in typed:
            return typed[f"data.{name}"]
        found = layers.setting("data", name)
        return found if found is not None else yaml.safe_load(source.settings[name].default)

    names = [name for check in _CHECKS for name in check.__annotations__ if name in source.settings]
    values = {name: value(name) for name in names}
    values["protocol"] = typed.get("protocol", layers.own.get("protocol", "model"))
    for check in _CHECKS:
        needed = set(check.__annotations__) - {"return"}
        idle = check is check_fold and values.get("fold") is None  # the method's track is asked first
        if needed <= values.keys() and not idle:
            with suppress(TypeError):  # a value of a file has the wrong type, which the parser tells
                check(**{name: values[name] for name in needed})


def check_images(data: Preset, category: str, settings: Mapping[str, Any], *, masks: bool = True) -> None:
    """Refuse folders that are not there, as reading them would; datasets of other layouts look for theirs later.

    With `masks` the category is listed as well, so that a missing mask is told too; no image is opened.
    """
    root, source = settings.get("root"), read_source(data)
    if data.class_path == _SYNTHETIC:
        from bench.data.facts import categories_of

        if not root and category not in (ALL, *categories_of("synthetic")):
            raise unknown("synthetic category", category, categories_of("synthetic"))
        return
    if data.class_path == _ELPV and category != ALL:
        from bench.data.datasets.elpv_facts import check_kind

        check_kind(category)
    if source is None or "find_root" in source.defined or (root is not None and not isinstance(root, str)):
        return
    folder = expanded(named_root(None if root in (None, "null") else root))
    if not _has_this_layout(data, source.defined):
        if not folder.is_dir():
            raise UsageError(f"no data folder at {folder}; name it with --data.root or BENCH_DATA")
        known = facts_of_class(data.class_path).get("categories", {})
        if known and category not in (ALL, *known) and not (folder / category).is_dir():
            raise unknown("category", category, known)
    elif category != ALL:
        category_folder(folder, category, _obtainable(data))
        if masks:
            _list_images(folder, category, settings.get("masks"))
    elif not folder.is_dir():
        category_folder(folder, category, {})


def _list_images(root: Path, category: str, masks: Any) -> None:
    from bench.data.layout import PLAIN, read_category  # imports numpy and cv2

    read_category(root, category, PLAIN._replace(masks="required" if masks is None else masks))


def check_place(folder: Path, option: str) -> None:
    """Refuse a folder that cannot be made, for a file is in its way; nothing is written."""
    nearest = next(path for path in (folder, *folder.absolute().parents) if os.path.lexists(path))
    if not nearest.is_dir():
        raise UsageError(f"cannot write to {folder} (Not a directory); name another folder: {option}")


def _has_this_layout(data: Preset, defined: Iterable[str]) -> bool:
    return data.class_path == _MVTEC or "read" not in defined


def _obtainable(data: Preset) -> Mapping[str, str]:
    from bench.data.datasets.mvtec_ad_facts import mvtec_obtainable

    return mvtec_obtainable() if data.class_path == _MVTEC else {}
