"""Facts of MVTec AD: counts, sizes, groups and symmetries of the 15 categories, and the addresses of its archives.

Separate from `mvtec_ad.py`, so that a check or a download does not import torch.
"""

from collections.abc import Mapping
from typing import Any

from bench.data.facts import CategoryFacts, Published, categories_of, read_facts

_FAMILY = "mvtec_ad"


def mvtec_categories() -> Mapping[str, CategoryFacts]:
    """The 15 categories of MVTec AD by name, textures first."""
    return categories_of(_FAMILY)


def mvtec_obtainable() -> Mapping[str, str]:
    """How each category gets into the folder of the data."""
    return {name: f"unpack {name}.tar.xz of MVTec AD there" for name in mvtec_categories()}


def mvtec_published() -> Mapping[str, Published]:
    """The published images of each of the 15 categories, by name."""
    return {name: facts.published for name, facts in mvtec_categories().items() if facts.published}


def mvtec_archive(category: str | None = None) -> Mapping[str, Any]:
    """The archive of one category, or of all: `file`, `bytes` (None: not known), `sha256`, `urls` (newest first)."""
    facts = read_facts(_FAMILY)
    if category is None:
        archive: Mapping[str, Any] = facts["archive"]
        return archive
    own = facts["categories"][category]
    return {"file": f"{category}.tar.xz"} | {key: own[f"archive_{key}"] for key in ("bytes", "sha256", "urls")}
