"""A category's description as Markdown and JSON, and its sentences and tables for other pages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import NamedTuple

from bench.config.presets import owner_of
from bench.data.category_folders import GOOD
from bench.data.describe.description import DefectClass, Description, Giveaway, Imbalance, Quantiles
from bench.errors import counted
from bench.escaping import markdown, markdown_table


def to_json(description: Description) -> str:
    """All statistics; areas are shares, regions are in pixels."""
    return json.dumps(asdict(description), indent=2, ensure_ascii=False, allow_nan=False)


class Grid(NamedTuple):
    """A table: its titles, and its rows, each of as many texts."""

    titles: list[str]
    rows: list[list[str]]


def to_markdown(description: Description) -> str:
    """All statistics but those of single images."""
    defects, pairs = defects_grid(description), near_duplicates_grid(description)
    parts = [
        f"# {markdown(description.category)} ({markdown(description.dataset)})",
        *map(markdown, summary(description)),
        "## Classes",
        markdown_table(*classes_grid(description)),
        "## Defects",
        *([markdown_table(*defects)] if defects.rows else []),
        *defects_notes(description),
        "## Near-duplicates",
        *near_duplicates_notes(description),
        *([markdown_table(*pairs, words=2)] if pairs.rows else []),
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def summary(description: Description) -> list[str]:
    """The sentences at the head of a page."""
    kinds = [c for c in description.classes if c.name != GOOD]
    lines = [
        f"{description.train} training and {description.test} test images, {description.masks} masks; "
        f"{len(kinds)} defect classes{': ' if kinds else ''}{', '.join(c.name for c in kinds)}."
    ]
    if description.imbalance and description.imbalance_of_defects:
        lines.append(
            f"Imbalance: {_imbalance(description.imbalance)}; "
            f"of defects alone {_imbalance(description.imbalance_of_defects)}."
        )
    if description.giveaways:
        lines.append(_giveaways(description.giveaways))
    if description.is_synthetic:
        lines.append("Made up by bench; nobody photographed any of it.")
    elif owner := owner_of(description.dataset):
        same = f"Counts and sizes are those that {owner} published."
        lines.append(f"Not {owner}'s own: {'; '.join(description.differences)}." if description.differences else same)
    return lines


def classes_grid(description: Description) -> Grid:
    """A row for each class: its images in both splits."""
    return Grid(["class", "train", "test", "size, px", "mode"], [_images(c) for c in description.classes])


def defects_grid(description: Description) -> Grid:
    """A row for each class with masks: areas and regions of its defects."""
    titles = ["class", "images", "area: least", "median", "most", "regions", "an image", "region, px: least", "median"]
    return Grid(titles, [_defects(c) for c in description.classes if c.defects])


def defects_notes(description: Description) -> list[str]:
    """What a reader of the table of defects must know."""
    if not any(c.defects for c in description.classes):
        return ["No masks: where defects lie and how large they are is not known."]
    lines = ["Area: share of an image's pixels that its mask marks. Regions: 8-connected."]
    if missing := sum(image.area_share is None for image in description.images):
        lines.append(f"{counted(missing, 'defect image')} without a mask.")
    return lines


def near_duplicates_grid(description: Description) -> Grid:
    """A row for each of the most similar pairs of images."""
    return Grid(
        ["first", "second", "correlation", "train and test"],
        [
            [p.first, p.second, f"{p.correlation:.4f}", "yes" if p.across_splits else ""]
            for p in description.near_duplicates.pairs
        ],
    )


def near_duplicates_notes(description: Description) -> list[str]:
    """How many pairs of images show the same photograph."""
    found = description.near_duplicates
    if not found.count:
        return ["None: no two images show the same photograph."]
    across = f", {found.across_splits} of them between training and test" if found.across_splits else ""
    pairs = "pair of images shows" if found.count == 1 else "pairs of images show"
    lines = [f"{found.count} {pairs} the same photograph again{across}."]
    if left_out := found.count - len(found.pairs):
        lines.append(f"The {len(found.pairs)} most alike; {left_out} more are not listed.")
    return lines


def percent(share: float) -> str:
    """`0.042 %`: two significant digits; whole percents from 10 % on."""
    return f"{100 * share:#.2g} %" if 0 < share < 0.0995 else f"{100 * share:.0f} %"


def _giveaways(found: Sequence[Giveaway]) -> str:
    """What plain numbers tell of the label; only what the rule names is called a giveaway."""
    named = [each for each in found if each.is_named]
    if named:
        told = "; ".join(map(_giveaway, named))
        return (
            f"Giveaways: plain numbers tell defective test images from good ones: {told}. "
            "A method may see these instead of the defects."
        )
    best = max(found, key=lambda each: each.auroc)
    return (
        "No giveaway: mean grey value, contrast, border and file size do not tell defective test images from good ones "
        f"clearly, alone or together (at best {best.name}, image AUROC {best.auroc:.3f}, p = {best.p_value:.2g} of "
        f"{len(found)} looks)."
    )


def _giveaway(found: Giveaway) -> str:
    """`mean grey value (image AUROC 1.000, lower in defective ones; as distance from the training images 0.001)`."""
    if found.distance_auroc is None:
        return f"{found.name} (image AUROC {found.auroc:.3f} by cross-validated logistic regression)"
    way = "higher" if found.is_higher else "lower"
    return (
        f"{found.name} (image AUROC {found.auroc:.3f}, {way} in defective ones; "
        f"as distance from the training images {found.distance_auroc:.3f})"
    )


def _imbalance(found: Imbalance) -> str:
    if found.ratio == 1:
        return "1 (as many images of each)"
    return f"{found.ratio:.3g} ({found.commonest} to {found.rarest})"


def _images(one: DefectClass) -> list[str]:
    return [one.name, str(one.train), str(one.test), _frequencies(one.sizes), _frequencies(one.modes)]


def _frequencies(found: Mapping[str, int]) -> str:
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{word} ({count})" for word, count in found.items())


def _defects(one: DefectClass) -> list[str]:
    assert one.defects is not None
    area, size = one.defects.area_share, one.defects.region_pixels
    return [
        one.name,
        str(one.images),
        *(percent(share) for share in (area.min, area.median, area.max)),
        str(one.defects.regions),
        _range(one.defects.regions_per_image),
        f"{size.min:,.0f}",
        f"{size.median:,.0f}",
    ]


def _range(found: Quantiles) -> str:
    """Minimum and maximum, such as `1 to 3`."""
    return f"{found.min:.0f}" if found.min == found.max else f"{found.min:.0f} to {found.max:.0f}"
