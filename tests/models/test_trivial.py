"""Trivial baselines against their definition, in NumPy and in double precision."""

import numpy as np
import pytest
import torch

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.trivial import Trivial
from learning import learn

GENERATOR = torch.Generator().manual_seed(0)
# A light of its own for each image and colour.
IMAGES, PROBES = (
    torch.rand(n, 3, 32, 32, generator=GENERATOR) * torch.rand(n, 3, 1, 1, generator=GENERATOR) for n in (24, 5)
)
STATISTICS = ("mean", "contrast", "thumbnail")


def fitted(images: torch.Tensor = IMAGES, **settings) -> Trivial:
    return learn(Trivial(DataSpec(32, 3, len(images)), **settings).eval(), images.split(7))


def numbers(images: torch.Tensor, statistic: str, side: int = 8) -> np.ndarray:
    """(B, numbers) of images (B, 3, 32, 32)."""
    wide = images.double().numpy()
    if statistic == "thumbnail":
        step = 32 // side
        return wide.reshape(len(wide), 3, side, step, side, step).mean(axis=(3, 5)).reshape(len(wide), -1)
    grey = wide.mean(axis=1).reshape(len(wide), -1)
    return (grey.mean(axis=1) if statistic == "mean" else grey.std(axis=1))[:, None]


def expected(known: np.ndarray, probes: np.ndarray) -> np.ndarray:
    away = (probes - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1 / 255)
    return np.sqrt((away**2).mean(axis=1))


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_score_is_the_distance_from_the_training_images_in_standard_deviations(statistic):
    found = fitted(statistic=statistic).predict(PROBES)
    wanted = expected(numbers(IMAGES, statistic), numbers(PROBES, statistic))
    np.testing.assert_allclose(found.score.numpy(), wanted, rtol=1e-5)
    assert found.map is None


def test_the_side_of_the_thumbnail_is_a_setting():
    found = fitted(statistic="thumbnail", side=4).predict(PROBES)
    wanted = expected(numbers(IMAGES, "thumbnail", 4), numbers(PROBES, "thumbnail", 4))
    np.testing.assert_allclose(found.score.numpy(), wanted, rtol=1e-5)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("count", [2, 24])
def test_a_left_out_score_is_that_of_a_refit_without_the_image(statistic, count):
    images = IMAGES[:count]
    found = fitted(images, statistic=statistic).predict_leave_one_out(images).numpy()
    for place in range(count):
        others = torch.cat([images[:place], images[place + 1 :]])
        wanted = fitted(others, statistic=statistic).predict(images[place : place + 1]).score.numpy()
        np.testing.assert_allclose(found[place : place + 1], wanted, rtol=2e-5)


def test_what_never_varies_counts_in_grey_levels():
    """Or one grey level in the black background would be infinitely far away."""
    black = torch.zeros(6, 1, 16, 16)
    model = learn(Trivial(DataSpec(16, 1, 6), statistic="thumbnail").eval(), [black])
    assert float(model.predict(black[:1]).score) == 0
    assert float(model.predict(black[:1] + 3 / 255).score) == pytest.approx(3)


@pytest.mark.parametrize("side", [0, 33])
def test_a_thumbnail_has_at_least_a_pixel_and_at_most_those_of_the_image(side):
    with pytest.raises(UsageError, match=rf"--model.side {side} lies outside 1 to 32"):
        Trivial(DataSpec(32, 3, 4), side=side)
