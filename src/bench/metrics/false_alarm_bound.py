"""What a threshold promises: the false-alarm rate of good parts, from scores of images that no method learned from.

Of n such scores, drawn independently and alike, as those of the line will be, let the threshold be the k-th smallest;
a score above it is an alarm. The false-alarm rate of that threshold then is a random number, because other images
would have given another threshold. Where no two scores are equal it has the distribution Beta(n - k + 1, k), whatever
the distribution of the scores is: its mean is (n - k + 1) / (n + 1), and its quantile of 95 % is the bound that holds
with a confidence of 95 %. Equal scores make the rate smaller at most, so the bound holds with them as well.

With the largest score as threshold (k = n) the bound is 1 - .05 ** (1 / n): 22 % from 12 images, 5 % from 59, 1 % from
299. That is all that so few images can promise.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta

CONFIDENCE = 0.95


class FalseAlarmBound(NamedTuple):
    """The false-alarm rate at the `rank`-th smallest of the scores of so many `images`."""

    images: int
    rank: int
    confidence: float
    expected: float  # its mean
    bound: float  # it is at most this, with the confidence


def false_alarm_bound(images: int, rank: int, confidence: float = CONFIDENCE) -> FalseAlarmBound:
    """The false-alarm rate at the `rank`-th smallest of `images` scores; rank 1 is the smallest."""
    _check_confidence(confidence)
    if not 1 <= rank <= images:
        raise ValueError(f"there is no {rank}-th smallest of {images} scores")
    above = images - rank
    bound = float(beta.ppf(confidence, above + 1, rank))
    return FalseAlarmBound(images, rank, confidence, (above + 1) / (images + 1), bound)


def rank_for(max_false_alarms: float, images: int, confidence: float = CONFIDENCE) -> int | None:
    """The smallest rank whose bound is at most `max_false_alarms`; None where even the largest score promises less.

    The smallest, because a lower threshold misses fewer defects.
    """
    _check_share(max_false_alarms)
    _check_confidence(confidence)
    ranks = np.arange(1, images + 1)
    kept = beta.ppf(confidence, images - ranks + 1, ranks) <= max_false_alarms
    return int(ranks[kept][0]) if kept.any() else None


def images_needed(max_false_alarms: float, confidence: float = CONFIDENCE) -> int:
    """The smallest number of images that can promise this rate, with their largest score as threshold."""
    _check_share(max_false_alarms)
    _check_confidence(confidence)
    images = max(1, math.ceil(math.log1p(-confidence) / math.log1p(-max_false_alarms)) - 1)  # the division rounds
    while best_bound(images, confidence) > max_false_alarms:
        images += 1
    return images


def best_bound(images: int, confidence: float = CONFIDENCE) -> float:
    """The lowest rate that so many images can promise: the bound of their largest score."""
    return false_alarm_bound(images, images, confidence).bound


def rank_expected(max_false_alarms: float, images: int) -> int | None:
    """The smallest rank whose expected rate is at most `max_false_alarms`, if scores are like the line's; else None.

    For scores that allow no bound: those of images left out one by one, or in folds, are of other models than the one
    that decides, and depend on each other.
    """
    _check_share(max_false_alarms)
    at_most = largest_count(max_false_alarms, images + 1)
    return images + 1 - at_most if at_most else None


def images_expected(max_false_alarms: float) -> int:
    """The smallest number of images for `rank_expected`."""
    _check_share(max_false_alarms)
    images = max(1, math.ceil(1 / max_false_alarms) - 2)
    while rank_expected(max_false_alarms, images) is None:
        images += 1
    return images


def largest_of_groups(scores: ArrayLike, groups: ArrayLike) -> NDArray[np.float64]:
    """The largest score of each group of near-duplicates, given the group (N,) of each score (N,), ascending.

    Images of one object in one pose are one observation; counted singly, they would promise more than is known.
    """
    values, numbers = np.asarray(scores, dtype=np.float64), np.asarray(groups)
    if values.shape != numbers.shape or values.ndim != 1:
        raise ValueError(f"expected a group for each score, got {numbers.shape} for {values.shape}")
    _, own = np.unique(numbers, return_inverse=True)
    largest = np.full(own.max(initial=-1) + 1, -np.inf)
    np.maximum.at(largest, own, values)
    return np.sort(largest)


def largest_count(share: float, of: int) -> int:
    """The largest count that is no more than this share of `of`: 29 % of 100 are 29, though .29 * 100 is below 29."""
    count = math.floor(share * of)
    return count + 1 if (count + 1) / of <= share else count


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ValueError(f"a share lies between 0 and 1, not at {share}")


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence lies between 0 and 1, not at {confidence}")
