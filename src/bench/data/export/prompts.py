"""Prompts for detectors that read text: a few words for each class."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bench.config.presets import read_yaml
from bench.errors import UsageError, unknown

ANY_DEFECT = "defect"  # the class of all defects where types do not matter


def class_prompts(category: str, classes: Sequence[str], own: Path | None) -> dict[str, str]:
    """The prompt of each class: from the YAML file `own` (class: text), else from prompts.json, else its name."""
    known = json.loads(files("bench.data.export").joinpath("prompts.json").read_text(encoding="utf-8"))
    typed = {str(name): text for name, text in read_yaml(own).items()} if own else {}
    for name, text in typed.items():
        if name not in classes:
            raise unknown(f"class in {own}", name, classes)
        if not isinstance(text, str) or not text.strip():
            raise UsageError(f"{own}: the prompt of '{name}' is no text")
    prompts = {name: known.get(category, {}).get(name) or f"{_words(name)} on {_words(category)}" for name in classes}
    return prompts | {name: text.strip() for name, text in typed.items()}


def _words(name: str) -> str:
    return " ".join(name.replace("_", " ").replace("-", " ").split())
