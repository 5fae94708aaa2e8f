"""Ranks, Friedman's and Nemenyi's tests, against Demšar 2006 (JMLR 7) and two libraries."""

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from bench.leaderboard.significance import compare_methods, nemenyi_critical_difference, nemenyi_p_values, ranks

# Demšar 2006, table 6: AUC of C4.5, with m, with cf, with both tuned, on 14 data sets.
DEMSAR = np.array(
    [
        (0.763, 0.768, 0.771, 0.798),
        (0.599, 0.591, 0.590, 0.569),
        (0.954, 0.971, 0.968, 0.967),
        (0.628, 0.661, 0.654, 0.657),
        (0.882, 0.888, 0.886, 0.898),
        (0.936, 0.931, 0.916, 0.931),
        (0.661, 0.668, 0.609, 0.685),
        (0.583, 0.583, 0.563, 0.625),
        (0.775, 0.838, 0.866, 0.875),
        (1.000, 1.000, 1.000, 1.000),
        (0.940, 0.962, 0.965, 0.962),
        (0.619, 0.666, 0.614, 0.669),
        (0.972, 0.981, 0.9751, 0.975),  # printed as equal, ranked 2 and 3 in the paper: before rounding
        (0.957, 0.978, 0.946, 0.970),
    ]
)


def test_mean_ranks_are_demsars():
    assert ranks(DEMSAR).mean(axis=0) == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)


def test_friedmans_statistic_without_correction_for_ties_is_demsars():
    squares = (ranks(DEMSAR).mean(axis=0) ** 2).sum()
    assert 12 * 14 / (4 * 5) * (squares - 4 * 5**2 / 4) == pytest.approx(9.28, abs=5e-3)


def test_friedmans_test_is_scipys_with_correction_for_ties():
    found = compare_methods(DEMSAR)
    assert (found.statistic, found.p_value) == pytest.approx(tuple(friedmanchisquare(*DEMSAR.T)), rel=1e-12)


@pytest.mark.parametrize(
    ("methods", "quantile"),
    [*enumerate((1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), start=2)],
)
def test_critical_values_are_those_of_demsars_table_5(methods, quantile):
    difference = nemenyi_critical_difference(methods, categories=14)
    assert difference / np.sqrt(methods * (methods + 1) / (6 * 14)) == pytest.approx(quantile, abs=1e-3)


def test_the_critical_difference_of_demsars_example_is_his():
    assert compare_methods(DEMSAR).critical_difference == pytest.approx(1.25, abs=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_p_values_of_pairs_are_those_of_scikit_posthocs(seed):
    posthocs = pytest.importorskip("scikit_posthocs")
    scores = DEMSAR if seed == 0 else np.random.default_rng(seed).normal(size=(15, 7)).round(1)
    expected = posthocs.posthoc_nemenyi_friedman(scores).to_numpy()
    assert compare_methods(scores).pairs == pytest.approx(expected, abs=1e-10)


def test_a_pair_at_the_critical_difference_has_the_p_value_of_its_level():
    apart = nemenyi_critical_difference(2, categories=9)
    assert nemenyi_p_values(np.array([1.0, 1.0 + apart]), 9)[0, 1] == pytest.approx(0.05, abs=1e-9)


def test_methods_that_are_equal_everywhere_do_not_differ():
    found = compare_methods(np.full((6, 3), 0.5))
    assert (found.statistic, found.p_value) == (0.0, 1.0)
    assert (found.pairs == 1).all()


@pytest.mark.parametrize("shape", [(4, 5), (15, 2)], ids=["categories", "methods"])
def test_too_few_of_either_give_no_test(shape):
    assert compare_methods(np.random.default_rng(0).normal(size=shape)) is None
