"""Scores in half precision: their order stays, and few of them become equal."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.submission.float16_range import Float16Range

FINITE = st.floats(-(2.0**99), 2.0**99, allow_nan=False, width=32)


@settings(max_examples=200, deadline=None)
@given(st.lists(FINITE, min_size=1, max_size=50), st.lists(FINITE, min_size=2, max_size=50))
def test_no_two_scores_change_places_and_all_are_finite(sample, scores):
    written = Float16Range.of(sample)(np.sort(scores))
    assert np.isfinite(written).all()
    assert (np.diff(written.astype(np.float64)) >= 0).all()


def test_scores_within_a_few_per_cent_stay_apart_where_plain_rounding_makes_most_of_them_equal():
    scores = np.random.default_rng(0).normal(20, 0.2, 200_000)
    found = Float16Range.of(scores[::10])(scores)
    assert len(np.unique(scores.astype(np.float16))) < 200
    assert len(np.unique(found)) > 15_000


def test_the_largest_tenth_has_most_of_the_levels():
    scores = np.random.default_rng(0).normal(0, 1, 200_000)
    written = Float16Range.of(scores)(scores)
    high = scores > np.quantile(scores, 0.9)
    assert len(np.unique(written[high])) > len(np.unique(written[~high]))


def test_scores_far_above_the_sample_are_told_apart():
    written = Float16Range.of(np.linspace(0, 1, 1000))(np.array([1.0, 1.01, 2.0, 10.0, 100.0]))
    assert (np.diff(written.astype(np.float64)) > 0).all()
