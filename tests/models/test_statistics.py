import numpy as np
import pytest
import torch

from bench.models.accumulators import State
from bench.models.parts import statistics
from bench.models.parts.statistics import PositionGaussians, PrincipalComponents
from learning import fit

POSITIONS, IMAGES, CHANNELS = 5, 40, 6


@pytest.fixture
def features() -> torch.Tensor:
    """(positions, images, channels), far from zero: what cancels in single precision without a shift."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(POSITIONS, CHANNELS, CHANNELS, generator=generator)
    return torch.randn(POSITIONS, IMAGES, CHANNELS, generator=generator) @ mixing + 300.0


def fitted(features: torch.Tensor, batch: int = IMAGES) -> PositionGaussians:
    gaussians = PositionGaussians(POSITIONS, CHANNELS, 0.01)
    learn(gaussians, features, batch)
    return gaussians


def learn(gaussians: PositionGaussians, features: torch.Tensor, batch: int) -> None:
    """Learn from features (positions, images, channels), a few images at a time."""
    state = State(gaussians.accumulators(), features.shape[1], torch.device("cpu"))
    state.fill(
        (part.transpose(0, 1) for part in features.split(batch, dim=1)),
        lambda _, part: gaussians.accumulate(state, part.transpose(0, 1)),
    )
    gaussians.finish(state)


def reference_distance(features: np.ndarray, samples: np.ndarray, regularisation: float = 0.01) -> np.ndarray:
    """Squared Mahalanobis distances of (n, d) features, by numpy in double precision."""
    covariance = np.cov(samples, rowvar=False) + regularisation * np.eye(samples.shape[1])
    centred = features - samples.mean(axis=0)
    return np.einsum("nd,de,ne->n", centred, np.linalg.inv(covariance), centred)


@pytest.mark.parametrize("batch", [1, 7, IMAGES])
def test_distances_are_those_of_numpys_covariance_whatever_the_batch_size(features, batch):
    distances = fitted(features, batch).squared_distance(features)
    for position in range(POSITIONS):
        samples = features[position].double().numpy()
        np.testing.assert_allclose(distances[position], reference_distance(samples, samples), rtol=2e-3)


def test_left_out_distances_are_those_of_fits_without_each_image(features):
    gaussians = fitted(features)
    closed_form = gaussians.left_out(gaussians.squared_distance(features))
    for position in range(POSITIONS):
        samples = features[position].double().numpy()
        for image in range(IMAGES):
            others = np.delete(samples, image, axis=0)
            regularisation = 0.01 * (IMAGES - 1) / (IMAGES - 2)
            expected = reference_distance(samples[image : image + 1], others, regularisation)
            np.testing.assert_allclose(closed_form[position, image], expected[0], rtol=5e-3)


def test_fewer_images_than_channels_still_have_a_distance(features):
    few = features[:, :3]
    distances = fitted(few).squared_distance(few)
    samples = few[0].double().numpy()
    np.testing.assert_allclose(distances[0], reference_distance(samples, samples), rtol=2e-3)


def test_a_few_positions_at_a_time_give_the_gaussians_of_all_at_once(features, monkeypatch):
    whole = fitted(features)
    monkeypatch.setattr(statistics, "_POSITIONS_AT_ONCE", 2)
    monkeypatch.setattr(statistics, "_BYTES_OF_SUMS", 0)
    monkeypatch.setattr(statistics, "_MATRICES_AT_ONCE", 1)
    parted = PositionGaussians(POSITIONS, CHANNELS, 0.01)
    assert len(parted.accumulators()) == 5, "the sums of five positions are to lie in three accumulators"
    learn(parted, features, 7)
    torch.testing.assert_close(parted.whitening, whole.whitening)
    torch.testing.assert_close(parted.mean, whole.mean)


def test_a_second_fit_forgets_the_first(features):
    gaussians = fitted(features + 5.0)
    learn(gaussians, features, IMAGES)
    expected = fitted(features).squared_distance(features)
    torch.testing.assert_close(gaussians.squared_distance(features), expected)


def test_one_image_has_no_covariance(features):
    with pytest.raises(ValueError, match="at least 2 images"):
        fitted(features[:, :1])


def test_principal_components_are_those_of_scikit_learn(features):
    from sklearn.decomposition import PCA

    pooled = features[0] - 300.0
    components = PrincipalComponents(CHANNELS, 3)
    fit(components, pooled.split(11), len(pooled))
    expected = PCA(3).fit(pooled.numpy())
    projected = components.project(pooled).numpy()
    reference = expected.transform(pooled.numpy())
    np.testing.assert_allclose(np.abs(projected), np.abs(reference), atol=1e-3)
