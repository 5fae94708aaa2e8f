"""Write raw scores in half precision without making most of them equal.

Plain rounding would: a half-precision number has 11 significant bits, and the scores of a category may all lie within a
few per cent. A metric that ranks pixels sees nothing of a map of scores that is monotone, so scores are spread over all
finite numbers from 0 on, by the quantiles of a sample, most of them for the largest tenth, where defects lie.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_LEVELS = int(np.frombuffer(np.finfo(np.float16).max.tobytes(), np.uint16)[0]) + 1  # finite numbers from 0 on: 31,744
_KNOTS = 2048  # quantiles of each of both parts
_LARGEST = 0.9  # the quantile at which the largest tenth begins
# Shares of the levels: below the sample, its smaller nine tenths, its largest tenth; the rest is above the sample.
_BELOW, _SMALLER, _LARGER = 0.02, 0.30, 0.48


@dataclass(frozen=True)
class Float16Range:
    """A monotone map of scores to half precision; no two scores change places."""

    scores: NDArray[np.float64]  # (K,) ascending, no two equal
    shares: NDArray[np.float64]  # (K,) the share of the levels up to each

    @classmethod
    def of(cls, sample: ArrayLike) -> "Float16Range":
        """The map for scores that are distributed as a finite sample (N,)."""
        values = np.asarray(sample, dtype=np.float64).ravel()
        quantiles = np.concatenate([np.linspace(0, _LARGEST, _KNOTS), np.linspace(_LARGEST, 1, _KNOTS)[1:]])
        shares = _BELOW + np.interp(quantiles, [0, _LARGEST, 1], [0, _SMALLER, _SMALLER + _LARGER])
        scores, first = np.unique(np.quantile(values, quantiles), return_index=True)
        return cls(scores, shares[first])

    def __call__(self, scores: ArrayLike) -> NDArray[np.float16]:
        """Scores of any shape, finite, in half precision."""
        values = np.asarray(scores, dtype=np.float64)
        low, high = float(self.scores[0]), float(self.scores[-1])
        width = max(high - low, np.spacing(abs(high)), np.finfo(np.float64).tiny)
        shares = np.interp(values, self.scores, self.shares)
        # Beyond the sample without an end: 1/2 of what is left at one width, 2/3 at two.
        above, below = np.maximum(values - high, 0), np.maximum(low - values, 0)
        shares += (1 - self.shares[-1]) * above / (above + width) - self.shares[0] * below / (below + width)
        levels = np.round(shares * (_LEVELS - 1)).clip(0, _LEVELS - 1).astype(np.uint16)
        return levels.view(np.float16)
