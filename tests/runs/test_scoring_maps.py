"""Maps lie over their images: each value where the model saw its cause."""

import numpy as np
import pytest
import torch

from bench.data.geometry import Geometry
from bench.runs.scoring.maps import fit_map


def hot(side: int, row: int, column: int) -> np.ndarray:
    values = np.full((side, side), 1.0, np.float32)
    values[row, column] = 5.0
    return values


def centre_of(values: np.ndarray) -> tuple[float, float]:
    """Centre of what exceeds the background, in pixels from the upper left corner."""
    weight = values - values.min()
    rows, columns = (np.arange(size) + 0.5 for size in values.shape)
    return float(weight.sum(1) @ rows / weight.sum()), float(weight.sum(0) @ columns / weight.sum())


def test_without_a_crop_a_map_is_enlarged_as_for_the_full_protocol():
    values = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    fitted, seen = fit_map(values, Geometry(32), (90, 60))
    expected = torch.nn.functional.interpolate(torch.from_numpy(values)[None, None], size=(60, 90), mode="bilinear")
    assert np.array_equal(fitted, expected[0, 0].numpy())
    assert seen.all()


@pytest.mark.parametrize("crop", [None, 32, 31])
def test_a_hot_pixel_stays_where_it_was_seen(crop):
    geometry = Geometry(40, crop)
    fitted, _ = fit_map(hot(geometry.output, 12, 20), geometry, (120, 80))
    margin = (40 - geometry.output) // 2
    assert centre_of(fitted) == pytest.approx(((margin + 12.5) * 2, (margin + 20.5) * 3), abs=0.01)


def test_what_a_crop_hid_is_not_seen_and_holds_the_lowest_value():
    values = np.random.default_rng(0).uniform(2, 3, (32, 32)).astype(np.float32)
    fitted, seen = fit_map(values, Geometry(40, 32), (80, 80))
    inside = np.zeros((80, 80), dtype=bool)
    inside[8:72, 8:72] = True
    assert np.array_equal(seen, inside)
    assert np.all(fitted[~inside] == fitted[inside].min())
    assert fitted.min() >= values.min(), "nothing beyond the map is mixed into its border"
