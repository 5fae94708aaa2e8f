"""A contact sheet: a few images of every class in one picture, with defects outlined and enlarged."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from bench.data.describe.description import DefectClass, Description
from bench.data.describe.lettering import font_for, write
from bench.data.describe.tiles import TILE, Scale, draw_close_up, draw_whole
from bench.data.layout import Category, Sample
from bench.data.listing import GOOD

_EACH = 6  # images per class
_GAP = 8
_LABELS = 240  # width of the column of names
_WIDTH = _LABELS + _EACH * (TILE + _GAP)
_LINE, _TEXT, _TITLE = 20, 14, 20


@dataclass(frozen=True)
class _Row:
    """A class: its name, its statistics and some of its images, each with a caption."""

    name: str
    figures: Sequence[str]
    images: Sequence[tuple[Sample, str]]

    @property
    def height(self) -> int:
        """Height in pixels, with the gap below."""
        lines = 2 if any(sample.mask for sample, _ in self.images) else 1
        return _LINE + lines * (TILE + _GAP) + _GAP


def draw_contact_sheet(category: Category, description: Description) -> Image.Image:
    """Draw the sheet: defect images in ascending order of their share of marked pixels, good ones by name."""
    scale = Scale(max(int(side) for image in description.images for side in image.size.split(" x ")))
    rows = list(_rows(category, description))
    notes = _notes(description, scale)
    height = 2 * _LINE + sum(row.height for row in rows) + _LINE * len(notes) + 2 * _GAP
    sheet = Image.new("RGB", (_WIDTH, height), "white")
    draw = ImageDraw.Draw(sheet)
    title = f"{class_label(description, description.category)} ({description.dataset})"
    write(draw, (_GAP, _GAP), title, _TITLE, _WIDTH - 2 * _GAP, bold=True)
    top = 2 * _LINE
    for row in rows:
        _draw_row(sheet, row, top, scale)
        top += row.height
    for line, note in enumerate(notes):
        write(draw, (_GAP, top + _GAP + line * _LINE), note, _TEXT, _WIDTH - 2 * _GAP)
    return sheet


def class_label(description: Description, name: str) -> str:
    """The label of a class or category in the sheet: its name, or a substitute if no font has its letters."""
    if font_for(name, _TEXT):
        return name
    names = [one.name for one in description.classes]
    return f"class {names.index(name)}" if name in names else "category"


def unwritten(description: Description) -> dict[str, str]:
    """The label in the sheet for each name that no installed font can write."""
    names = [description.category, *(one.name for one in description.classes)]
    labels = {name: class_label(description, name) for name in names}
    return {name: label for name, label in labels.items() if name != label}


def percent(share: float) -> str:
    """`0.042 %`: two significant digits; whole percents from 10 % on."""
    return f"{100 * share:#.2g} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _rows(category: Category, description: Description) -> Iterator[_Row]:
    for split, samples in (("train", category.train), ("test", category.test)):
        good = [sample for sample in samples if not sample.is_defect]
        if good:
            shown = [(sample, sample.path.name) for sample in _evenly(good)]
            yield _Row(f"{split}/{GOOD}", [f"{len(good)} images"], shown)
    shares = {image.path: image.area_share for image in description.images}
    for one in description.classes:
        if one.name == GOOD:
            continue
        own = [sample for sample in (*category.train, *category.test) if sample.defect_type == one.name]
        chosen = _evenly(sorted(own, key=lambda sample: shares[sample.relative] or 0.0))
        shown = [(sample, _caption(sample, shares[sample.relative])) for sample in chosen]
        yield _Row(class_label(description, one.name), _figures(one), shown)


def _caption(sample: Sample, share: float | None) -> str:
    return sample.path.name if share is None else f"{sample.path.name}  {percent(share)}"


def _figures(one: DefectClass) -> list[str]:
    if one.defects is None:
        return [f"{one.images} images, no masks"]
    area, size = one.defects.area_share, one.defects.region_pixels
    return [
        f"{one.images} images, {one.defects.regions} regions",
        "",
        "area, share of the image",
        f"  smallest {percent(area.min)}",
        f"  median {percent(area.median)}",
        f"  largest {percent(area.max)}",
        "",
        f"smallest region {size.min:,.0f} px",
        f"largest region {size.max:,.0f} px",
    ]


def _evenly(samples: Sequence[Sample]) -> list[Sample]:
    """At most `_EACH` of the samples, evenly spaced from the first to the last."""
    places = np.linspace(0, len(samples) - 1, min(_EACH, len(samples))).round().astype(int)
    return [samples[place] for place in places]


def _draw_row(sheet: Image.Image, row: _Row, top: int, scale: Scale) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.line([(_GAP, top), (_WIDTH - _GAP, top)], fill=(190, 190, 190))
    top += _GAP
    write(draw, (_GAP, top), row.name, _TEXT + 1, _LABELS - 2 * _GAP, bold=True)
    for line, text in enumerate(row.figures, 1):
        write(draw, (_GAP, top + line * _LINE), text, _TEXT - 1, _LABELS - 2 * _GAP)
    for column, (sample, caption) in enumerate(row.images):
        left = _LABELS + column * (TILE + _GAP)
        write(draw, (left, top), caption, _TEXT - 1, TILE)
        sheet.paste(draw_whole(sample, scale), (left, top + _LINE))
        if sample.mask:
            sheet.paste(draw_close_up(sample, scale), (left, top + _LINE + TILE + _GAP))


def _notes(description: Description, scale: Scale) -> list[str]:
    sizes = {image.size for image in description.images}
    each = f"each image {sizes.pop()} px" if len(sizes) == 1 else f"longest side of all images {scale.longest} px"
    notes = [f"{each}, all in one scale"]
    if description.masks:
        notes[0] += "; a defect's mask is outlined in yellow, its share of the image above it; "
        notes[0] += f"below, {scale.close} x {scale.close} px where it is densest"
    if standing := unwritten(description):
        labels = ", ".join(f"'{label}'" for label in standing.values())
        notes.append(f"{labels}: no font here has the letters of the name; description.md tells it")
    return notes
