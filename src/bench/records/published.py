"""Published metrics, each with its source: `published.json`.

An entry holds one variant of a method in one source: its figures on MVTec AD with a model for each product, and
`elsewhere` those of the same source on other datasets, or of one model for all products of a dataset.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from statistics import fmean
from typing import Any, Literal, NamedTuple

from bench.config.tracks import ONE_CLASS
from bench.errors import unknown

DATASET = "mvtec_ad"  # the dataset of an entry's own figures
TRACK = ONE_CLASS.name  # and their track
# Published means are over these categories.
_TEXTURES = ("carpet", "grid", "leather", "tile", "wood")
_OBJECTS = (
    "bottle", "cable", "capsule", "hazelnut", "metal_nut", "pill", "screw", "toothbrush", "transistor", "zipper",
)  # fmt: skip
_GROUPS: Mapping[str, Mapping[str, Sequence[str]]] = {
    DATASET: {"mean": _TEXTURES + _OBJECTS, "textures": _TEXTURES, "objects": _OBJECTS},
    "visa": {
        "mean": (
            "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pcb1", "pcb2", "pcb3",
            "pcb4", "pipe_fryum",
        )
    },
    "btad": {"mean": ("01", "02", "03")},
    "mvtec_loco": {"mean": ("breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors")},
    "mvtec_ad_2": {"mean": ("can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts")},
}  # fmt: skip

Kind = Literal["paper", "authors code", "reimplementation", "independent re-evaluation"]


class Figure(NamedTuple):
    """One published value, and its scope: a category, `mean`, `textures` or `objects`."""

    value: float
    of: str
    over: int = 1  # categories, for a mean


@dataclass(frozen=True)
class Published:
    """One metric by category, as far as known; `mean`, `textures` and `objects` where the source prints them."""

    kind: Kind
    source: str
    values: Mapping[str, float]
    dataset: str = DATASET

    def value(self, of: str) -> float | None:
        """The value of a category; of a group as printed, else the mean of its categories where all are known."""
        members = groups(self.dataset).get(of)
        if of in self.values or members is None or not self.values.keys() >= set(members):
            return self.values.get(of)
        return fmean(self.values[name] for name in members)


@dataclass(frozen=True)
class Reference:
    """One variant of a method in one source.

    Args:
        id: method/variant/source.
        name: the method's name for people.
        metrics: what is known of MVTec AD, with a model for each product.
        note: what must be known to read them.
        elsewhere: the same of other datasets and tracks, by both names.
    """

    id: str
    name: str
    metrics: Mapping[str, Published]
    note: str = ""
    elsewhere: Mapping[tuple[str, str], Mapping[str, Published]] = field(default_factory=dict)

    def metrics_of(self, dataset: str, track: str = TRACK) -> Mapping[str, Published]:
        """The published metrics of a dataset and track; empty where none are known."""
        return self.metrics if (dataset, track) == (DATASET, TRACK) else self.elsewhere.get((dataset, track), {})

    def figure(self, metric: str, category: str, dataset: str = DATASET, track: str = TRACK) -> Figure | None:
        """The category's own value, else the mean over all categories."""
        published = self.metrics_of(dataset, track).get(metric)
        if published is None:
            return None
        for of in (category, "mean"):
            if (value := published.value(of)) is not None:
                return Figure(value, of, len(groups(dataset).get(of, [of])))
        return None


@cache
def references() -> Mapping[str, Reference]:
    """All references by id."""
    text = files("bench.records").joinpath("published.json").read_text(encoding="utf-8")
    return {id: _reference(id, entry) for id, entry in json.loads(text).items()}


def _reference(id: str, entry: Mapping[str, Any]) -> Reference:
    elsewhere = {
        (other["dataset"], other.get("track", TRACK)): _metrics(other["metrics"], other["dataset"])
        for other in entry.get("elsewhere", [])
    }
    return Reference(id, entry["name"], _metrics(entry["metrics"], DATASET), entry.get("note", ""), elsewhere)


def _metrics(rows: Mapping[str, Any], dataset: str) -> Mapping[str, Published]:
    return {name: Published(**row, dataset=dataset) for name, row in rows.items()}


def find_reference(id: str) -> Reference:
    """A reference by its id; for an unknown id, a UsageError names the nearest."""
    if id not in references():
        raise unknown("reference", id, references(), hint="published.json of the package lists them")
    return references()[id]


def groups(dataset: str = DATASET) -> Mapping[str, Sequence[str]]:
    """The categories of each group of a dataset that sources print means of; empty where none is published."""
    return _GROUPS.get(dataset, {})
