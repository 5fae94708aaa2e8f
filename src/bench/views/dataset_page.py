"""A category's page: its statistics, and some images of every class with defects outlined and enlarged."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from bench.data.category_folders import GOOD
from bench.data.describe.description import DefectClass, Description
from bench.data.describe.page import (
    classes_grid,
    defects_grid,
    defects_notes,
    near_duplicates_grid,
    near_duplicates_notes,
    percent,
    summary,
)
from bench.data.layout import Category, Sample
from bench.errors import counted
from bench.views.page_frame import embedded, render_page
from bench.views.tiles import TILE, Scale, draw_close_up, draw_image

_EACH = 6  # images per class


class _Tile(NamedTuple):
    """An image of the page; `close_up` is '' without a mask."""

    caption: str
    picture: str  # data URI
    close_up: str


class _Row(NamedTuple):
    """A class: its name, its statistics in words, and some of its images."""

    name: str
    about: str
    tiles: list[_Tile]


def render_dataset_page(category: Category, description: Description, notice: str) -> str:
    """Render the page: defect images in ascending order of their share of marked pixels, good ones by name.

    `notice` is a sentence on the licence, for those who pass the pictures on.
    """
    scale = Scale(max(int(side) for image in description.images for side in image.size.split(" x ")))
    return render_page(
        "dataset.html.j2",
        description=description,
        summary=summary(description),
        sections=[
            ("Classes", classes_grid(description), []),
            ("Defects", defects_grid(description), defects_notes(description)),
            ("Near-duplicates", near_duplicates_grid(description), near_duplicates_notes(description)),
        ],
        scale=_about_scale(description, scale),
        rows=list(_rows(category, description, scale)),
        tile_size=TILE,
        notice=notice,
    )


def _rows(category: Category, description: Description, scale: Scale) -> Iterator[_Row]:
    for split, samples in (("train", category.train), ("test", category.test)):
        good = [sample for sample in samples if not sample.is_defect]
        if good:
            tiles = [_tile(sample, scale, None) for sample in _evenly(good)]
            yield _Row(f"{split}/{GOOD}", counted(len(good), "image"), tiles)
    shares = {image.path: image.area_share for image in description.images}
    for one in description.classes:
        if one.name == GOOD:
            continue
        own = [sample for sample in (*category.train, *category.test) if sample.defect_type == one.name]
        chosen = _evenly(sorted(own, key=lambda sample: shares[sample.relative] or 0.0))
        yield _Row(one.name, _about(one), [_tile(sample, scale, shares[sample.relative]) for sample in chosen])


def _tile(sample: Sample, scale: Scale, share: float | None) -> _Tile:
    caption = sample.path.name if share is None else f"{sample.path.name}, {percent(share)}"
    close_up = embedded(draw_close_up(sample, scale)) if sample.mask else ""
    return _Tile(caption, embedded(draw_image(sample, scale)), close_up)


def _about(one: DefectClass) -> str:
    if one.defects is None:
        return f"{counted(one.images, 'image')}, no masks"
    area, size = one.defects.area_share, one.defects.region_pixels
    return (
        f"{counted(one.images, 'image')}, {counted(one.defects.regions, 'region')}; area {percent(area.min)} to "
        f"{percent(area.max)} of an image, median {percent(area.median)}; regions of {size.min:,.0f} to "
        f"{size.max:,.0f} px"
    )


def _evenly(samples: Sequence[Sample]) -> list[Sample]:
    """At most `_EACH` of the samples, evenly spaced from the first to the last."""
    positions = np.linspace(0, len(samples) - 1, min(_EACH, len(samples))).round().astype(int)
    return [samples[position] for position in positions]


def _about_scale(description: Description, scale: Scale) -> str:
    sizes = {image.size for image in description.images}
    each = f"Each image has {sizes.pop()} px" if len(sizes) == 1 else f"The longest side has {scale.longest} px"
    if not description.masks:
        return f"{each}; all are shown at one scale."
    return (
        f"{each}; all are shown at one scale. A defect's mask is outlined in yellow, its share of the image is in the "
        f"caption. Below it are the {scale.close} x {scale.close} px where the mask is densest."
    )
