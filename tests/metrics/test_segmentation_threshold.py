"""The threshold of pixels from normal maps, and the F1 of pixels at it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from bench.metrics.pixel import PixelMetrics
from bench.metrics.segmentation_threshold import NormalPixels, moments


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), min_size=1, max_size=8))
def test_the_threshold_is_that_of_all_pixels_at_once(maps):
    normal = NormalPixels.of(moments(np.array(values, np.float32)) for values in maps)
    together = np.concatenate([np.array(values, np.float32) for values in maps]).astype(np.float64)
    assert normal.threshold == pytest.approx(together.mean() + 3 * together.std(), rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("threshold", [-10.0, 0.0, 0.25, 0.5, 10.0])
def test_seg_f1_is_that_of_all_pixels_above_the_threshold(threshold):
    rng = np.random.default_rng(0)
    maps, masks = rng.normal(size=(6, 20, 30)).astype(np.float32), rng.random((6, 20, 30)) < 0.2
    maps[masks] += 1
    maps[0, 0, :5] = np.float32(threshold)  # a pixel at the threshold is normal
    masks[:2] = False
    pixels = PixelMetrics()
    types = torch.tensor([0, 0, 1, 1, 2, 2])
    for index in range(6):
        one = slice(index, index + 1)
        pixels.update(torch.from_numpy(maps[one]), torch.from_numpy(masks[one]), types[one])
    expected = f1_score(masks.ravel(), maps.ravel() > threshold, zero_division=0)
    assert pixels.f1(threshold) == pytest.approx(expected, abs=1e-12)


def test_without_an_anomalous_pixel_seg_f1_is_not_defined():
    pixels = PixelMetrics()
    pixels.update(torch.rand(1, 4, 4), torch.zeros(1, 4, 4, dtype=torch.bool), torch.tensor([0]))
    assert np.isnan(pixels.f1(0.5))
