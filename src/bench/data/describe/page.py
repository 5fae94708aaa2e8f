"""A category's description as Markdown and JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict

from bench.config.presets import owner_of
from bench.data.describe.contact_sheet import percent, unwritten
from bench.data.describe.description import DefectClass, Description, Imbalance, Spread
from bench.data.listing import GOOD
from bench.errors import counted
from bench.escaping import markdown, markdown_table

SHEET = "contact_sheet.png"
_HINT = 0.3  # an AUROC at least this far from .5 is worth a warning


def to_json(description: Description) -> str:
    """All statistics; areas are shares, regions are in pixels."""
    return json.dumps(asdict(description), indent=2, ensure_ascii=False, allow_nan=False)


def to_markdown(description: Description, *, with_sheet: bool = True) -> str:
    """The page, with a link to the contact sheet beside it."""
    parts = [
        f"# {markdown(description.category)} ({markdown(description.dataset)})\n",
        _summary(description),
        "## Classes\n",
        markdown_table(["class", "train", "test", "size, px", "mode"], [_images(c) for c in description.classes]),
        "## Defects\n",
        *_masks(description),
        "## Near-duplicates\n",
        _near_duplicates(description),
    ]
    if with_sheet:
        parts += ["## Contact sheet\n", f"![some images of every class]({SHEET})\n"]
    if with_sheet and (standing := unwritten(description)):
        named = "; ".join(f"'{label}' is {name}" for name, label in standing.items())
        parts.append(f"In the picture {named}: no font at hand has the letters.\n")
    return "\n".join(parts)


def _masks(description: Description) -> list[str]:
    rows = [_defects(c) for c in description.classes if c.defects]
    if not rows:
        return ["No masks: where defects lie and how large they are is not known.\n"]
    head = ["class", "images", "area: least", "median", "most", "regions", "an image", "region, px: least", "median"]
    lines = [
        markdown_table(head, rows),
        "Area: share of an image's pixels that its mask marks. Regions: 8-connected.\n",
    ]
    if missing := sum(image.area_share is None for image in description.images):
        lines.append(f"{counted(missing, 'defect image')} without a mask.\n")
    return lines


def _summary(description: Description) -> str:
    kinds = [c for c in description.classes if c.name != GOOD]
    lines = [
        f"{description.train} training and {description.test} test images, {description.masks} masks; "
        f"{len(kinds)} defect classes{': ' if kinds else ''}{', '.join(markdown(c.name) for c in kinds)}.",
    ]
    if description.imbalance and description.imbalance_of_defects:
        lines.append(
            f"Imbalance: {_imbalance(description.imbalance)}; "
            f"of defects alone {_imbalance(description.imbalance_of_defects)}."
        )
    if description.brightness_auroc is not None:
        lines.append(_brightness(description.brightness_auroc))
    if description.is_synthetic:
        lines.append("Made up by bench; nobody photographed any of it.")
    elif owner := owner_of(description.dataset):
        same = f"Counts and sizes are those that {owner} published."
        lines.append(f"Not {owner}'s own: {'; '.join(description.differences)}." if description.differences else same)
    return "\n\n".join(lines) + "\n"


def _brightness(area: float) -> str:
    text = f"Brightness: as a score, the mean grey value of a test image has an image AUROC of {area:.3f}"
    if abs(area - 0.5) < _HINT:
        return f"{text}."
    return f"{text}: light tells defective images from good ones, and a method may see it instead of the defects."


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
        _whole(one.defects.regions_per_image),
        f"{size.min:,.0f}",
        f"{size.median:,.0f}",
    ]


def _whole(spread: Spread) -> str:
    """Minimum and maximum, such as `1 to 3`."""
    return f"{spread.min:.0f}" if spread.min == spread.max else f"{spread.min:.0f} to {spread.max:.0f}"


def _near_duplicates(description: Description) -> str:
    found = description.near_duplicates
    if not found.count:
        return "None: no two images show the same photograph.\n"
    across = f", {found.across_splits} of them between training and test" if found.across_splits else ""
    rows = [[p.first, p.second, f"{p.correlation:.4f}", "yes" if p.across_splits else ""] for p in found.pairs]
    left_out = found.count - len(found.pairs)
    more = f"\nThe {len(found.pairs)} most alike; {left_out} more are not listed.\n" if left_out else ""
    pairs = "pair of images shows" if found.count == 1 else "pairs of images show"
    return (
        f"{found.count} {pairs} the same photograph again{across}.\n\n"
        + markdown_table(["first", "second", "correlation", "train and test"], rows, words=2)
        + more
    )
