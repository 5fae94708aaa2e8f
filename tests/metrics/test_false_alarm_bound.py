"""The rate of false alarms that a threshold from n good images promises, and how sure that is."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import beta
from statsmodels.stats.proportion import proportion_confint

from bench.metrics.false_alarm_bound import (
    best_bound,
    false_alarm_bound,
    images_expected,
    images_needed,
    largest_count,
    largest_of_groups,
    rank_expected,
    rank_for,
)
from bench.records.predictions import parse_predictions

RECORDS = Path(__file__).parents[2] / "leaderboards" / "records"


@pytest.mark.parametrize(("images", "rank"), [(1, 1), (12, 12), (12, 7), (59, 59), (100, 97), (299, 299), (5000, 4971)])
@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.99])
def test_the_bound_is_clopper_and_pearson_s_of_the_scores_above_the_threshold(images, rank, confidence):
    found = false_alarm_bound(images, rank, confidence)
    _, high = proportion_confint(images - rank, images, alpha=2 * (1 - confidence), method="beta")
    assert found.bound == pytest.approx(high, rel=1e-9)
    distribution = beta(images - rank + 1, rank)
    assert distribution.cdf(found.bound) == pytest.approx(confidence, rel=1e-9)
    assert found.expected == pytest.approx(distribution.mean(), rel=1e-12)


def test_twelve_images_promise_22_percent_28_promise_10_and_a_hundred_3():
    assert [round(best_bound(images), 3) for images in (12, 28, 100)] == [0.221, 0.101, 0.030]
    assert best_bound(12) == pytest.approx(1 - 0.05 ** (1 / 12), rel=1e-12)


@pytest.mark.parametrize(
    ("most", "confidence", "images"),
    [(0.05, 0.95, 59), (0.01, 0.95, 299), (0.02, 0.95, 149), (0.1, 0.95, 29), (0.01, 0.99, 459), (0.5, 0.5, 1)],
)
def test_59_images_are_needed_for_5_percent_and_299_for_1(most, confidence, images):
    assert images_needed(most, confidence) == images
    assert rank_for(most, images, confidence) == images, "the largest score is the threshold"
    assert images == 1 or rank_for(most, images - 1, confidence) is None


@pytest.mark.parametrize("most", [0.001, 0.003, 0.007, 0.03, 0.11, 0.25, 0.7])
def test_with_one_image_less_than_needed_the_wish_cannot_be_met(most):
    images = images_needed(most)
    assert best_bound(images) <= most
    assert images == 1 or best_bound(images - 1) > most


def test_more_images_than_needed_allow_a_lower_threshold():
    assert [rank_for(0.05, images) for images in (58, 59, 92, 93, 400)] == [None, 59, 92, 92, 388]
    assert [rank_for(most, 10) for most in (0.994, 0.996)] == [2, 1]


@pytest.mark.parametrize("images", [59, 93, 250, 1000])
@pytest.mark.parametrize("most", [0.05, 0.1, 0.3])
def test_the_rank_is_the_lowest_that_keeps_the_wish(images, most):
    rank = rank_for(most, images)
    assert rank is not None
    assert false_alarm_bound(images, rank).bound <= most < false_alarm_bound(images, rank - 1).bound


def test_without_a_bound_the_expected_rate_decides_the_rank():
    assert [rank_expected(0.01, images) for images in (98, 99, 198, 199, 208)] == [None, 99, 198, 198, 207]
    assert [images_expected(most) for most in (0.01, 0.05, 0.02, 0.3, 0.7)] == [99, 19, 49, 3, 1]
    assert all(rank_expected(most, images_expected(most)) for most in np.linspace(0.001, 0.999, 500))


@pytest.mark.parametrize("share", [0.29, 0.07, 0.57, 0.02, 0.1, 1 / 3])
def test_a_share_of_so_many_is_counted_without_the_error_of_a_product(share):
    for of in range(1, 400):
        count = largest_count(share, of)
        assert count / of <= share < (count + 1) / of
    assert largest_count(0.29, 100) == 29


def test_near_duplicates_count_once_with_their_largest_score():
    assert largest_of_groups([3.0, 9.0, 1.0, 4.0, 5.0], [7, 2, 7, 0, 2]).tolist() == [3.0, 4.0, 9.0]
    assert largest_of_groups([], []).tolist() == []


@pytest.mark.parametrize("share", [0, 1, -0.1, 1.5, float("nan")])
def test_what_is_no_share_is_refused(share):
    for asked in (lambda: rank_for(share, 10), lambda: images_needed(share), lambda: rank_expected(share, 10)):
        with pytest.raises(ValueError, match="between 0 and 1"):
            asked()
    with pytest.raises(ValueError, match="between 0 and 1"):
        false_alarm_bound(10, 10, share)


@pytest.mark.parametrize("rank", [0, 11])
def test_a_rank_that_no_score_has_is_refused(rank):
    with pytest.raises(ValueError, match="of 10 scores"):
        false_alarm_bound(10, rank)


DRAWS, COVERED = 10_000, 0.943  # three standard deviations of 10,000 draws below .95


def covered(population: np.ndarray, images: int, rank: int) -> float:
    """How often the bound holds where the images are drawn from this population, with replacement."""
    rng = np.random.default_rng(images * 1000 + rank)
    drawn = np.sort(rng.choice(population, (DRAWS, images)), axis=1)[:, rank - 1]
    above = population.size - np.searchsorted(np.sort(population), drawn, side="right")
    return float(np.mean(above / population.size <= false_alarm_bound(images, rank).bound))


def good_scores(file: Path) -> np.ndarray:
    return np.array([row.score for row in parse_predictions(file.read_bytes(), file) if not row.is_defect])


def populations() -> dict[str, np.ndarray]:
    """The good test images' scores of each committed run, and two that are made: no ties, and almost only ties."""
    rng = np.random.default_rng(0)
    made = {"no ties": rng.lognormal(size=200_000), "five values": rng.integers(0, 5, 1000).astype(float)}
    return made | {
        str(file.parent.relative_to(RECORDS)): good_scores(file) for file in RECORDS.rglob("predictions.csv")
    }


@pytest.mark.slow
@pytest.mark.parametrize("images", [8, 12, 28, 100])
def test_the_bound_covers_the_rate_for_the_scores_of_each_method_ties_included(images):
    found = populations()
    assert len(found) > 80
    for rank in {images, images - 1, images - images // 10}:
        shares = {name: covered(population, images, rank) for name, population in found.items()}
        assert min(shares.values()) >= COVERED, min(shares, key=shares.__getitem__)
        assert shares["no ties"] < 0.957, "and it is no more cautious than it must be"
