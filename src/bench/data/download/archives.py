"""The archives that MVTec publishes: one for each category, one for all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.data.datasets.mvtec_ad_facts import mvtec_archive, mvtec_categories

PAGE = "https://www.mvtec.com/company/research/datasets/mvtec-ad/downloads"


@dataclass(frozen=True)
class Archive:
    """One file of MVTec's; `bytes` is None if its length is not known."""

    file: str
    sha256: str
    bytes: int | None
    urls: Sequence[str]


def category_archive(name: str) -> Archive:
    """The archive of one of the 15 categories."""
    return _archive(mvtec_archive(name))


def whole_archive() -> Archive:
    """The archive of all categories."""
    return _archive(mvtec_archive())


def archive_of(sha256: str) -> Archive | None:
    """MVTec's archive with this digest; None if there is none."""
    archives = [whole_archive(), *map(category_archive, mvtec_categories())]
    return next((archive for archive in archives if archive.sha256 == sha256), None)


def _archive(facts: Mapping[str, Any]) -> Archive:
    return Archive(facts["file"], facts["sha256"], facts["bytes"], tuple(facts["urls"]))
