"""An AUPRO that walks the whole curve, threshold by threshold, for the closed form to be compared with."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

FullCurve = Callable[[NDArray, NDArray, NDArray, float], float]


def _aupro(normal: NDArray, anomalous: NDArray, region: NDArray, limit: float) -> float:
    thresholds = np.unique(np.concatenate([normal, anomalous]))[::-1, None]
    regions = [anomalous[region == index] for index in np.unique(region)]
    overlap_at = np.mean([(scores >= thresholds).mean(axis=1) for scores in regions], axis=0)
    rates = np.concatenate([[0.0], (normal >= thresholds).mean(axis=1)])
    overlaps = np.concatenate([[0.0], overlap_at])
    inside = rates <= limit
    x = np.append(rates[inside], limit)
    y = np.append(overlaps[inside], np.interp(limit, rates, overlaps))
    return float(np.trapezoid(y, x)) / limit


@pytest.fixture
def full_curve_aupro() -> FullCurve:
    """`(normal, anomalous, region of each anomalous pixel, limit) -> AUPRO`, by coverage of every region."""
    return _aupro
