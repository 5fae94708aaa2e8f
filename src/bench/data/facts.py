"""Facts of a dataset's categories beside their images: groups, symmetries, and published counts."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from bench.config.moved_classes import present_path
from bench.config.presets import preset_names, read_preset


@dataclass(frozen=True)
class Symmetry:
    """Which changes of pose leave a normal image normal (from Rippel et al., gaussian-ad-mvtec)."""

    aligned_to_hflip: bool
    hflip_symmetric: bool
    must_not_rotate: bool
    rotation_symmetric_any: bool
    rotation_symmetric_90: bool
    rotation_symmetric_180: bool


NO_SYMMETRY = Symmetry(False, False, True, False, False, False)  # of an object of which nothing is known


@dataclass(frozen=True)
class Published:
    """A category as its makers published it: images of each kind, `side` in pixels of its square images.

    Side and channels are None where images have several, or where no source tells.
    """

    train_good: int
    test_good: int
    defect_types: Mapping[str, int]
    side: int | None = None
    channels: int | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Number of images: `train/good`, `test/good` and each `test/<defect type>`."""
        defects = {f"test/{name}": count for name, count in self.defect_types.items()}
        return {"train/good": self.train_good, "test/good": self.test_good} | defects


@dataclass(frozen=True)
class CategoryFacts:
    """One category; `published` is None if no images of this very category were published, or no source counts them.

    `aligned` objects always lie in the same position (CutPaste, appendix: they get one density per position).
    """

    name: str
    group: Literal["texture", "object"]
    aligned: bool
    symmetry: Symmetry
    published: Published | None = None


@cache
def known_categories(dataset: str) -> Mapping[str, CategoryFacts]:
    """The facts of a dataset's categories, by its name in a record; empty if the dataset is not in `conf/`.

    No dataset class is imported, so that tables need no torch.
    """
    if dataset not in preset_names("data"):
        return {}
    family = _family(read_preset("data", dataset).class_path)
    return categories_of(family) if family else {}


def facts_of_class(class_path: str) -> Mapping[str, Any]:
    """The whole content of the JSON file beside a dataset's module; empty without one."""
    family = _family(class_path)
    return read_facts(family) if family else {}


def _family(class_path: str) -> str:
    """The module's name where it lies in `datasets/`, else ''."""
    package, _, stem = present_path(class_path).rpartition(".")[0].rpartition(".")
    return stem if package == _DATASETS else ""


@cache
def categories_of(family: str) -> Mapping[str, CategoryFacts]:
    """The categories in the JSON file beside a module of `datasets/`, textures first; empty without that file."""
    return {name: _category(name, entry) for name, entry in read_facts(family).get("categories", {}).items()}


@cache
def read_facts(family: str) -> Mapping[str, Any]:
    """The whole content of that JSON file; empty if it is missing."""
    file = files(_DATASETS).joinpath(f"{family}.json")
    facts: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return facts


_DATASETS = "bench.data.datasets"


def _category(name: str, entry: Mapping[str, Any]) -> CategoryFacts:
    published = None
    if "train_good" in entry:
        published = Published(**{key: entry[key] for key in Published.__dataclass_fields__ if key in entry})
    symmetry = Symmetry(**entry["symmetry"]) if "symmetry" in entry else NO_SYMMETRY
    return CategoryFacts(name, entry.get("group", "object"), entry.get("aligned", False), symmetry, published)
