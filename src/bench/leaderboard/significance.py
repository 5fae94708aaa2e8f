"""Whether methods differ over categories: mean ranks, Friedman's test, Nemenyi's critical difference (Demšar 2006)."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_CATEGORIES = 5
FEWEST_METHODS = 3  # for two, ranks give no more than a sign test
LEVEL = 0.05


@dataclass(frozen=True)
class Significance:
    """Friedman's chi-square over N categories and k methods, its p-value, and Nemenyi's tests of all pairs (k, k)."""

    statistic: float
    p_value: float
    critical_difference: float  # in mean rank, at LEVEL
    pairs: NDArray[np.float64]


def ranks(scores: ArrayLike) -> NDArray[np.float64]:
    """Ranks (N, k) of methods within each category, 1 for the largest score; ties share their mean rank."""
    from scipy.stats import rankdata

    ranked: NDArray[np.float64] = rankdata(-np.asarray(scores, dtype=np.float64), axis=1)
    return ranked


def compare_methods(scores: ArrayLike) -> Significance | None:
    """Test scores (N categories, k methods), where larger is better; None where there are too few of either."""
    from scipy.stats import friedmanchisquare

    values = np.asarray(scores, dtype=np.float64)
    categories, methods = values.shape
    if categories < FEWEST_CATEGORIES or methods < FEWEST_METHODS:
        return None
    ranked = ranks(values)
    if np.ptp(ranked) == 0:  # equal everywhere: Friedman's statistic is 0 / 0
        statistic, p_value = 0.0, 1.0
    else:
        statistic, p_value = map(float, friedmanchisquare(*ranked.T))
    critical = nemenyi_critical_difference(methods, categories)
    return Significance(statistic, p_value, critical, nemenyi_p_values(ranked.mean(axis=0), categories))


def nemenyi_critical_difference(methods: int, categories: int, level: float = LEVEL) -> float:
    """How far two mean ranks must lie apart: Demšar's q times the standard error of a difference of mean ranks."""
    from scipy.stats import studentized_range

    quantile = float(studentized_range.ppf(1 - level, methods, np.inf)) / math.sqrt(2)
    return quantile * _standard_error(methods, categories)


def nemenyi_p_values(mean_ranks: NDArray[np.float64], categories: int) -> NDArray[np.float64]:
    """P-values (k, k) of all pairs, 1 on the diagonal."""
    from scipy.stats import studentized_range

    methods = len(mean_ranks)
    gaps = np.abs(mean_ranks[:, None] - mean_ranks[None, :]) / _standard_error(methods, categories)
    found: NDArray[np.float64] = studentized_range.sf(gaps * math.sqrt(2), methods, np.inf)
    np.fill_diagonal(found, 1.0)
    return found


def _standard_error(methods: int, categories: int) -> float:
    return math.sqrt(methods * (methods + 1) / (6 * categories))
