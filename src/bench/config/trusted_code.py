"""Which code a file may run: that of `bench`, by the names in `conf/`; a user's own code must be typed.

Records, settings and sweep files travel: opening those of another user must not run the code beside them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.config.moved_classes import present_path
from bench.config.plain_names import check_name
from bench.config.presets import Preset, conf_folder, is_path, preset_names, read_preset
from bench.errors import UsageError, unknown


def choose_preset(kind: str, typed: str | Preset | None, own: Mapping[str, Any], default: str | None) -> Preset:
    """The preset that was typed or handed over, or the preset of `conf/` that a file names."""
    if isinstance(typed, Preset):
        return typed
    if typed is not None:
        return read_preset(kind, typed)
    name, class_path = own.get("name") or default, own.get("class_path")
    if not name:
        raise UsageError(f"no {kind}; name one: --{kind} NAME ('bench models' lists them)")
    known = preset_names(kind)
    class_path = present_path(class_path) if isinstance(class_path, str) else class_path
    if name in known and class_path in (None, (preset := read_preset(kind, name)).class_path):
        return preset
    if class_path is None:
        if isinstance(name, str) and is_path(name):
            raise UsageError(f"code of one's own runs only where it is typed: --{kind} {name}")
        raise unknown("dataset" if kind == "data" else kind, str(name), known)
    # A printed configuration is complete: its class counts, whether or not a preset of that name still exists.
    if isinstance(class_path, str) and class_path in {read_preset(kind, each).class_path for each in known}:
        return Preset(kind, check_name(kind, str(name)), class_path, "", "", "", {}, conf_folder())
    raise UsageError(
        f"cannot import class_path '{class_path}' of '{name}': it is none of conf/{kind}, and code of one's own runs "
        f"only where its file is typed: --{kind} FILE"
    )


def check_is_of_run(
    run: Path, own: Mapping[str, str], config: Mapping[str, Any], typed: Mapping[str, str | Preset | None]
) -> None:
    """Refuse a typed method or dataset, by its kind, that is not the run's: the run would be read as another's.

    `own` are the names in the run's record, `config` its settings.
    """
    for kind, word in typed.items():
        if word is None:
            continue
        preset = word if isinstance(word, Preset) else read_preset(kind, word)
        if preset.name == own[kind]:
            continue
        section = config.get(kind)
        first = section.get("class_path") if isinstance(section, Mapping) else None
        travels = own[kind] in preset_names(kind)
        # A user's own folder gives the dataset its name, and `--data folder` reads it again.
        if not travels and isinstance(first, str) and present_path(first) == preset.class_path:
            continue
        typed_as = preset.name if isinstance(word, Preset) else word
        advice = f"leave out --{kind} {typed_as}" if travels else f"name its own file: --{kind} {own[kind]}.yaml"
        raise UsageError(f"{run} is a run of {own[kind]}; {advice}")


def check_classes(own: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Refuse a class that a file names for a setting, unless the method's own file names it: it would be imported.

    Both arguments hold settings by dotted name; `base` are those of the presets.
    """
    known = {str(value) for key, value in base.items() if key.endswith(".class_path")}
    for key, value in own.items():
        if key.endswith(".class_path") and str(value) not in known:
            setting = key.removesuffix(".class_path")
            raise UsageError(f"'{setting}' names the class '{value}'; code of one's own runs only where it is typed")
