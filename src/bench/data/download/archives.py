"""The archives that MVTec publishes: one of each category, one of all."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.data.facts import mvtec_archive, mvtec_categories

PAGE = "https://www.mvtec.com/company/research/datasets/mvtec-ad/downloads"


@dataclass(frozen=True)
class Archive:
    """One file of MVTec's; `bytes` is None where its length is not known."""

    file: str
    sha256: str
    bytes: int | None
    urls: Sequence[str]


def category_archive(name: str) -> Archive:
    """The archive of one of the 15 categories."""
    facts = mvtec_categories()[name]
    return Archive(f"{name}.tar.xz", facts.archive_sha256, facts.archive_bytes, tuple(facts.archive_urls))


def whole_archive() -> Archive:
    """The archive of all categories."""
    facts = mvtec_archive()
    return Archive(facts["file"], facts["sha256"], facts["bytes"], tuple(facts["urls"]))


def archive_of(sha256: str) -> Archive | None:
    """The archive with this digest, where it is one of MVTec's."""
    archives = [whole_archive(), *map(category_archive, mvtec_categories())]
    return next((archive for archive in archives if archive.sha256 == sha256), None)
