"""What the file of a class says of it, read without importing it: an import of torch takes seconds."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, reduce
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from typing import Any, Literal

from bench.config import number_ranges
from bench.config.moved_classes import present_path
from bench.config.presets import Preset

# Constructor parameters that no setting gives: the run does.
_OF_THE_RUN = {"self", "spec", "category", "seed", "protocol"}
_VALUES: Mapping[str, type] = {"int": int, "float": float, "bool": bool, "str": str}
_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """A keyword of a constructor: its type in plain words, its default as written, its line in the docstring."""

    name: str
    kind: str
    default: str
    about: str
    type: Any = None  # the same type as the class has it; None where it cannot be told without an import


@dataclass(frozen=True)
class ClassSource:
    """A class with all its bases but the first one."""

    settings: Mapping[str, Setting]
    defined: frozenset[str]
    track: str

    def is_trained(self) -> bool:
        """Whether the method learns by gradient, as `Detector.is_trained` tells of the class itself."""
        return bool({"loss", "training_step"} & self.defined)


def trainer_source() -> ClassSource | None:
    """Lightning's Trainer."""
    return _read("lightning.pytorch.trainer.trainer.Trainer", Path(), False)


def read_source(preset: Preset) -> ClassSource | None:
    """The class of a preset; None where its file is not found or not of the usual form."""
    if preset.loaded is not None:
        return None
    return _read(present_path(preset.class_path), preset.folder, preset.kind == "launcher")


@cache
def _read(class_path: str, folder: Path, has_fields: bool) -> ClassSource | None:
    """The class at this path; `has_fields`: its settings are fields of pydantic's, not keywords of a constructor."""
    module, _, name = class_path.rpartition(".")
    file = _file(module, folder)
    try:
        tree = ast.parse(file.read_text(encoding="utf-8")) if file else None
    except (OSError, SyntaxError, ValueError):
        return None
    classes = [each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name] if tree else []
    if tree is None or not classes:
        return None
    found = classes[0]
    init = next((each for each in found.body if isinstance(each, ast.FunctionDef) and each.name == "__init__"), None)
    settings = dict(_fields(found) if has_fields else _keywords(found, init))
    for key, each in settings.items():
        kind, default = (_plain(text, tree, folder) for text in (each.kind, each.default))
        settings[key] = replace(each, kind=kind, default=default, type=_type(each.kind, tree, folder))
    defined = {each.name for each in found.body if isinstance(each, ast.FunctionDef)}
    track = _track(found)
    if not _is_root(found):
        base = _read(_path_of(ast.unparse(found.bases[0]), tree, module), folder, has_fields) if found.bases else None
        if base is None:
            return None
        if init is None or init.args.kwarg is not None:
            settings |= {key: each for key, each in base.settings.items() if key not in settings}
        track = track or base.track
        defined |= base.defined
    elif init is not None:
        defined = set()  # what every method has
    return ClassSource(settings, frozenset(defined), track)


def _is_root(found: ast.ClassDef) -> bool:
    """Whether the class is the first of its kind: `Detector`, `DefectData`, Lightning's, or a model of pydantic's."""
    return found.name in ("Detector", "DefectData", "Trainer") or any(
        "BaseModel" in ast.unparse(base) for base in found.bases
    )


def _file(module: str, folder: Path) -> Path | None:
    parts = module.split(".")
    if parts[0] == "lightning" and (found := find_spec("lightning")) and found.origin:
        place = Path(found.origin).parent.joinpath(*parts[1:])
    else:
        place = _PACKAGE.joinpath(*parts[1:]) if parts[0] == "bench" else folder.joinpath(*parts)
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def _path_of(base: str, tree: ast.Module, module: str) -> str:
    """The path of a class that a module names: imported, or its own."""
    for each in tree.body:
        if isinstance(each, ast.ImportFrom) and each.module:
            for alias in each.names:
                if base == (alias.asname or alias.name):
                    return f"{each.module}.{alias.name}"
    return f"{module}.{base}"


