"""Ultralytics' YOLO format: a text file of normalised coordinates for each image, a row for each connected region."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import yaml

from bench.data.export.contents import Contents, Picture
from bench.data.export.regions import Region
from bench.errors import UsageError

Task = Literal["segment", "detect"]


def write_yolo(contents: Contents, folder: Path, task: Task) -> None:
    """Write `labels/<part>`, `data.yaml` (classes by name) and `data-world.yaml` (by prompt, for YOLO-World).

    A row of `segment` is one polygon, holes joined to it by a cut without width; Ultralytics' detectors read its box.
    A row of `detect` is a box: centre and size.
    """
    write_row = _polygon if task == "segment" else _box
    for picture in contents.pictures:
        kind = contents.class_number(picture.sample) if picture.sample.is_defect else None
        rows = [f"{kind} {write_row(region, picture)}\n" for region in picture.regions()]
        labels = folder / "labels" / picture.split / f"{picture.stem}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text("".join(rows), encoding="ascii")
    for file, names in (("data.yaml", contents.prompts.keys()), ("data-world.yaml", contents.prompts.values())):
        (folder / file).write_text(_description(contents, names), encoding="utf-8")


def check_yolo(contents: Contents) -> None:
    """Raise a UsageError if Ultralytics would reject the export."""
    if contents.images == "reference":
        raise UsageError("Ultralytics looks for labels beside the images: --images copy or link, not reference")
    empty = [split for split in ("train", "val") if not any(contents.part(split))]
    if empty:
        raise UsageError(f"Ultralytics needs images in train and val, and {empty[0]} has none; change --shares")


def _description(contents: Contents, names: Iterable[str]) -> str:
    # Without `path`, Ultralytics takes the file's own folder, and the export can be moved.
    paths = {split: f"images/{split}" for split in contents.shares if any(contents.part(split))}
    head = f"# {contents.dataset}, {contents.category.name}; licence: LICENSE.txt\n"
    return head + yaml.safe_dump({**paths, "names": dict(enumerate(names))}, sort_keys=False, allow_unicode=True)


def _polygon(region: Region, picture: Picture) -> str:
    return _numbers((value for corner in region.outline.tolist() for value in corner), picture)


def _box(region: Region, picture: Picture) -> str:
    left, top, width, height = region.box
    return _numbers((left + width / 2, top + height / 2, width, height), picture)


def _numbers(values: Iterable[float], picture: Picture) -> str:
    """x and y in turn, as shares of the image's sides: nine digits resolve a millionth of a pixel."""
    sides = (picture.width, picture.height)
    return " ".join(f"{value / sides[position % 2]:.9g}" for position, value in enumerate(values))
