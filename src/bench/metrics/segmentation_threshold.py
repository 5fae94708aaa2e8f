"""The threshold of pixels that MVTec AD 2's makers propose: mean and three standard deviations of normal pixels."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

_DEVIATIONS = 3.0


class Moments(NamedTuple):
    """What is kept of the pixels of a map: their number, mean, and the sum of their squared deviations from it."""

    pixels: float
    mean: float
    squares: float


def moments(values: ArrayLike) -> Moments:
    """Those of one map, of any shape, in double precision."""
    own = np.asarray(values, dtype=np.float64)
    mean = float(own.mean())
    return Moments(own.size, mean, float(((own - mean) ** 2).sum()))


@dataclass
class NormalPixels:
    """The pixels of the maps of normal images, one map after the other (Chan et al., 1979)."""

    count: float = 0.0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, maps: Iterable[Moments]) -> "NormalPixels":
        """All pixels of some maps."""
        found = cls()
        for each in maps:
            found.add(each)
        return found

    def add(self, own: Moments) -> None:
        """Take the pixels of a map."""
        total, apart = self.count + own.pixels, own.mean - self.mean
        self.squares += own.squares + apart**2 * self.count * own.pixels / total
        self.mean += apart * own.pixels / total
        self.count = total

    @property
    def threshold(self) -> float:
        """A pixel above it is anomalous."""
        return float(self.mean + _DEVIATIONS * np.sqrt(self.squares / self.count))
