"""PG2, PB2, recall by defect type, and what a bound of few images says beside them."""

import numpy as np
import pytest
import torch
from scipy.stats import beta
from statsmodels.stats.proportion import proportion_confint

from bench.metrics.operating_points import presorted_bad, presorted_good, recall_by_type, share, stopped

RNG = np.random.default_rng(3)


def test_good_parts_pass_below_the_first_bad_one_where_none_may_be_missed():
    found = presorted_good([1, 2, 3, 4, 5, 6, 7, 8], [4.5, 9, 10, 11], 0.02)
    assert (found.right.number, found.right.of, found.mistakes.number) == (4, 8, 0)
    assert found.right.value == 0.5
    assert 4 <= found.threshold < 4.5


def test_one_bad_part_in_fifty_may_be_missed_but_none_in_49():
    good, bad = np.arange(100.0), [10.5, 50.5, *np.full(48, 200.0)]
    found = presorted_good(good, bad)
    assert (found.right.number, found.mistakes.number, found.mistakes.value) == (51, 1, 0.02)
    assert presorted_good(good, bad[:-1]).right.number == 11


def test_one_good_part_in_fifty_may_be_stopped_but_none_in_49():
    good, bad = [*np.zeros(48), 20.5, 90.5], np.arange(100.0)
    found = presorted_bad(good, bad)
    assert (found.right.number, found.mistakes.number, found.threshold) == (79, 1, 20.5)
    assert presorted_bad(good[1:], bad).right.number == 9


def test_equal_scores_are_decided_alike():
    good, bad = [1, 2, 2, 3], [2, 2, 4]
    assert presorted_good(good, bad).right.number == 1, "a good part as anomalous as the first bad one is stopped"
    assert presorted_bad(good, bad).right.number == 1, "a bad part as good as the last good one passes"


def test_what_pg2_and_pb2_count_is_what_their_thresholds_do():
    for _ in range(40):
        good, bad = (np.round(RNG.normal(shift, 1, RNG.integers(1, 120)), 1) for shift in (0, 1.5))
        for most in (0.0, 0.02, 0.05, 0.2, 0.5):
            passed, caught = presorted_good(good, bad, most), presorted_bad(good, bad, most)
            assert passed.right.number == np.sum(good <= passed.threshold)
            assert passed.mistakes.number == np.sum(bad <= passed.threshold) <= most * bad.size
            assert caught.right.number == np.sum(bad > caught.threshold)
            assert caught.mistakes.number == np.sum(good > caught.threshold) <= most * good.size


def test_no_threshold_passes_more_good_parts_or_catches_more_bad_ones():
    for _ in range(100):
        good, bad = (np.round(RNG.normal(shift, 1, RNG.integers(2, 60)), 1) for shift in (0, 1))
        thresholds = np.concatenate([[-99], np.unique([*good, *bad, *(good - 1e-9), *(bad - 1e-9)])])
        kept = [t for t in thresholds if np.mean(bad <= t) <= 0.05]
        assert presorted_good(good, bad, 0.05).right.number == max(np.sum(good <= t) for t in kept)
        kept = [t for t in thresholds if np.mean(good > t) <= 0.05]
        assert presorted_bad(good, bad, 0.05).right.number == max(np.sum(bad > t) for t in kept)


@pytest.mark.parametrize("most", [0.0, 0.02, 0.05, 0.2])
def test_anomalib_s_pgn_and_pbn_are_the_same_where_its_quantile_is_a_score(most):
    """Its quantile lies between two scores where most * (n - 1) is no whole number, and may miss more than asked."""
    good, bad = RNG.normal(0, 1, 101), RNG.normal(1.5, 1, 201)
    accepted = float(torch.quantile(torch.tensor(bad), most))  # as anomalib 2.7's metrics/pg_pb.py computes it
    assert presorted_good(good, bad, most).right.value == np.mean(good < accepted)
    accepted = float(torch.quantile(torch.tensor(good), 1 - most))
    # 1 - .05 is not exactly .95: its quantile lies a last digit beside the score.
    assert presorted_bad(good, bad, most).right.value == np.mean(bad > accepted + 1e-9)


def test_where_anomalib_interpolates_it_misses_more_bad_parts_than_asked_and_this_does_not():
    good, bad = np.array([0.1, 0.2, 0.36, 0.38]), np.array([0.35, 0.4, 0.8, 0.9])
    accepted = float(torch.quantile(torch.tensor(bad), 0.2))
    assert np.mean(bad < accepted) == 0.25
    assert presorted_good(good, bad, 0.2).mistakes.value == 0


@pytest.mark.parametrize(("count", "of"), [(0, 7), (3, 7), (7, 7), (119, 119), (1, 1), (50, 400)])
def test_a_share_has_wilson_s_interval(count, of):
    expected = proportion_confint(count, of, alpha=0.05, method="wilson")
    assert share(count, of).interval == pytest.approx(expected, abs=1e-9)


def test_beside_pg2_stands_what_so_few_bad_parts_can_promise():
    found = presorted_good(RNG.normal(size=40), RNG.normal(5, 1, 12))
    assert found.mistakes.number == 0
    assert round(found.bound, 3) == 0.221
    many = presorted_good(RNG.normal(size=40), RNG.normal(5, 1, 200))
    assert many.bound == pytest.approx(beta.ppf(0.95, 5, 196))
    assert presorted_bad(RNG.normal(size=200), RNG.normal(5, 1, 12)).bound == pytest.approx(beta.ppf(0.95, 5, 196))


@pytest.mark.slow
def test_the_interval_of_pg2_covers_the_good_parts_that_pass_and_the_bound_the_bad_ones_that_do():
    """On populations without end, at the threshold that each draw chose."""
    rng = np.random.default_rng(5)
    good, bad = np.sort(rng.normal(size=200_000)), np.sort(rng.normal(2, 1, 200_000))
    held = []
    for _ in range(3000):
        found = presorted_good(rng.choice(good, 40), rng.choice(bad, 60), 0.05)
        passed, missed = (np.searchsorted(each, found.threshold, side="right") / each.size for each in (good, bad))
        low, high = found.right.interval
        held.append((low <= passed <= high, missed <= found.bound))
    interval, bound = np.mean(held, axis=0)
    assert 0.935 <= interval <= 0.975
    assert 0.938 <= bound <= 0.962


def test_recall_is_told_by_type_and_an_image_at_the_threshold_is_missed():
    found = recall_by_type([5, 1, 2, 9, 3], ["good", "bent", "bent", "bent", "scratch"], 2)
    assert {name: (each.number, each.of) for name, each in found.items()} == {"bent": (1, 3), "scratch": (1, 1)}
    assert found["bent"].interval == pytest.approx(proportion_confint(1, 3, method="wilson"))
    assert stopped([5, 2], 2).number == 1


def test_without_images_of_one_kind_there_is_no_figure():
    assert presorted_good([], [1.0]) is None
    assert presorted_bad([1.0], []) is None
    assert recall_by_type([1.0], ["good"], 0) == {}
    assert np.isnan(share(0, 0).value)
    assert share(0, 0).interval is None


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="finite"):
        presorted_good([1, float("nan")], [2])
    with pytest.raises(ValueError, match="limits nothing"):
        presorted_bad([1], [2], 1.0)
    with pytest.raises(ValueError, match="a defect type for each"):
        recall_by_type([1.0, 2.0], ["good"], 0)
