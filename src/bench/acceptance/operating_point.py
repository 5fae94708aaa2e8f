"""One model with one threshold: what it promises of good parts, and what slips through."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import betabinom

from bench.acceptance.candidates import FittedRun
from bench.metrics.decision_cost import Costs, expected_cost
from bench.metrics.false_alarm_bound import (
    CONFIDENCE,
    best_bound,
    images_expected,
    images_needed,
    rank_expected,
    rank_for,
)
from bench.metrics.operating_points import Presorted, Share, presorted_bad, presorted_good
from bench.records.chosen_threshold import ChosenThreshold
from bench.runs.chosen_threshold import (
    OnTest,
    choose_by_false_alarms,
    kept_scores,
    on_test,
    rounded_up,
    why_no_bound,
)


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold that no test photo helped to choose, and what the test photos say of it.

    Args:
        wish: the largest share of good parts that may be stopped.
        chosen: the threshold with its promise, as `bench threshold` would write it.
        calibration: the scores that it was chosen from, ascending; near-duplicates count once.
        needed: the number of such scores that the wish takes.
        test: the test photos at the threshold.
        good, bad: the scores of the test photos.
    """

    wish: float
    chosen: ChosenThreshold
    calibration: NDArray[np.float64]
    needed: int
    test: OnTest
    good: NDArray[np.float64]
    bad: NDArray[np.float64]

    @property
    def threshold(self) -> float:
        """A score above it is an alarm."""
        return self.chosen.threshold

    @property
    def expected(self) -> float:
        """The share of good parts that is expected to be stopped."""
        assert self.chosen.false_alarms is not None, "it was chosen by false alarms"
        return self.chosen.false_alarms.expected

    @property
    def bound(self) -> float | None:
        """The share of good parts that is stopped at most, with 95 % confidence; None where there is no bound."""
        assert self.chosen.false_alarms is not None, "it was chosen by false alarms"
        return self.chosen.false_alarms.bound

    @property
    def keeps_wish(self) -> bool:
        """Whether the wish holds: with confidence, or as an expectation where there is no bound."""
        return (self.expected if self.bound is None else self.bound) <= self.wish

    @property
    def missing(self) -> int:
        """How many more calibration photos the wish takes."""
        return max(0, self.needed - len(self.calibration))

    @property
    def contradiction(self) -> float:
        """How probable so many stopped good test photos are, or more, if these and the calibration photos are alike.

        Small numbers say that they are not: then the promise is of other photos than those of the test. Given the rank
        of the threshold, the number that is stopped is beta-binomial.
        """
        alarms, good = self.chosen.false_alarms, self.test.stopped
        assert alarms is not None, "it was chosen by false alarms"
        above = len(self.calibration) - alarms.rank
        return float(betabinom.sf(good.number - 1, good.of, above + 1, alarms.rank)) if good.number else 1.0

    @property
    def presorted(self) -> Mapping[str, Presorted | None]:
        """PG2 and PB2; None without bad or without good test photos."""
        return {"PG2": presorted_good(self.good, self.bad), "PB2": presorted_bad(self.good, self.bad)}

    @property
    def missed(self) -> Share | None:
        """The bad photos that pass; None without any."""
        found = self.test.found
        if not found.of:
            return None
        turned = None if found.interval is None else (1 - found.interval[1], 1 - found.interval[0])
        return Share(found.of - found.number, found.of, turned)

    def cost(self, costs: Costs) -> float | None:
        """The expected cost of a part on the test photos; None without good or bad ones."""
        found = expected_cost(self.good, self.bad, self.threshold, costs)
        return None if np.isnan(found) else found

    def most_cost(self, costs: Costs) -> float | None:
        """The same at the upper ends of both intervals: of the bad photos that pass and the good ones that stop."""
        ends = [each.interval for each in (self.missed, self.test.stopped) if each is not None]
        if len(ends) < 2 or None in ends:
            return None
        return float(costs.expected(*(end[1] for end in ends if end is not None)))


def operating_point(run: FittedRun, wish: float) -> OperatingPoint:
    """The lowest threshold that promises the wish, or the largest calibration score where none does."""
    kept = kept_scores(run.folder, run.record)
    scores, reason = kept.scores(), why_no_bound(run.record, kept)
    count = len(scores)
    if reason:
        possible, least = rank_expected(wish, count) is not None, 1 / (count + 1)
        needed = images_expected(wish)
    else:
        possible, least = rank_for(wish, count) is not None, best_bound(count)
        needed = images_needed(wish)
    asked = wish if possible else rounded_up(least)
    chosen = choose_by_false_alarms(run.folder, run.record, asked, None if reason else CONFIDENCE)
    test = on_test(run.folder, run.record, chosen.threshold)
    assert test is not None, "the predictions of a fitted run were read"
    good, bad = scores_of(run, bad=False), scores_of(run, bad=True)
    return OperatingPoint(wish, chosen, scores, needed, test, good, bad)


def scores_of(run: FittedRun, *, bad: bool) -> NDArray[np.float64]:
    """The scores of the good or the bad test photos."""
    return np.array([row.score for row in run.rows if row.is_defect is bad], dtype=np.float64)


def nearest(scores: Sequence[float], threshold: float, count: int) -> list[int]:
    """The indices of so many scores, those nearest to the threshold first."""
    order = sorted(range(len(scores)), key=lambda index: (abs(scores[index] - threshold), index))
    return order[:count]
