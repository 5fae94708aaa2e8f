"""The expected cost of a part, and the threshold that costs least."""

import numpy as np
import pytest

from bench.metrics.decision_cost import Costs, cheapest_threshold, expected_cost

GOOD, BAD = [1.0, 2.0, 3.0, 6.0], [4.0, 7.0]


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(3.0, 0.99 * 1 / 4), (6.0, 0.01 * 100 * 1 / 2), (0.0, 0.99 * 1), (7.0, 0.01 * 100), (2.0, 0.99 * 2 / 4)],
)
def test_a_part_costs_what_misses_and_alarms_cost_by_their_share_at_the_line(threshold, expected):
    assert expected_cost(GOOD, BAD, threshold, Costs(100, 1, 0.01)) == pytest.approx(expected)


def test_the_dearer_a_miss_the_lower_the_threshold():
    assert [cheapest_threshold(GOOD, BAD, Costs(miss, 1, 0.01)) for miss in (1, 40, 60, 1000)] == [6.0, 6.0, 3.0, 3.0]


def test_of_equal_costs_the_lowest_threshold_is_taken():
    """At 1 one of two good parts is stopped, at 5 one of two bad ones passes."""
    assert cheapest_threshold([1.0, 5.0], [3.0, 8.0], Costs(1, 1, 0.5)) == 1.0
    assert cheapest_threshold([1.0, 5.0], [3.0, 8.0], Costs(0.1 + 0.2, 0.3, 0.5)) == 1.0
    assert cheapest_threshold([1.0, 5.0], [3.0, 8.0], Costs(0.3, 0.1 + 0.2, 0.5)) == 1.0


def test_where_alarms_cost_nothing_every_part_is_stopped():
    threshold = cheapest_threshold([5.0, 9.0], [4.0], Costs(1, 0, 0.5))
    assert threshold == np.nextafter(4.0, -np.inf)


def test_no_other_threshold_costs_less():
    rng = np.random.default_rng(0)
    for _ in range(200):
        good, bad = (np.round(rng.normal(shift, 1, rng.integers(1, 40)), 1) for shift in (0, 1))
        costs = Costs(float(rng.uniform(0.1, 50)), float(rng.uniform(0.1, 5)), float(rng.uniform(0.01, 0.9)))
        found = cheapest_threshold(good, bad, costs)
        tried = {t: expected_cost(good, bad, t, costs) for t in [-99.0, *good, *bad]}
        lowest = min(tried.values())
        assert expected_cost(good, bad, found, costs) == pytest.approx(lowest)
        assert all(t >= found for t, cost in tried.items() if t != -99 and cost <= lowest * (1 + 1e-13))


def test_scores_of_one_kind_have_no_cost():
    assert np.isnan(expected_cost([], BAD, 0, Costs(1, 1, 0.5)))
    with pytest.raises(ValueError, match="of good and of bad"):
        cheapest_threshold([], BAD, Costs(1, 1, 0.5))
    with pytest.raises(ValueError, match="finite"):
        cheapest_threshold([float("inf")], BAD, Costs(1, 1, 0.5))
