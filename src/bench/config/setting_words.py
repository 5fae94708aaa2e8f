"""The words of a command line that stand for settings: dotted names, their last parts, and eight short ones."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from bench.config.class_sources import read_source
from bench.config.decisive_settings import Method, unusable
from bench.config.paths import with_data_of_now
from bench.config.presets import DEFAULT_DATA, Preset, preset_names, read_preset, read_yaml
from bench.config.settings import SETTINGS, Layers, read_layers, setting_names
from bench.errors import UsageError, nearest

# What other tools call these settings. `--workers` of a sweep are its launcher's.
SHORT: Mapping[str, str] = {
    "epochs": "trainer.max_epochs",
    "lr": "model.learning_rate",
    "batch_size": "data.batch_size",
    "image_size": "data.image_size",
    "device": "trainer.accelerator",
    "gpus": "trainer.devices",
    "optimizer": "model.optimizer",
    "workers": "data.num_workers",
}
OF_LAUNCHER = "launcher."
_OF_TRAINING = ("model.learning_rate", "model.optimizer", "trainer.max_epochs")


@dataclass(frozen=True)
class Typed:
    """The words of a command line that are none of the command's own options, each with its value, if it has one."""

    command: str  # `bench fit`
    words: tuple[tuple[str, str | None], ...]
    options: tuple[str, ...]  # the command's own, which a mistyped word may mean


class Vocabulary:
    """The settings that words can mean: those of some methods with one dataset, and of a sweep's launcher."""

    of_all = False  # whether these are all methods there are

    def __init__(self, typed: Typed, models: Sequence[Preset], data: Preset, launcher: Preset | None = None) -> None:
        self.typed, self.models, self.launcher = typed, models, launcher
        self.names = set().union(*(setting_names(model, data) for model in models))
        self.short = {**SHORT, "workers": "launcher.workers"} if launcher else SHORT
        source = read_source(launcher) if launcher else None
        self.names |= {f"{OF_LAUNCHER}{name}" for name in source.settings} if source else set()

    def full(self) -> dict[str, str]:
        """The typed settings by their dotted names, as if each had been typed in full."""
        found: dict[str, str] = {}
        for word, value in self.typed.words:
            name = self.name_of(word)
            if value is None:
                raise UsageError(f"{word} expects a value")
            self._check_use(name, word, value)
            found |= _translated(name, word, value)
        return found

    def in_full(self, text: str) -> str:
        """`lr=0.1,0.01` of `--set` with the setting's full name."""
        name, equals, values = text.partition("=")
        return f"{self.name_of(f'--{name}')}={values}" if name and equals else text

    def has(self, key: str) -> bool:
        """Whether a dotted name, or the last part of one, is a setting of these methods."""
        return key in self.names or any(name.rpartition(".")[2] == key for name in self.names)

    def name_of(self, word: str) -> str:
        """The dotted name that a word means; a UsageError where it means none, or several."""
        key = word.removeprefix("--").replace("-", "_")
        if key in self.names or (self.launcher and key.startswith(OF_LAUNCHER)):
            return key
        short = self.short.get(key)
        if short in self.names:
            return str(short)
        meant = sorted(name for name in self.names if name.rpartition(".")[2] == key)
        if len(meant) > 1:
            raise UsageError(f"{word} may be {' or '.join(f'--{name}' for name in meant)}; name one of them")
        if meant:
            return meant[0]
        raise self._missing(word, short or key)

    def _missing(self, word: str, name: str) -> UsageError:
        """The error for a word that means none of these settings."""
        if name in self.short.values() or name in _OF_TRAINING:
            return self._lacking(word, name)
        meant = {f"--{name}": f"--{name}" for name in self.names if "." in name or "." not in word}
        short = {each: full for each, full in self.short.items() if full in self.names}
        if "." in word:
            meant |= {f"--{full.partition('.')[0]}.{each}": f"--{full}" for each, full in short.items()}
        else:
            meant |= {option: option for option in self.typed.options}
            meant |= {f"--{name.rpartition('.')[2]}": f"--{name}" for name in self.names if f"--{name}" not in meant}
            meant |= {f"--{each}": f"--{full}" for each, full in short.items()}
        near = nearest(word, meant)
        if near is None and not self.of_all and any_vocabulary(self.typed, self.launcher).has(name):
            return self._lacking(word, name)
        of = f" --model {self.models[0].name}" if len(self.models) == 1 and self.typed.command == "bench fit" else ""
        advice = f"did you mean '{meant[near]}'?" if near else f"'{self.typed.command}{of} --help' lists them"
        return UsageError(f"unknown option '{word}'; {advice}")

    def _lacking(self, word: str, name: str) -> UsageError:
        """The error for a word whose meaning is known, and which these methods have no setting for."""
        one = self.launcher if self.launcher and name.startswith(OF_LAUNCHER) else self.models[0]
        source, reason = read_source(one), f"has no setting '{name.rpartition('.')[2]}'"
        if name in _OF_TRAINING and source and not source.is_trained():
            reason = "does not train"
        return UsageError(f"{one.name} {reason}: leave out {word}")

    def _check_use(self, name: str, word: str, value: str) -> None:
        """Refuse a short word for a setting that none of the methods can use; `resolve` refuses the full names."""
        if f"--{name}" == word or value == "null":
            return
        sources = [cast("type[Method] | None", read_source(model)) for model in self.models]
        reasons = [unusable(source).get(name) if source else None for source in sources]
        if all(reasons):
            raise UsageError(f"{self.models[0].name} {reasons[0]}: leave out {word}")


