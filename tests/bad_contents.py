"""Files of the right kind and name that say what cannot be: records, checkpoints, images, masks, settings, sweeps."""

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bad_things import NO_IMAGE, Make, content, folder, pipe, zip_of
from bad_words import FIT

Damage = Callable[[Path], object]
"""Does harm to the folder of a run."""


def record_of(data: bytes | str) -> Damage:
    """A record that is this."""
    return lambda run: content(data)(run / "record.json")


def put(name: str, value: Any) -> Damage:
    """Put a value in the place of a field of the record, by its dotted name."""

    def change(run: Path) -> None:
        record = json.loads((run / "record.json").read_text())
        *sections, key = name.split(".")
        place = record
        for section in sections:
            place = place[section]
        place[key] = value
        (run / "record.json").write_text(json.dumps(record))

    return change


def without(name: str) -> Damage:
    """Take a field out of the record."""

    def change(run: Path) -> None:
        record = json.loads((run / "record.json").read_text())
        del record[name]
        (run / "record.json").write_text(json.dumps(record))

    return change


def encoded(encoding: str) -> Damage:
    def change(run: Path) -> None:
        (run / "record.json").write_bytes((run / "record.json").read_text().encode(encoding))

    return change


def instead(make: Make) -> Damage:
    """Another thing in the place of the record."""

    def change(run: Path) -> None:
        (run / "record.json").unlink()
        make(run / "record.json")

    return change


