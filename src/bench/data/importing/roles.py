"""`split.csv`: the role of each photo of an imported category, and the group of photos that it stays with."""

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from bench.data.category_folders import GOOD
from bench.errors import UsageError
from bench.escaping import csv_field, plain_field

Role = Literal["fit", "calibration", "test"]
ROLES: tuple[Role, ...] = get_args(Role)
SPLIT = "split.csv"  # in the category's folder, beside train and test


@dataclass(frozen=True)
class Assigned:
    """A photo of an imported category.

    Methods may learn from `fit`; a threshold is set on `calibration`, which no method may have learned from; `test` is
    what is judged. Photos of one `group` show the same part again: they count once, and have one role.
    """

    path: str  # below the category's folder: `train/good/001.jpg`
    role: Role
    group: int
    label: str  # `good`, or the type of the defect
    source: str  # below the folder that was imported
    sha256: str  # of the file's bytes

    @property
    def is_good(self) -> bool:
        """Whether it shows no defect."""
        return self.label == GOOD


_COLUMNS = [field.name for field in fields(Assigned)]


def split_text(photos: Iterable[Assigned]) -> str:
    """The content of `split.csv`."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for photo in photos:
        writer.writerow({name: csv_field(str(value)) for name, value in asdict(photo).items()})
    return text.getvalue()


def read_roles(category: Path) -> tuple[Assigned, ...]:
    """The photos of an imported category, by its folder, in the order of their paths.

    A UsageError where it was not imported, where `split.csv` is damaged, or where the folders do not hold its photos:
    whoever asks must know of each photo whether a method may have learned from it. Contents are not compared; a run's
    digest holds those.
    """
    category = category.absolute()
    file = category / SPLIT
    if not file.is_file():
        raise UsageError(f"no {file}: nobody knows which photos calibrate; import them: bench data import PHOTOS")
    try:
        rows = list(csv.DictReader(io.StringIO(file.read_text(encoding="utf-8"))))
        photos = tuple(sorted((_read(row) for row in rows), key=lambda photo: photo.path))
    except (UnicodeDecodeError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise UsageError(f"{file} is damaged ({error}); import the photos again") from error
    _compare_with_folders(category, photos)
    return photos


def _read(row: dict[str, str]) -> Assigned:
    cells = {name: plain_field(row[name]) for name in _COLUMNS}
    role = next((each for each in ROLES if each == cells["role"]), None)
    if role is None:
        raise ValueError(f"no role '{cells['role']}'")
    if (cells["path"].split("/")[0] == "test") != (role == "test"):
        raise ValueError(f"{cells['path']} has the role '{role}'")
    return Assigned(cells["path"], role, int(cells["group"]), cells["label"], cells["source"], cells["sha256"])


def _compare_with_folders(category: Path, photos: Iterable[Assigned]) -> None:
    from bench.data.layout import PLAIN, read_category

    found = read_category(category.parent, category.name, PLAIN._replace(masks="optional"))
    prefix = len(category.name) + 1
    there = {sample.relative[prefix:] for sample in (*found.train, *found.test)}
    listed = {photo.path for photo in photos}
    if odd := sorted(there ^ listed):
        problem = "is not in" if odd[0] in there else "is missing, and named in"
        raise UsageError(f"{category / odd[0]} {problem} {category / SPLIT}; import the photos again")