def read_words(
    typed: Typed,
    *,
    model: str | Preset | None,
    data: str | Preset | None,
    category: str | None,
    files: Sequence[Any],
    resume: Path | None,
) -> tuple[list[Any], Layers, dict[str, str]]:
    """The files of settings of a run, what it is of, and its typed settings by their dotted names.

    `files` are paths or mappings, later ones replacing earlier ones; the settings of an interrupted run come first.
    """
    both = list(files)
    if resume is not None:
        path = resume / SETTINGS
        if not path.is_file():
            raise UsageError(f"nothing to resume in {resume}: no {SETTINGS}")
        both.insert(0, read_yaml(path))
    if model is None and not both:
        any_vocabulary(typed).full()  # an unknown option is the first mistake to tell
    layers = read_layers(model=model, data=data, category=category, files=both)
    options = Vocabulary(typed, [layers.model], layers.data).full()
    if resume is not None and "data.root" not in options:
        both[0] = with_data_of_now(both[0])
        layers = read_layers(model=model, data=data, category=category, files=both)
    return both, layers, options


def any_vocabulary(typed: Typed, launcher: Preset | None = None) -> Vocabulary:
    """What words can mean where no method is named: the settings of all of them."""
    models = [read_preset("model", name) for name in preset_names("model")]
    found = Vocabulary(typed, list(_of_each_class(models)), read_preset("data", DEFAULT_DATA), launcher)
    found.of_all = True
    return found


def _of_each_class(models: Sequence[Preset]) -> Iterator[Preset]:
    yield from {model.class_path: model for model in models}.values()


def _translated(name: str, word: str, value: str) -> dict[str, str]:
    """The value as the setting has it: PyTorch's `cuda` and `cuda:1` are Lightning's `gpu`."""
    short = word.removeprefix("--")
    if short == "device":
        device, _, index = value.lower().partition(":")
        accelerator = {name: "gpu" if device == "cuda" else device}
        return accelerator | ({"trainer.devices": f"[{index}]"} if index else {})
    if short == "gpus":
        return {"trainer.accelerator": "cpu"} if value == "0" else {name: value, "trainer.accelerator": "gpu"}
    return {name: value}
