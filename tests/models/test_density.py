from datetime import timedelta

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from bench.models.parts.density import ShrunkGaussian
from learning import fit

FEATURES = 24


def samples(count: int) -> torch.Tensor:
    """(count, features), far from zero, of very unequal variances, with heavy tails."""
    generator = torch.Generator().manual_seed(count)
    mixing = torch.randn(FEATURES, FEATURES, generator=generator) * torch.logspace(-2, 1, FEATURES)
    return torch.randn(count, FEATURES, generator=generator).pow(3) @ mixing + 50.0


def fitted(features: torch.Tensor, batch: int) -> ShrunkGaussian:
    gaussian = ShrunkGaussian(features.shape[1])
    fit(gaussian, features.split(batch), len(features))
    return gaussian


@pytest.mark.parametrize("count", [3, 10, 200, 5000])  # fewer and more than features
@pytest.mark.parametrize("batch", [7, 5000])
def test_mean_covariance_and_shrinkage_are_scikit_learns_ledoit_wolf(count, batch):
    features = samples(count)
    gaussian, reference = fitted(features, batch), LedoitWolf().fit(features.double().numpy())
    np.testing.assert_allclose(gaussian.shrinkage, reference.shrinkage_, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(gaussian.mean, reference.location_, rtol=1e-6)
    precision = (gaussian.whitening.mT @ gaussian.whitening).numpy()
    scale = np.abs(reference.covariance_).max()
    np.testing.assert_allclose(np.linalg.inv(precision), reference.covariance_, rtol=1e-6, atol=1e-6 * scale)


@pytest.mark.parametrize("count", [10, 200])
def test_distances_are_scikit_learns_mahalanobis(count):
    features = samples(count)
    probe = samples(31).double().numpy()
    expected = LedoitWolf().fit(features.double().numpy()).mahalanobis(probe)
    distances = fitted(features, 16).squared_distance(torch.from_numpy(probe))
    np.testing.assert_allclose(distances, expected, rtol=1e-6)


def test_the_shape_before_the_features_is_kept():
    probe = torch.randn(4, 5, FEATURES)
    gaussian = fitted(samples(50), 50)
    assert torch.equal(gaussian.squared_distance(probe), gaussian.squared_distance(probe.flatten(0, 1)).view(4, 5))


def test_a_second_fit_forgets_the_first():
    gaussian = fitted(samples(40) + 3.0, 40)
    fit(gaussian, [samples(60)], 60)
    torch.testing.assert_close(gaussian.mean, fitted(samples(60), 60).mean)


def test_two_samples_are_too_few():
    with pytest.raises(ValueError, match="at least 3 samples"):
        fitted(samples(2), 2)


def test_features_that_never_vary_are_refused():
    with pytest.raises(ValueError, match="the same"):
        fitted(torch.ones(5, FEATURES), 5)


def _settle_own_share(rank: int, processes: int, store: str, results: torch.multiprocessing.Queue) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=processes, timeout=timedelta(seconds=60)
    )
    gaussian = fitted(samples(101)[rank::processes], 9)
    results.put((rank, gaussian.shrinkage.numpy(), gaussian.squared_distance(samples(31)).numpy()))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_gaussian_of_one(tmp_path):
    context = torch.multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = [(rank, 2, str(tmp_path / "store"), results) for rank in range(2)]
    workers = [context.Process(target=_settle_own_share, args=own) for own in arguments]
    for worker in workers:
        worker.start()
    outcomes = [results.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join(60)
    alone = fitted(samples(101), 101)
    for _, shrinkage, distances in outcomes:
        np.testing.assert_allclose(shrinkage, alone.shrinkage, rtol=1e-9)
        np.testing.assert_allclose(distances, alone.squared_distance(samples(31)), rtol=1e-6)
