"""Names of the files of an imported category: those that people gave, as far as all systems and masks allow."""

import os
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from bench.data.importing.photos import Photo
from bench.data.importing.words import same

_LONGEST = 150  # bytes of a stem: `_mask.png` and temporary suffixes are added, and a name may have 255


def file_names(photos: Sequence[Photo]) -> dict[Path, str]:
    """A name for each photo; among the photos of one label no two have one stem, which is also that of the mask.

    Photos of one name in several folders get the folders' names in front.
    """
    taken: set[tuple[str, str]] = set()
    names = {}
    for photo in photos:
        suffix = photo.path.suffix
        stem = next(stem for stem in _stems(photo) if (photo.label, same(stem)) not in taken)
        taken.add((photo.label, same(stem)))
        names[photo.path] = f"{stem}{suffix}"
    return names


def _stems(photo: Photo) -> Iterator[str]:
    """Stems to try: its own, then with the names of its folders in front, then numbered."""
    own, folders = _plain(photo.path.stem), photo.name.split("/")[:-1]
    yield own
    longer = "_".join([*folders, own])
    yield _plain(longer)
    yield from (f"{_plain(longer)}_{number}" for number in count(2))


def _plain(stem: str) -> str:
    """A stem as valid Unicode on one line: bytes that are no UTF-8 are read as Western Europe's."""
    try:
        text = os.fsencode(stem).decode("utf-8")
    except UnicodeDecodeError:
        text = os.fsencode(stem).decode("cp1252", "replace")
    text = "".join("_" if unicodedata.category(letter)[0] in "CZ" and letter != " " else letter for letter in text)
    cut = text.replace("\\", "_").strip().encode()[:_LONGEST].decode("utf-8", "ignore")
    return cut.lstrip(".") or "photo"
