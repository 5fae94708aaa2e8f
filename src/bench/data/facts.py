"""What MVTec AD is by its paper: counts, sizes, groups and symmetries of the 15 categories."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal


@dataclass(frozen=True)
class Symmetry:
    """Which changes of pose leave a normal image normal (from Rippel et al., gaussian-ad-mvtec)."""

    aligned_to_hflip: bool
    hflip_symmetric: bool
    must_not_rotate: bool
    rotation_symmetric_any: bool
    rotation_symmetric_90: bool
    rotation_symmetric_180: bool


@dataclass(frozen=True)
class CategoryFacts:
    """One category as MVTec published it; `side` in pixels of its square images.

    `aligned` objects always lie in the same place (CutPaste, appendix: they get one density per position).
    """

    name: str
    group: Literal["texture", "object"]
    aligned: bool
    train_good: int
    test_good: int
    defect_types: Mapping[str, int]
    side: int
    channels: int
    archive_sha256: str
    archive_bytes: int | None  # None where it is not known
    archive_urls: Sequence[str]  # newest first
    symmetry: Symmetry


@cache
def mvtec_categories() -> Mapping[str, CategoryFacts]:
    """The 15 categories of MVTec AD by name, textures first."""
    return {
        name: CategoryFacts(name=name, **{**facts, "symmetry": Symmetry(**facts["symmetry"])})
        for name, facts in _facts()["categories"].items()
    }


def mvtec_archive() -> Mapping[str, Any]:
    """The archive of all categories: `file`, `bytes`, `sha256`, `urls` (newest first)."""
    archive: Mapping[str, Any] = _facts()["archive"]
    return archive


@cache
def _facts() -> Mapping[str, Any]:
    text = files("bench.data").joinpath("mvtec_ad.json").read_text(encoding="utf-8")
    facts: Mapping[str, Any] = json.loads(text)
    return facts
