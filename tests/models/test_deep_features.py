"""Scores of pooled features against scikit-learn's estimators on the same features."""

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.deep_features import DeepFeatures
from learning import learn

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(24, 3, 32, 32, generator=GENERATOR) * torch.rand(24, 3, 1, 1, generator=GENERATOR)
PROBES = torch.rand(5, 3, 32, 32, generator=GENERATOR) * torch.rand(5, 3, 1, 1, generator=GENERATOR)


def fitted(images: torch.Tensor = IMAGES, **settings) -> DeepFeatures:
    torch.manual_seed(0)
    model = DeepFeatures(DataSpec(32, 3, len(IMAGES)), weights="none", **settings).eval()
    return learn(model, images.split(7))


def pooled(model: DeepFeatures, images: torch.Tensor) -> list[np.ndarray]:
    """(B, channels) of each level."""
    with torch.inference_mode():
        return [level.mean(dim=(2, 3)).double().numpy() for level in model.backbone(images)]


def scores(model: DeepFeatures, images: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return model(images).score.double().numpy()


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("nu", [0.05, 0.5])
def test_an_svms_scores_are_minus_scikit_learns_decision_function(kernel, nu):
    model = fitted(kernel=kernel, nu=[nu])
    (train,), (probe,) = pooled(model, IMAGES), pooled(model, PROBES)
    scaler = StandardScaler(with_mean=kernel == "rbf").fit(train)
    reference = OneClassSVM(kernel=kernel, nu=nu, gamma="scale", tol=1e-10).fit(scaler.transform(train))
    expected = -reference.decision_function(scaler.transform(probe))
    np.testing.assert_allclose(scores(model, PROBES), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_of_several_nu_the_one_is_taken_that_held_out_normal_images_keep():
    model = fitted(nu=[0.05, 0.3, 0.9])
    (train,) = pooled(model, IMAGES)
    points, fold = StandardScaler().fit_transform(train), np.arange(24) % 5
    gamma = 1 / (points.shape[1] * points.var())
    wrong = {}
    for nu in (0.05, 0.3, 0.9):
        rejected = 0
        for each in range(5):
            solved = OneClassSVM(nu=nu, gamma=gamma, tol=1e-10).fit(points[fold != each])
            rejected += (solved.predict(points[fold == each]) < 0).sum()
        wrong[nu] = abs(rejected / 24 - nu)
    assert float(model.scorer.nu) == min(wrong, key=wrong.get)


@pytest.mark.parametrize("count", [1, 4])
def test_neighbours_are_scikit_learns_on_scaled_features(count):
    model = fitted(scorer="neighbours", neighbours=count)
    (train,), (probe,) = pooled(model, IMAGES), pooled(model, PROBES)
    scaler = StandardScaler().fit(train)
    reference = NearestNeighbors(n_neighbors=count).fit(scaler.transform(train))
    expected = reference.kneighbors(scaler.transform(probe))[0].mean(axis=1)
    np.testing.assert_allclose(scores(model, PROBES), expected, rtol=1e-5)


def test_gaussians_are_the_sum_over_levels_of_scikit_learns_mahalanobis_distances():
    model = fitted(scorer="gaussian", levels=[1, 2, 4])
    levels = zip(pooled(model, IMAGES), pooled(model, PROBES), strict=True)
    expected = sum(np.sqrt(LedoitWolf().fit(train).mahalanobis(probe)) for train, probe in levels)
    np.testing.assert_allclose(scores(model, PROBES), expected, rtol=1e-5)


@pytest.mark.parametrize("settings", [{"nu": [0.1]}, {"scorer": "neighbours", "neighbours": 2}])
def test_a_left_out_score_is_that_of_a_fit_without_the_image(settings):
    model = fitted(**settings)
    with torch.inference_mode():
        left_out = model.leave_one_out_score(IMAGES[:3]).double().numpy()
    for place, score in enumerate(left_out):
        kept = torch.arange(len(IMAGES)) != place
        alone = scores(fitted(IMAGES[kept], **settings), IMAGES[place, None])
        np.testing.assert_allclose(score, alone[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("scorer", ["svm", "neighbours", "gaussian"])
def test_a_checkpoint_of_fewer_images_gives_the_same_scores(scorer):
    model = fitted(IMAGES[:15], scorer=scorer)
    torch.manual_seed(0)
    fresh = DeepFeatures(DataSpec(32, 3, len(IMAGES)), weights="none", scorer=scorer).eval()
    fresh.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(scores(fresh, PROBES), scores(model, PROBES))


@pytest.mark.parametrize(("name", "value"), [("nu", []), ("nu", [0.0]), ("neighbours", 0)])
def test_settings_that_mean_nothing_are_refused(name, value):
    with pytest.raises(UsageError, match=rf"--model\.{name} "):
        fitted(**{name: value})
