import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bench.models.parts.maps import ReceptiveFieldUpsampling, SmoothUpsampling


@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize(("grid", "size", "sigma"), [((8, 8), 64, 4.0), ((16, 16), 16, 2.0), ((7, 7), 56, 0.0)])
def test_the_linear_map_is_bilinear_upsampling_then_scipys_gaussian_filter(grid, size, sigma, corners):
    distances = torch.rand(2, *grid, generator=torch.Generator().manual_seed(0))
    upsampled = torch.nn.functional.interpolate(
        distances[:, None], size=(size, size), mode="bilinear", align_corners=corners
    )[:, 0]
    maps = SmoothUpsampling(grid, size, sigma, align_corners=corners)(distances).numpy()
    for anomaly_map, coarse in zip(maps, upsampled.numpy(), strict=True):
        expected = gaussian_filter(coarse.astype(np.float64), sigma, truncate=4.0) if sigma else coarse
        np.testing.assert_allclose(anomaly_map, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "side", "stride", "deviation"),
    [(256, 32, 4, 10.0), (64, 16, 8, math.log10(8.2) + 0.25), (32, 32, 4, 10.0)],
)
def test_receptive_fields_are_fcdds_transposed_convolution_evened_out_over_that_of_ones(size, side, stride, deviation):
    places = (size - side) // stride + 1
    scores = torch.rand(2, 1, places, places, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    offset = torch.arange(side) - (side - 1) / 2
    kernel = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * deviation**2)).double()[None, None]
    spread, reached = (
        torch.nn.functional.conv_transpose2d(grid, kernel, stride=stride) for grid in (scores, torch.ones_like(scores))
    )
    maps = ReceptiveFieldUpsampling(size, side, stride)(scores[:, 0].float())
    dimmed = ReceptiveFieldUpsampling(size, side, stride, even_borders=False)(scores[:, 0].float())
    torch.testing.assert_close(dimmed.double(), (spread / kernel.sum())[:, 0], rtol=1e-5, atol=1e-6)
    assert maps.shape == (2, size, size)
    torch.testing.assert_close(maps.double(), (spread / reached)[:, 0], rtol=1e-5, atol=1e-5)
