"""Presets, the YAML files in `conf/`: which models and datasets there are, and their settings."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import signature
from pathlib import Path
from traceback import extract_tb
from typing import Any

from bench.config.moved_classes import present_path
from bench.errors import UsageError, unknown

DEFAULT_DATA = "mvtec_ad"  # the dataset of a command that names none
# The base class of each kind, by name: settings are read without importing a method or a dataset.
_BASES = {
    "model": "bench.models.base.Detector",
    "data": "bench.data.datamodule.DefectData",
    "launcher": "bench.sweep.launchers.base.Launcher",
}


@dataclass(frozen=True)
class Preset:
    """One file of `conf/`, or one of the user's in the same form."""

    kind: str  # `model`, `data` or `launcher`
    name: str
    class_path: str
    about: str
    paper: str
    track: str
    settings: Mapping[str, Any]  # sections `model`, `data`, `trainer` and top-level settings
    folder: Path
    reference: str | None = None  # id in published.json
    differs: str = ""  # how the protocol differs from that of the reference
    owner: str = ""  # the publisher of a dataset's images
    trivial: bool = False  # a baseline that every method of its track must clear
    loaded: type | None = None  # a class that was handed over in Python

    def load_class(self) -> type:
        """Import the class; it may lie beside the YAML file, outside any package."""
        loaded = self._import(present_path(self.class_path)) if self.loaded is None else self.loaded
        base = _import_class(_BASES[self.kind])
        if not isinstance(loaded, type):
            raise UsageError(f"class_path '{self.class_path}' of '{self.name}' is no class")
        if not issubclass(loaded, base):
            raise UsageError(f"class_path '{self.class_path}' of '{self.name}' is no {_BASES[self.kind]}")
        if self.kind == "model" and getattr(loaded, "forward", None) is getattr(
            base, "forward", None
        ):  # a base class of methods
            raise UsageError(
                f"class_path '{self.class_path}' of '{self.name}' has no forward, by which images are scored"
            )
        return loaded

    def _import(self, class_path: str) -> object:
        module_name = class_path.rpartition(".")[0]
        if module_name.split(".")[0] != "bench" and str(self.folder) not in sys.path:
            sys.path.append(str(self.folder))
        try:
            return _import_class(class_path)
        except (Exception, SystemExit) as error:  # a user's own module may raise anything, and exit as well
            raise UsageError(
                f"cannot import class_path '{self.class_path}' of '{self.name}': {self._describe(error)}"
            ) from error

    def _describe(self, error: BaseException) -> str:
        if isinstance(error, SystemExit):
            return f"it ends Python with sys.exit({error.code})"
        if isinstance(error, ModuleNotFoundError):
            return f"{error}; name the YAML file that lies beside it: --model FILE or --data FILE"
        own = [frame for frame in extract_tb(error.__traceback__) if Path(frame.filename).parent == self.folder]
        return f"{error} ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else str(error)


def _import_class(class_path: str) -> Any:
    module_name, _, class_name = class_path.rpartition(".")
    return getattr(import_module(module_name), class_name)


def conf_folder() -> Path:
    """`conf/` of the checkout, or its copy in an installed wheel."""
    package = Path(__file__).parents[1]
    installed, checkout = package / "conf", package.parents[1] / "conf"
    return installed if installed.is_dir() else checkout


def preset_names(kind: str) -> list[str]:
    """Names of the files in `conf/<kind>`."""
    return sorted(path.stem for path in (conf_folder() / kind).glob("*.yaml"))


def is_path(reference: str) -> bool:
    """Whether a reference to a method, dataset or launcher is the path of its file."""
    return reference.endswith((".yaml", ".yml")) or "/" in reference


def _spelled(reference: str) -> str:
    """A typed name as names of presets are spelled: `PaDiM-paper` is `padim_paper`."""
    return reference.casefold().replace("-", "_")


def names_preset(kind: str, reference: str) -> bool:
    """Whether a word is the name of a preset or the path of a file."""
    return is_path(reference) or _spelled(reference) in preset_names(kind)


def read_preset(kind: str, reference: str) -> Preset:
    """Read `conf/<kind>/<reference>.yaml`, or the YAML file at the path `reference`."""
    if is_path(reference):
        path = Path(reference).expanduser()
        if not path.is_file():
            raise UsageError(f"no {kind} file {path}")
    else:
        names = preset_names(kind)
        name = reference if reference in names or kind == "launcher" else _spelled(reference)
        if name not in names:
            hint = "'bench models' lists them" if kind == "model" else ""
            if kind == "data" and DEFAULT_DATA.startswith(f"{name}_"):  # MVTec made several, and this one is meant
                hint = f"did you mean '{DEFAULT_DATA}'?"
            raise unknown("dataset" if kind == "data" else kind, reference, names, hint=hint)
        path = conf_folder() / kind / f"{name}.yaml"
    content = read_yaml(path)
    if not isinstance(content.get("class_path"), str):
        raise UsageError(f"{path} names no class_path, such as 'bench.models.vae.VAE'")
    published = content.pop("reference", None)
    return Preset(
        kind=kind,
        name=path.stem,
        class_path=content.pop("class_path"),
        about=str(content.pop("about", "")),
        paper=str(content.pop("paper", "")),
        track=str(content.pop("track", "")),
        reference=None if published in (None, "none") else str(published),
        differs=str(content.pop("protocol_differs", None) or ""),
        owner=str(content.pop("owner", "")),
        trivial=content.pop("trivial", False) is True,
        settings=content,
        folder=path.resolve().parent,
    )


def preset_of_class(kind: str, loaded: type) -> Preset:
    """The preset of a class that was handed over in Python: it has the class's name, and no settings.

    A dataset's class is the dataset of `conf/` that adds nothing to it: its images stay in the tables of that dataset.
    """
    class_path = f"{loaded.__module__}.{loaded.__qualname__}"
    for found in (read_preset(kind, name) for name in preset_names(kind)) if kind == "data" else ():
        settings = found.settings.get("data", {})
        if found.class_path == class_path and all(value is None for value in settings.values()):
            return found
    return Preset(
        kind=kind,
        name=loaded.__name__,
        class_path=class_path,
        about="",
        paper="",
        track="",
        settings={},
        folder=Path(),
        loaded=loaded,
    )


@cache
def owner_of(dataset: str) -> str:
    """The publisher of a dataset's images, by the dataset's name in a record; '' where unknown or unpublished."""
    return read_preset("data", dataset).owner if dataset in preset_names("data") else ""


@cache
def is_trivial(model: str) -> bool:
    """Whether a method, by the name of its preset in a record, declares itself a trivial baseline."""
    return model in preset_names("model") and read_preset("model", model).trivial


def constructor_keywords(cls: type) -> set[str]:
    """The settings of a class: its constructor's keywords, and those of its base where it takes `**` for them."""
    found = [p for name, p in signature(cls).parameters.items() if name != "spec"]
    own = {p.name for p in found if p.kind is not p.VAR_KEYWORD}
    return own if len(own) == len(found) else own | constructor_keywords(cls.__mro__[1])


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; a UsageError names the file and the line of a mistake."""
    import yaml  # help lists presets and reads none

    from bench.config.strict_yaml import parse_yaml

    if path.exists() and not path.is_file():  # reading a named pipe would block
        raise UsageError(f"cannot read {path}: it is {'a folder' if path.is_dir() else 'no regular file'}")
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no file {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read {path}: {reason}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        problem = " ".join(str(getattr(error, "problem", error)).split())
        raise UsageError(f"{path} is no valid YAML{line}: {problem}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds no settings (a mapping of names to values)")
    return content
