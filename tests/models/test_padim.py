"""PaDiM's maps against scipy, position by position, as the paper writes them."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import mahalanobis

from bench.data.datamodule import DataSpec
from bench.models.padim import PaDiM
from learning import learn

IMAGES = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
PROBES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def _fitted(**settings) -> PaDiM:
    torch.manual_seed(0)
    model = PaDiM(DataSpec(32, 3, len(IMAGES)), weights="none", **settings).eval()
    return learn(model, IMAGES.split(5))


def _features(model: PaDiM, images: torch.Tensor, mode: str) -> np.ndarray:
    """(B, h, w, channels) of all levels at the grid of the first, in the order of the levels."""
    with torch.inference_mode():
        levels = model.backbone(images)
        size = levels[0].shape[2:]
        enlarged = [torch.nn.functional.interpolate(level, size=size, mode=mode) for level in levels]
    return torch.cat(enlarged, dim=1).permute(0, 2, 3, 1).double().numpy()


def _maps(train: np.ndarray, probe: np.ndarray, size: int, sigma: float) -> np.ndarray:
    """Distances to mean and covariance + .01 I of each position, enlarged and blurred."""
    grid = np.empty(probe.shape[:3])
    for row, column in np.ndindex(*probe.shape[1:3]):
        seen = train[:, row, column]
        inverse = np.linalg.inv(np.cov(seen, rowvar=False) + 0.01 * np.eye(seen.shape[1]))
        for image in range(len(probe)):
            grid[image, row, column] = mahalanobis(probe[image, row, column], seen.mean(axis=0), inverse)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(grid)[:, None], size=size, mode="bilinear")[:, 0]
    return np.stack([gaussian_filter(each, sigma) for each in enlarged.numpy()])


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_the_map_is_the_blurred_mahalanobis_distance_of_chosen_channels(mode):
    model = _fitted(channels=20, interpolation=mode)
    train, probe = (_features(model, images, mode)[..., model.chosen.numpy()] for images in (IMAGES, PROBES))
    with torch.inference_mode():
        prediction = model(PROBES)
    expected = _maps(train, probe, 32, 4.0)
    np.testing.assert_allclose(prediction.map.numpy(), expected, rtol=1e-3)
    np.testing.assert_allclose(prediction.score.numpy(), expected.max(axis=(1, 2)), rtol=1e-3)


def test_with_pca_it_is_that_of_scikit_learns_components():
    from sklearn.decomposition import PCA

    model = _fitted(channels=10, reduction="pca")
    train, probe = (_features(model, images, "nearest") for images in (IMAGES, PROBES))
    pca = PCA(10, svd_solver="full").fit(train.reshape(-1, train.shape[-1]))
    reduced = [pca.transform(each.reshape(-1, each.shape[-1])).reshape(*each.shape[:3], 10) for each in (train, probe)]
    with torch.inference_mode():
        found = model(PROBES).map.numpy()
    np.testing.assert_allclose(found, _maps(*reduced, 32, 4.0), rtol=1e-3)


def test_channels_are_drawn_by_the_seed_without_repetition():
    model = _fitted(channels=50)
    assert len(set(model.chosen.tolist())) == 50
    torch.manual_seed(1)
    other = PaDiM(DataSpec(32, 3, 12), weights="none", channels=50)
    assert model.chosen.tolist() != other.chosen.tolist()
