"""SPADE against scikit-learn's neighbours on the same features."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.neighbors import NearestNeighbors
from torch.nn.functional import interpolate

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.spade import SPADE
from learning import learn

IMAGES = torch.rand(9, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PROBES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def fitted(images: torch.Tensor = IMAGES) -> SPADE:
    torch.manual_seed(0)
    model = SPADE(DataSpec(64, 3, len(IMAGES)), backbone="resnet18", weights="none", neighbours=3).eval()
    return learn(model, images.split(4))


def features(model: SPADE, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Pooled (B, channels), and the concatenated pyramid (B, positions, channels)."""
    with torch.inference_mode():
        *levels, last = model.backbone(images)
    enlarged = [interpolate(level, size=levels[0].shape[2:], mode="bilinear") for level in levels]
    return last.mean(dim=(2, 3)).double().numpy(), torch.cat(enlarged, 1).flatten(2).mT.double().numpy()


def test_score_and_map_are_mean_squared_distances_to_scikit_learns_neighbours():
    model = fitted()
    (train, gallery), (probe, positions) = features(model, IMAGES), features(model, PROBES)
    distances, places = NearestNeighbors(n_neighbors=3).fit(train).kneighbors(probe)
    with torch.inference_mode():
        score, anomaly_map, _ = model(PROBES)
    np.testing.assert_allclose(score, np.square(distances).mean(axis=1), rtol=1e-5)
    for own, near, found in zip(positions, places, anomaly_map, strict=True):
        pixels = NearestNeighbors(n_neighbors=1).fit(np.concatenate(gallery[near]))
        squared = torch.from_numpy(np.square(pixels.kneighbors(own)[0])).reshape(1, 1, 16, 16)
        expected = gaussian_filter(interpolate(squared, size=64, mode="bilinear")[0, 0].numpy(), 4.0)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_left_out_score_is_that_of_a_gallery_without_the_image():
    with torch.inference_mode():
        left_out = fitted().leave_one_out_score(IMAGES)
        for place in range(len(IMAGES)):
            kept = torch.arange(len(IMAGES)) != place
            expected = fitted(IMAGES[kept])(IMAGES[place, None]).score
            torch.testing.assert_close(left_out[place, None], expected, rtol=1e-5, atol=0)


def test_left_out_scores_of_some_images_are_those_among_all():
    model = fitted()
    with torch.inference_mode():
        torch.testing.assert_close(model.leave_one_out_score(IMAGES[:4]), model.leave_one_out_score(IMAGES)[:4])


def test_neighbours_that_are_not_there_are_refused():
    with pytest.raises(UsageError, match=r"--model\.neighbours 0 is not positive"):
        SPADE(DataSpec(64, 3, 9), backbone="resnet18", weights="none", neighbours=0)


def test_pyramids_over_the_limit_are_refused_before_they_are_made():
    with pytest.raises(UsageError, match=r"take 27\.5 GB, more than --model\.memory_limit 8"):
        SPADE(DataSpec(224, 3, 19600), backbone="resnet18", weights="none")
