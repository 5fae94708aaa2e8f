import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from bench.models.maps import SmoothUpsampling


@pytest.mark.parametrize(("grid", "size", "sigma"), [((8, 8), 64, 4.0), ((16, 16), 16, 2.0), ((7, 7), 56, 0.0)])
def test_the_linear_map_is_bilinear_upsampling_then_scipys_gaussian_filter(grid, size, sigma):
    distances = torch.rand(2, *grid, generator=torch.Generator().manual_seed(0))
    upsampled = torch.nn.functional.interpolate(distances[:, None], size=(size, size), mode="bilinear")[:, 0]
    maps = SmoothUpsampling(grid, size, sigma)(distances).numpy()
    for anomaly_map, coarse in zip(maps, upsampled.numpy(), strict=True):
        expected = gaussian_filter(coarse.astype(np.float64), sigma, truncate=4.0) if sigma else coarse
        np.testing.assert_allclose(anomaly_map, expected, atol=1e-5)
