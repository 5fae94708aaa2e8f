"""What `docs/models.md` says of published figures is what the data say."""

import re
from pathlib import Path

import pytest

from bench.records.published import Published, find_reference, references

PAGE = (Path(__file__).parents[1] / "docs" / "models.md").read_text(encoding="utf-8")
METRICS = ("image_auroc", "pixel_auroc", "aupro_0.30")
ROWS = re.findall(r"^\| `([a-z0-9_/]+)` \| (.*) \|$", PAGE, flags=re.MULTILINE)


def written(published: Published | None) -> str:
    """Mean, screw and bottle as the page writes them: `.967 / - / -`, or `-` where nothing is known."""
    if published is None:
        return "-"
    values = [published.value(of) for of in ("mean", "screw", "bottle")]
    return " / ".join("-" if value is None else f"{value:.3f}".removeprefix("0") for value in values)


@pytest.mark.parametrize(("id", "cells"), ROWS, ids=[id for id, _ in ROWS])
def test_the_figures_of_a_card_are_those_of_the_data(id, cells):
    metrics = find_reference(id).metrics
    assert cells.split(" | ") == [written(metrics.get(name)) for name in METRICS]


def test_every_reference_named_on_the_page_exists():
    named = re.findall(r"`([a-z0-9_]+/[a-z0-9_]+/[a-z0-9_]+)`", PAGE)
    assert set(named) - {"method/variant/source"} <= references().keys()
