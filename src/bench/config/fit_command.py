"""The `bench fit` command that runs a cell, for its record and for a separate process."""

import json
import shlex

from bench.config.presets import DEFAULT_DATA, Preset, conf_folder, preset_names, read_preset
from bench.config.settings import Config


def fit_command(config: Config) -> str:
    """The shell command in a record that repeats the run, whether a shell, a sweep or Python began it.

    A run of a class that Python handed over, which no shell can name, is repeated by a call.
    """
    if config.model.loaded or config.data.loaded:
        named = [preset.class_path if preset.loaded else repr(preset.name) for preset in (config.model, config.data)]
        settings = {key: value for key, value in config.overrides.items() if key != "seed"}
        seed = config.settings["seed"]
        return f"bench.fit({named[0]}, {config.category!r}, data={named[1]}, seed={seed}, settings={settings!r})"
    return shlex.join(["bench", *fit_arguments(config)])


def fit_arguments(config: Config) -> list[str]:
    """The arguments of `bench` that resolve to exactly this configuration."""
    words = ["fit", "--model", _reference("model", config.model)]
    products = config.settings["data"].get("products")
    words += ["--category", config.category] if products is None else ["--one-model", ",".join(products)]
    if config.data.name != DEFAULT_DATA:
        words += ["--data", _reference("data", config.data)]
    for key, value in ({"seed": config.settings["seed"]} | config.overrides).items():
        if key == "data.products":
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        words += [f"--{key}={text}"] if text.startswith("--") else [f"--{key}", text]
    return words


def _reference(kind: str, preset: Preset) -> str:
    """The preset's name, or the path of a user's own file."""
    if preset.folder == (conf_folder() / kind).resolve():
        return preset.name
    files = [preset.folder / f"{preset.name}{suffix}" for suffix in (".yaml", ".yml")]
    if found := next((file for file in files if file.is_file()), None):
        return str(found)
    # A record's dataset may be named after a folder: the preset of the same class finds it again.
    alike = (name for name in preset_names(kind) if read_preset(kind, name).class_path == preset.class_path)
    return next(alike, str(files[0]))
