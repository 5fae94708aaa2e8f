"""PatchCore against its authors' steps, written one after the other."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.neighbors import NearestNeighbors
from torch.nn.functional import adaptive_avg_pool1d, interpolate, unfold

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.patchcore import PatchCore
from learning import learn

IMAGES = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PROBES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
SMALL = {"backbone": "resnet18", "weights": "none", "level_features": 96, "features": 48, "share": 0.2}


def built(**settings) -> PatchCore:
    torch.manual_seed(0)
    return PatchCore(DataSpec(64, 3, len(IMAGES)), **(SMALL | settings)).eval()


def authors_patches(model: PatchCore, images: torch.Tensor) -> torch.Tensor:
    """(B * positions, features): neighbourhoods unfolded, enlarged, pooled per level, stacked and pooled again."""
    with torch.inference_mode():
        levels = model.backbone(images)
    grid, pooled = levels[0].shape[2:], []
    for level in levels:
        around = unfold(level, 3, padding=1).reshape(len(images), -1, *level.shape[2:])
        if level.shape[2:] != grid:
            around = interpolate(around, size=grid, mode="bilinear", align_corners=False)
        vectors = around.flatten(2).mT.flatten(0, 1)
        pooled.append(adaptive_avg_pool1d(vectors[:, None], model.level_features)[:, 0])
    return adaptive_avg_pool1d(torch.stack(pooled, dim=1).flatten(1)[:, None], model.features)[:, 0]


def test_patches_are_the_authors():
    model = built()
    with torch.inference_mode():
        found = model.embed(PROBES).flatten(0, 1)
    torch.testing.assert_close(found, authors_patches(model, PROBES), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("projection", [None, 16])
def test_the_bank_is_the_greedy_choice_from_projected_patches(projection):
    model = learn(built(projection=projection), IMAGES.split(3))
    patches = authors_patches(model, IMAGES)
    points = (patches if projection is None else patches @ model.projector).double()
    drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(model.seed))[:10]
    distances, chosen = torch.cdist(points, points[drawn]).mean(dim=1), []
    for _ in range(int(0.2 * len(points))):
        chosen.append(int(distances.argmax()))
        distances = torch.minimum(distances, (points - points[chosen[-1]]).norm(dim=1))
    torch.testing.assert_close(model.bank, patches[chosen], rtol=1e-4, atol=1e-4)


def test_the_map_is_the_blurred_distance_to_the_bank_and_the_score_its_maximum_before_the_blur():
    model = learn(built(), IMAGES.split(3))
    neighbours = NearestNeighbors(n_neighbors=1).fit(model.bank)
    distances = neighbours.kneighbors(authors_patches(model, PROBES))[0].reshape(3, 8, 8)
    with torch.inference_mode():
        score, anomaly_map, _ = model(PROBES)
    enlarged = interpolate(torch.from_numpy(distances)[:, None], size=64, mode="bilinear")[:, 0].numpy()
    np.testing.assert_allclose(score, distances.max(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(anomaly_map, np.stack([gaussian_filter(each, 4.0) for each in enlarged]), rtol=1e-4)


def test_squared_distances_are_squared_before_the_blur():
    plain, squared = (learn(built(squared=squared), IMAGES.split(3)) for squared in (False, True))
    neighbours = NearestNeighbors(n_neighbors=1).fit(squared.bank)
    distances = neighbours.kneighbors(authors_patches(squared, PROBES))[0].reshape(3, 8, 8) ** 2
    with torch.inference_mode():
        score, anomaly_map, _ = squared(PROBES)
        assert (plain(PROBES).score.argsort() == score.argsort()).all()
    enlarged = interpolate(torch.from_numpy(distances)[:, None], size=64, mode="bilinear")[:, 0].numpy()
    np.testing.assert_allclose(score, distances.max(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_allclose(anomaly_map, np.stack([gaussian_filter(each, 4.0) for each in enlarged]), rtol=1e-4)


def test_squared_distances_are_not_re_weighted():
    with pytest.raises(UsageError, match=r"set --model\.squared false"):
        built(squared=True, reweighting=9)


def test_a_re_weighted_score_is_equation_7():
    model = learn(built(reweighting=5), IMAGES.split(3))
    bank, patches = model.bank.double().numpy(), authors_patches(model, PROBES).double().numpy().reshape(3, 64, -1)
    with torch.inference_mode():
        scores = model(PROBES).score.numpy()
    for own, score in zip(patches, scores, strict=True):
        distances = np.linalg.norm(own[:, None] - bank, axis=2)
        farthest = distances.min(axis=1).argmax()
        nearest = distances[farthest].argmin()
        around = np.linalg.norm(bank - bank[nearest], axis=1).argsort()[:5]
        s = distances[farthest, nearest]
        assert score == pytest.approx((1 - np.exp(s) / np.exp(distances[farthest, around]).sum()) * s, rel=1e-4)


def test_weights_of_far_patches_do_not_overflow():
    model = learn(built(reweighting=3), IMAGES.split(3))
    model.bank *= 1e4
    with torch.inference_mode():
        assert torch.isfinite(model(PROBES).score).all()


def test_fewer_images_than_announced_fill_a_smaller_bank_that_a_checkpoint_brings_back():
    model = learn(learn(built(), IMAGES.split(3)), IMAGES[:4].split(3))
    assert int(model.count) == int(0.2 * 4 * 64) < len(model.bank)
    assert not model.bank[int(model.count) :].any()
    fresh = built()
    fresh.load_state_dict(model.state_dict())
    with torch.inference_mode():
        assert torch.equal(fresh(PROBES).score, model(PROBES).score)
        assert torch.equal(model(PROBES).score, learn(built(), IMAGES[:4].split(3))(PROBES).score)


def test_a_bank_over_the_limit_is_refused_before_it_is_made():
    with pytest.raises(UsageError, match=r"a bank of 470,400 patches \(1\.93 GB\).*lower --model.share"):
        PatchCore(DataSpec(224, 3, 600), **(SMALL | {"features": 1024, "share": 1.0, "memory_limit": 2.0}))


def test_what_will_be_held_is_known_before_it_is():
    learn(built(), IMAGES.split(3))
    assert built().memory == "a bank of 89 patches (0.00 GB), chosen from 448 (0.00 GB)"


@pytest.mark.parametrize(("name", "value"), [("share", 0.0), ("projection", 0), ("reweighting", 1), ("features", 0)])
def test_settings_that_mean_nothing_are_refused(name, value):
    with pytest.raises(UsageError, match=rf"--model\.{name} "):
        built(**{name: value})