def half(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


FIELDS: dict[str, list[Any]] = {
    "status": [None, "done", 1],
    "schema": ["one", 99, -1.5, None],
    "track": ["both", None],
    "seed": ["zero", 1.5, None, 2**70],
    "fold": ["some", 1.5, []],
    "fingerprint": ["", "xyz", None, 5, "0" * 17],
    "config": [None, [], "text"],
    "config.model": [None, 5, "vae"],
    "config.data": [None, []],
    "config.trainer": [None, "fast"],
    "data": [None, {}, []],
    "data.counts": [{"train": -1}, [], {"train": "many"}],
    "metrics": [[], {"image_auroc": "high"}, {"image_auroc": []}],
    "intervals": [{"image_auroc": [0.1]}, {"image_auroc": [0.1, 0.2, 0.3]}],
    "map_range": [[1], ["a", "b"], 5],
    "cost": [{}, {"device": "cpu"}, []],
    "weights": [None, [], {"source": 5}],
    "started": [None, 5],
    "command": [None, []],
    "unknown": [1],
}
RECORDS: dict[str, Damage] = {
    "nothing": record_of(b""),
    "a list": record_of("[]"),
    "null": record_of("null"),
    "a number": record_of("5"),
    "an empty mapping": record_of("{}"),
    "NaN": record_of("NaN"),
    "half of it": lambda run: half(run / "record.json"),
    "UTF-16": encoded("utf-16"),
    "no text": record_of(b"\xff\xfe\x00"),
    "a comment": record_of("// a record\n{}"),
    "a folder": instead(folder),
    "a pipe": instead(pipe),
} | {f"{name} is {value!r}"[:60]: put(name, value) for name, values in FIELDS.items() for value in values}
RECORDS |= {f"no {name}": without(name) for name in ("model", "dataset", "category", "config", "data", "status")}

SETTINGS_OF_A_RECORD: dict[str, Damage] = {
    "no method": put("config.model", {}),
    "an unknown method": put("config.model", {"name": "nonsense"}),
    "an unknown section": put("config.more", {"a": 1}),
    "an unknown setting": put("config.model.more", 1),
    "a size that is text": put("config.data.image_size", "large"),
    "a seed below zero": put("config.seed", -1),
    "a quantile of two": put("config.threshold_quantile", 2),
    "a width that is a list": put("config.model.latent_dim", [1]),
    "a category that is a list": put("config.category", ["screw"]),
}


class Harm:
    """A pickle that runs code where it is loaded."""

    def __reduce__(self) -> tuple:
        return os.mkdir, ("harmed",)


def saved(value: object) -> Make:
    def make(path: Path) -> Path:
        torch.save(value, path)
        return path

    return make


def of_protocol(number: int) -> Make:
    """The checkpoint with a pickle that says to be of this protocol, of which torch warns."""

    def change(path: Path) -> Path:
        with zipfile.ZipFile(path) as file:
            members = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w") as file:
            for name, data in members.items():
                changed = b"\x80" + bytes([number]) + data[2:-1] if name.endswith("data.pkl") else data
                file.writestr(name, changed)
        return path

    return change


CHECKPOINTS: dict[str, Make] = {
    "a pickle of protocol 114": of_protocol(114),
    "nothing": content(b""),
    "text": content("no checkpoint"),
    "half of it": half,
    "a zip of something else": content(zip_of({"notes.txt": b"x"})),
    "code": saved({"state_dict": {}, "bench": Harm()}),
    "a list": saved([1, 2]),
    "a tensor": saved(torch.zeros(3)),
    "an empty mapping": saved({}),
    "a mapping of numbers": saved({1: 2}),
    "an array": content(np.zeros(3).tobytes()),
}


def replaced_by(make: Make) -> Make:
    def change(path: Path) -> Path:
        path.unlink()
        return make(path)

    return change


CHECKPOINTS |= {"a folder": replaced_by(folder), "a pipe": replaced_by(pipe), "no file": lambda path: path.unlink()}
PREDICTIONS: dict[str, Make] = {
    "nothing": content(b""),
    "half of it": half,
    "no text": content(b"\xff\xfe\x00"),
    "other columns": content("a,b\n1,2\n"),
    "a page": content("<html></html>"),
}
IMAGES: dict[str, Make] = NO_IMAGE | {"a folder": folder, "a pipe": pipe}


def mask(values: Any, mode: str | None = None) -> Make:
    """A mask with these values side by side, over and over."""

    def make(path: Path) -> Path:
        pixels = np.resize(np.array(values, np.uint8), (48, 48))
        Image.fromarray(pixels).convert(mode).save(path) if mode else Image.fromarray(pixels).save(path)
        return path

    return make


MASKS: dict[str, Make] = {name: make for name, make in NO_IMAGE.items() if name != "all transparent"} | {
    "three values": mask([0, 0, 128, 255]),
    "all values": mask(range(256)),
    "colours": lambda path: content(b"")(path),
    "no defect": mask([0]),
    "a folder": folder,
    "a pipe": pipe,
}
# What a file says, by the command that reads `file.yaml`, and words of the line.
FILES: dict[str, dict[str, str]] = {
    f"{FIT} --config file.yaml": {
        "model: null\ntrainer: []": "trainer",
        "model: {latent_dim: [1, 2]}": "--model.latent_dim",
        "model: {latent_dim: {a: 1}}": "latent_dim",
        "model: {latent_dim: 2020-01-01}": "--model.latent_dim",
        "model: {learning_rate: .inf}": "--model.learning_rate",
        "model: {1: 2}": "1",
        "modle: {}": "modle",
        "model: {latent_dimm: {}}": "did you mean '--model.latent_dim'?",
        "model: {latent_dim: {a: {}}}": "latent_dim",
        "data: {root: [a, b]}": "--data.root",
        'data: {cache: "a\\0b"}': "--data.cache",
        "data: {image_size: 1e3000}": "--data.image_size",
        "data: {null: 1}": "None",
        "trainer: {devices: {}}": "devices",
        "trainer: {callbacks: [x]}": "trainer.callbacks",
        "trainer: {logger: {class_path: os.system}}": "trainer.logger",
        "seed: [1]": "--seed",
        "seed: {a: 1}": "seed",
        "seed: null": "--seed",
        "threshold_quantile: null": "--threshold_quantile",
        "model: {latent_dim: null}": "--model.latent_dim",
        "seed: !!binary aGVsbG8=": "--seed",
        "seed: !!set {a}": "seed",
        "protocol: {model: full}": "protocol",
        "patience: soon": "--patience",
        "config: other.yaml": "config",
        "resume: x": "resume",
        "runs: elsewhere": "runs",
        "? [1, 2]\n: x": "file.yaml",
        "~: x": "None",
        "model: &a {b: *a}": "refers to itself",
        "<<: 5": "file.yaml",
        'x: "\\ud800"': "'x'",
        "%YAML 9.9\n---\nseed: 1": "file.yaml",
        "\ufeffsede: 1": "sede",
    },
    "sweep file.yaml --data.root {data} --model.weights none": {
        "": "no models",
        "models: []\ncategories: [screw]": "models",
        "models: padim\ncategories: [screw]": "models",
        "models: {padim: 1}\ncategories: [screw]": "models",
        "models: [5]\ncategories: [screw]": "models",
        "models: [padim]": "no categories",
        "models: [padim]\ncategories: []": "categories",
        "models: [padim]\ncategories: [[screw]]": "categories",
        'models: [padim]\ncategories: ["a\\0b"]': "categor",
        'models: ["a\\0b"]\ncategories: [screw]': "model",
        "models: [padim]\ncategories: [../screw]": "../screw",
        "models: [padim]\ncategories: [screw]\nseeds: []": "seeds",
        "models: [padim]\ncategories: [screw]\nseeds: 0": "seeds",
        "models: [padim]\ncategories: [screw]\nseeds: [one]": "seeds",
        "models: [padim]\ncategories: [screw]\nseeds: [-1]": "seed",
        "models: [padim]\ncategories: [screw]\nseeds: [1.5]": "seeds",
        "models: [padim]\ncategories: [screw]\nvariants: [a, b]": "variants",
        "models: [padim]\ncategories: [screw]\nvariants: {a: 5}": "variants",
        "models: [padim]\ncategories: [screw]\nvariants: {5: {}}": "variants",
        "models: [padim]\ncategories: [screw]\nvariants: {a: {modle: {a: 1}}}": "modle",
        "models: [padim]\ncategories: [screw]\nsettings: [a]": "settings",
        "models: [padim]\ncategories: [screw]\nsettings: {model: {name: vae}}": "settings: model.name",
        "models: [padim]\ncategories: [screw]\nsettings: {model: vae}": "settings: model",
        "models: [padim]\ncategories: [screw]\nsettings: {data: {class_path: a.b}}": "settings: data.class_path",
        "models: [padim]\ncategories: [screw]\nsettings: {seed: x}": "settings: seed",
        "models: [padim]\ncategories: [screw]\nsettings: {category: carpet}": "settings: category",
        "models: [padim]\ncategories: [screw]\nsettings: {modle: {}}": "modle",
        "models: [padim]\ncategories: [screw]\nsettings: {model: {sigmaa: {}}}": "sigmaa",
        "models: [padim]\ncategories: [screw]\nvariants: {a: {seed: 3}}": "variants: a: seed",
        "models: [padim]\ncategories: [screw]\nvariants: {a: {model: {name: vae}}}": "variants: a: model.name",
        "models: [padim]\ncategories: [screw]\nvariants: {a: {modle: {}}}": "modle",
        "models: [padim]\ncategories: [screw]\nsettings: {model: 5}": "model",
        "models: [padim]\ncategories: [screw]\nlauncher: ray": "launcher",
        "models: [padim]\ncategories: [screw]\n5: 6": "5",
    },
    "study file.yaml {run}": {
        "models: [padim]\ncategories: [screw]": "baseline",
        "models: [padim]\ncategories: [screw]\nbaseline: none\nvariants: {a: {}}": "unknown baseline 'none'",
        "models: [padim]\ncategories: [screw]\nbaseline: [a]\nvariants: {a: {}}": "baseline",
        "models: [vaee]\ncategories: [screw]\nbaseline: a\nvariants: {a: {}, b: {}}": "vaee",
    },
    "sweep --models padim --categories screw --data.root {data} --model.weights none --launcher ./file.yaml": {
        "": "class_path",
        "class_path: 5": "class_path",
        "class_path: os": "class_path",
        "class_path: os.nothing": "os.nothing",
        "class_path: os.system": "os.system",
        "class_path: ''": "class_path",
        "class_path: nowhere.Launcher": "nowhere",
        "class_path: bench.models.padim.PaDiM": "Launcher",
        "class_path: bench.sweep.launchers.local.LocalLauncher\nworkers: many": "workers",
        "class_path: bench.sweep.launchers.local.LocalLauncher\nwrokers: 1": "workers",
        "class_path: bench.sweep.launchers.local.LocalLauncher\n5: 1": "5",
        "class_path: bench.sweep.launchers.local.LocalLauncher\nlease: .inf": "lease",
    },
    "fit --model ./file.yaml --category screw --data.root {data}": {
        "about: mine": "class_path",
        "class_path: builtins.dict": "Detector",
        "class_path: bench.models.base.Detector": "no forward",
        "class_path: bench.models.padim.PaDiMM": "PaDiMM",
        "class_path: ..padim.PaDiM": "class_path",
        "class_path: bench.models.padim.PaDiM\nmodel: 5": "model",
        "class_path: bench.models.padim.PaDiM\nmodel: {nothing: 1}": "nothing",
        "class_path: bench.models.padim.PaDiM\nmodel: {sigma: wide}": "sigma",
        "class_path: bench.models.padim.PaDiM\nreference: nobody": "nobody",
        "class_path: bench.models.padim.PaDiM\nreference: [a]": "a",
        "class_path: bench.models.padim.PaDiM\n5: 6": "5",
    },
    "data export --format coco --category screw --data.root {data} --prompts file.yaml": {
        "blob: [a]": "blob",
        "blob: {a: b}": "blob",
        "blob: 5": "blob",
        "blob: ''": "blob",
        "5: dent": "5",
        "blbo: dent": "blbo",
    },
}
