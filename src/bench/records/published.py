"""Published metrics on MVTec AD, each with its source: `published.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import Literal, NamedTuple

from bench.errors import unknown

DATASET = "mvtec_ad"  # the dataset of all values in published.json
# Published means are over these categories of MVTec AD.
_TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
_OBJECTS = (
    "bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper",
)  # fmt: skip

Kind = Literal["paper", "authors code", "reimplementation", "independent re-evaluation"]


class Figure(NamedTuple):
    """One published value, and its scope: a category, `mean`, `textures` or `objects`."""

    value: float
    of: str


@dataclass(frozen=True)
class Published:
    """One metric by category, as far as known; `mean`, `textures` and `objects` where the source prints them."""

    kind: Kind
    source: str
    values: Mapping[str, float]

    def value(self, of: str) -> float | None:
        """The value of a category; of a group as printed, else the mean of its categories where all are known."""
        members = groups().get(of)
        if of in self.values or members is None or not self.values.keys() >= set(members):
            return self.values.get(of)
        return fmean(self.values[name] for name in members)


@dataclass(frozen=True)
class Reference:
    """One variant of a method in one source; `metrics` is empty where no value is known."""

    id: str  # method/variant/source
    name: str
    metrics: Mapping[str, Published]
    note: str = ""

    def figure(self, metric: str, category: str) -> Figure | None:
        """The category's own value, else the mean over all categories."""
        published = self.metrics.get(metric)
        if published is None:
            return None
        return next(
            (Figure(value, of) for of in (category, "mean") if (value := published.value(of)) is not None), None
        )


@cache
def references() -> Mapping[str, Reference]:
    """All references by id."""
    text = files("bench.records").joinpath("published.json").read_text(encoding="utf-8")
    return {
        id: Reference(
            id, entry["name"], {name: Published(**row) for name, row in entry["metrics"].items()}, entry.get("note", "")
        )
        for id, entry in json.loads(text).items()
    }


def find_reference(id: str) -> Reference:
    """A reference by its id; for an unknown id, a UsageError names the nearest."""
    if id not in references():
        raise unknown("reference", id, references(), hint="published.json of the package lists them")
    return references()[id]


def groups() -> Mapping[str, Sequence[str]]:
    """The categories of each group that sources print means of."""
    return {"mean": _TEXTURES + _OBJECTS, "textures": _TEXTURES, "objects": _OBJECTS}
