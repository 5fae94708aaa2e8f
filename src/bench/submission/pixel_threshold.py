"""The threshold of pixels that MVTec AD 2's makers propose: mean and three standard deviations of normal pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DEVIATIONS = 3.0


@dataclass
class NormalPixels:
    """Count, mean and variance of the pixels of maps, one map after the other (Chan et al., 1979)."""

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0  # sum of squared deviations from the mean

    def add(self, values: NDArray[np.float32]) -> None:
        """Take the pixels of a map."""
        own = values.astype(np.float64)
        mean, squares = float(own.mean()), float(((own - own.mean()) ** 2).sum())
        total, apart = self.count + own.size, mean - self.mean
        self.squares += squares + apart**2 * self.count * own.size / total
        self.mean += apart * own.size / total
        self.count = total

    @property
    def threshold(self) -> float:
        """A pixel above it is anomalous."""
        return float(self.mean + _DEVIATIONS * np.sqrt(self.squares / self.count))
