"""What a threshold lets through and what it stops: PG2, PB2, and recall by defect type, each with its interval.

PG2 is the share of good parts that pass where at most 2 % of the bad ones are missed; PB2 the share of bad parts that
are caught where at most 2 % of the good ones are stopped. Both set their threshold with labelled images, so they rank
methods; they are not figures of a threshold that stands at a line.

The threshold of PG2 comes from the bad scores alone, so the good ones are an independent sample at a fixed threshold,
and the share that passes is binomial: it has Wilson's interval, at this threshold. What the choice of the threshold
leaves open is said beside it: the bound of the rate that the wish limits, by `false_alarm_bound`. With 12 bad images
none is missed, and 22 % may be. A bootstrap would hide that: no resample draws a bad part below the lowest one.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.metrics.bootstrap import CONFIDENCE, Interval, share_interval
from bench.metrics.false_alarm_bound import false_alarm_bound, largest_count

MOST = 0.02  # of PG2 and PB2
_GOOD = "good"

Scores = NDArray[np.float64]


class Share(NamedTuple):
    """A number of so many images, and Wilson's interval of the share; None of no images."""

    number: int
    of: int
    interval: Interval | None

    @property
    def value(self) -> float:
        """The share; nan of no images."""
        return self.number / self.of if self.of else float("nan")


class Presorted(NamedTuple):
    """PGn or PBn: what is right of one kind where mistakes of the other are limited."""

    right: Share  # the good parts that pass, or the bad ones that are caught
    threshold: float  # a score above it is an alarm
    mistakes: Share  # of the other kind, whose share is limited: what the threshold makes on these images
    bound: float  # of the rate of these mistakes, on other images than these, with a confidence of 95 %


def share(count: int, of: int) -> Share:
    """A count of so many images, with its interval."""
    return Share(count, of, share_interval(count, of))


def presorted_good(normal: ArrayLike, anomalous: ArrayLike, most: float = MOST) -> Presorted | None:
    """PGn: the share of good parts (N,) that pass where at most `most` of the bad ones (P,) do; None without either.

    The threshold lies just below the bad score that must be caught; a good part with that very score is stopped.
    """
    good, bad = _sorted(normal), _sorted(anomalous)
    if not (good.size and bad.size):
        return None
    missed = largest_count(most, bad.size)
    if missed == bad.size:
        raise ValueError(f"a share of {most} limits nothing")
    threshold = float(np.nextafter(bad[missed], -np.inf))
    passed = int(np.searchsorted(good, threshold, side="right"))
    limited = share(int(np.searchsorted(bad, threshold, side="right")), bad.size)
    bound = false_alarm_bound(bad.size, bad.size - missed, CONFIDENCE).bound
    return Presorted(share(passed, good.size), threshold, limited, bound)


def presorted_bad(normal: ArrayLike, anomalous: ArrayLike, most: float = MOST) -> Presorted | None:
    """PBn: the share of bad parts (P,) that are caught where at most `most` of the good ones (N,) are stopped."""
    good, bad = _sorted(normal), _sorted(anomalous)
    if not (good.size and bad.size):
        return None
    stopped = largest_count(most, good.size)
    if stopped == good.size:
        raise ValueError(f"a share of {most} limits nothing")
    rank = good.size - stopped
    threshold = float(good[rank - 1])
    caught = int((bad > threshold).sum())
    limited = share(int((good > threshold).sum()), good.size)
    return Presorted(share(caught, bad.size), threshold, limited, false_alarm_bound(good.size, rank, CONFIDENCE).bound)


def stopped(normal: ArrayLike, threshold: float) -> Share:
    """The good parts (N,) above the threshold."""
    good = _sorted(normal)
    return share(int((good > threshold).sum()), good.size)


def recall_by_type(scores: ArrayLike, defect_types: ArrayLike, threshold: float) -> Mapping[str, Share]:
    """The images above the threshold of each defect type, by name; `good` (B,) is none."""
    values, types = np.asarray(scores, dtype=np.float64), np.asarray(defect_types, dtype=str)
    if values.shape != types.shape:
        raise ValueError(f"expected a defect type for each score, got {types.shape} for {values.shape}")
    names = sorted({*types.tolist()} - {_GOOD})
    return {name: stopped(values[types == name], threshold) for name in names}


def _sorted(scores: ArrayLike) -> Scores:
    values = np.sort(np.asarray(scores, dtype=np.float64))
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite")
    return values