def _plain(kind: str, tree: ast.Module, folder: Path) -> str:
    """A type or default in plain words, `int`, `a|b|null`, `16`: names are looked up where they are declared."""
    if found := re.fullmatch(r"Literal\[(.+)\]|Annotated\[(\w+),.+\]", kind, flags=re.DOTALL):
        return found[2] or "|".join(word.strip().strip("'\"") for word in found[1].split(","))
    if " | " in kind:
        return "|".join(_plain(each, tree, folder) for each in kind.split(" | "))
    if re.fullmatch(r"[A-Z]\w+", kind) and kind != "None":
        module = _path_of(kind, tree, "").rpartition(".")[0]
        file = _file(module, folder) if module else None
        place = ast.parse(file.read_text(encoding="utf-8")) if file else tree
        for each in place.body:
            if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == kind:
                return _plain(ast.unparse(each.value), place, folder)
    return "null" if kind == "None" else kind


def _type(annotation: str, tree: ast.Module, folder: Path) -> Any:
    """The type that an annotation is, or None: only words for plain values are known, and no code is run."""
    try:
        return _evaluated(ast.parse(annotation, mode="eval").body, tree, folder)
    except (LookupError, SyntaxError, TypeError):
        return None


def _evaluated(node: ast.expr, tree: ast.Module, folder: Path) -> Any:
    """The type that an expression is; a LookupError where that takes an import."""
    if isinstance(node, ast.Constant) and node.value is None:
        return type(None)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _evaluated(node.left, tree, folder) | _evaluated(node.right, tree, folder)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if node.value.id == "Literal":
            return Literal[tuple(part.value for part in parts if isinstance(part, ast.Constant))]
        if node.value.id in ("Optional", "Union"):
            own = [type(None)] if node.value.id == "Optional" else []
            return reduce(or_, [*(_evaluated(part, tree, folder) for part in parts), *own])
    if isinstance(node, ast.Name) and node.id in _VALUES:
        return _VALUES[node.id]
    if not isinstance(node, ast.Name):
        raise LookupError(ast.unparse(node))
    module = _path_of(node.id, tree, "").rpartition(".")[0]
    if module == number_ranges.__name__:
        return getattr(number_ranges, node.id)
    file = _file(module, folder) if module else None
    place = ast.parse(file.read_text(encoding="utf-8")) if file else tree
    for each in place.body:
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == node.id:
            return _evaluated(each.value, place, folder)
    raise LookupError(node.id)


def _track(found: ast.ClassDef) -> str:
    for each in found.body:
        targets = (
            [each.target] if isinstance(each, ast.AnnAssign) else each.targets if isinstance(each, ast.Assign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == "track" for target in targets):
            value = getattr(each, "value", None)
            return str(value.value) if isinstance(value, ast.Constant) else ""
    return ""


def _fields(found: ast.ClassDef) -> Iterator[tuple[str, Setting]]:
    lines = _described(ast.get_docstring(found) or "")
    for each in found.body:
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name, default = each.target.id, ast.unparse(each.value) if each.value else ""
            yield name, Setting(name, ast.unparse(each.annotation), default, lines.get(name, ""))


def _keywords(found: ast.ClassDef, init: ast.FunctionDef | None) -> Iterator[tuple[str, Setting]]:
    if init is None:
        return
    lines = _described(ast.get_docstring(found) or "")
    positional, named = init.args.posonlyargs + init.args.args, init.args.kwonlyargs
    defaults = [None] * (len(positional) - len(init.args.defaults)) + [*init.args.defaults, *init.args.kw_defaults]
    for argument, value in zip(positional + named, defaults, strict=True):
        if argument.arg not in _OF_THE_RUN:
            kind = ast.unparse(argument.annotation) if argument.annotation else ""
            default = ast.unparse(value) if value else ""
            yield argument.arg, Setting(argument.arg, kind, default, lines.get(argument.arg, ""))


def _described(docstring: str) -> dict[str, str]:
    """The lines of a docstring's `Args`, by name."""
    _, _, text = docstring.partition("Args:\n")
    found = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", text, flags=re.MULTILINE)
    return {name: " ".join(about.split()) for name, about in found}
