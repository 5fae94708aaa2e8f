"""What was found, in sentences for somebody who knows nothing of thresholds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from bench.acceptance.acceptance import Acceptance
from bench.acceptance.learning_curve import Point
from bench.errors import counted
from bench.metrics.bootstrap import Difference
from bench.metrics.catalogue import title_of
from bench.metrics.operating_points import MOST, Share
from bench.runs.chosen_threshold import percent, rounded_up

AUROC = title_of("image_auroc")
CONFIDENT = "with 95 % confidence"
_SURPRISING = 0.05  # below this probability the page says that the test contradicts the promise
_FEW = 10  # photos of a defect type


class Answer(NamedTuple):
    """A question, its answer in a few words, and what stands behind it."""

    question: str
    answer: str
    behind: str


def verdict(found: Acceptance) -> str:
    """The one sentence: the method, what it catches and what it stops."""
    point, bad = found.point, found.point.test.found
    catches = f"caught {bad.number} of {counted(bad.of, 'bad photo')}" if bad.of else "was shown no bad photo"
    most = "how many at most, nobody knows" if point.bound is None else f"at most {_most(point.bound)} {CONFIDENT}"
    return (
        f"{found.standing.best.name} {catches}, and is expected to stop {percent(point.expected, 2)} of good parts, "
        f"{most}"
    )


def answers(found: Acceptance) -> list[Answer]:
    """The four questions that a decision takes."""
    return [
        Answer("Which method?", *_which(found)),
        Answer("Is that sure?", *_sure(found)),
        Answer("How many good parts stop?", *_stops(found)),
        Answer("What slips through?", *_slips(found)),
    ]


def _which(found: Acceptance) -> tuple[str, str]:
    standing, name = found.standing, found.standing.best.name
    if not standing.others:
        return name, "It is the only one that was tried."
    if standing.best.auroc is None:
        return name, "Nothing tells the methods apart without good and bad test photos; this one was named first."
    if alike := standing.not_told_apart:
        equal = any(other.auroc == standing.best.auroc for other, _ in standing.others)
        why = "which was named first" if equal else "which ranks them best"
        behind = f"These photos cannot tell them apart. This page is of {name}, {why}"
        return f"{name}, or {' or '.join(alike)}", f"{behind} ({AUROC} {standing.best.auroc:.3f})."
    ahead = [f"{other.name} by {difference_text(each)}" for other, each in standing.others]
    return name, f"In {AUROC} it is ahead of {', and of '.join(ahead)}: more than chance explains."


def _sure(found: Acceptance) -> tuple[str, str]:
    point = found.point
    if point.bound is None:
        short, behind = "No", promise(found)
    elif contradiction(found):
        short, behind = "No: the test contradicts it", contradiction(found)
    elif point.keeps_wish:
        missed = point.missed
        passes = missed is not None and 2 * missed.number > missed.of
        kept = f"at most {percent(point.wish)} of good parts stop"
        short = f"No: {kept}, but most bad ones pass" if passes else f"Yes: {kept}"
        behind = f"{promise(found)} It holds if the line's parts are like these photos."
    else:
        short = f"No: {percent(point.wish)} were wished, {_most(point.bound)} can be promised"
        behind = promise(found)
    return short, f"{behind} {flattery(found)}".strip()


def _stops(found: Acceptance) -> tuple[str, str]:
    point, good = found.point, found.point.test.stopped
    short = f"{percent(point.expected, 2)} expected"
    if point.bound is not None:
        short += f", at most {_most(point.bound)}"
    if not good.of:
        return short, "No good photo was tested."
    return short, f"In the test {good.number} of {counted(good.of, 'good photo')}{interval(good)}."


def _slips(found: Acceptance) -> tuple[str, str]:
    missed = found.point.missed
    if missed is None or missed.interval is None:
        return "Nobody knows", "There are no bad photos: take some of each kind of defect, and run this again."
    short = f"{missed.number} of {counted(missed.of, 'bad photo')}; up to {math.ceil(100 * missed.interval[1])} % may"
    name, least = min(found.point.test.by_type.items(), key=lambda item: (item[1].value, item[1].of))
    behind = f"Least sure: {name}, {least.number} of {least.of} caught{interval(least)}."
    return short, f"{behind} {_price(found)}".strip()


def _price(found: Acceptance) -> str:
    """What it would cost in good parts to miss no more than 2 % of the bad ones; '' where that is so already."""
    each, missed = found.point.presorted["PG2"], found.point.missed
    if each is None or missed is None or missed.value <= MOST:
        return ""
    stopped = each.right.of - each.right.number
    return f"To miss 2 % at most, {stopped} of {counted(each.right.of, 'good photo')} would be stopped."


def promise(found: Acceptance) -> str:
    """What these calibration photos can promise, and how many more the wish takes."""
    point = found.point
    have, wish = counted(len(point.calibration), "calibration photo"), percent(point.wish)
    if point.bound is None:
        return f"There is no bound: {point.chosen.no_bound}."
    if point.keeps_wish:
        return f"{have} promise at most {_most(point.bound)} {CONFIDENT}, where {wish} were wished."
    return (
        f"To promise {wish} takes {point.needed:,} calibration photos; these {len(point.calibration)} promise at most "
        f"{_most(point.bound)}. Take more good photos and import all of them again, with a --calibration-share that "
        f"gives this role {point.needed:,}."
    )


def guarantee(found: Acceptance) -> list[str]:
    """The guarantee, exactly: what it is of, how it comes about, and what it assumes."""
    point, alarms = found.point, found.point.chosen.false_alarms
    assert alarms is not None, "the threshold was chosen by false alarms"
    have = len(point.calibration)
    above = have - alarms.rank
    place = f"{above} of them are above it" if above else "it is the largest of their scores"
    lines = [
        f"One model: {found.standing.best.name} with seed {found.record.seed}, which learned from "
        f"{counted(found.learned, 'good photo')}.",
        f"One threshold: {point.threshold:.6g}; a score above it is an alarm. It is set on "
        f"{counted(have, 'calibration photo')} that the model did not learn from; {place}. No test photo helped.",
    ]
    if point.bound is not None:
        lines += [
            f"The false-alarm rate of such a threshold is distributed Beta({above + 1}, {alarms.rank}): "
            f"{percent(alarms.expected, 3)} is expected, and it is at most {_most(point.bound)} {CONFIDENT}; equal "
            "scores make it smaller.",
            f"This holds if {alarms.assumes}: the same product, camera, light and position, photos taken as they come "
            "and none picked out. It tells nothing of a line that changes afterwards.",
        ]
    lines.append(promise(found))
    if point.chosen.normal_scores < point.chosen.normal_images:
        lines.append(
            f"Of {point.chosen.normal_images} calibration photos near-duplicates count once, with their largest score."
        )
    if point.chosen.nearly_learned:
        left_out = counted(point.chosen.nearly_learned, "calibration photo")
        lines.append(f"{left_out} did not count: the model learned from near-duplicates.")
    return lines


def cost_sentence(found: Acceptance) -> str:
    """What decisions are expected to cost, and how much it may be; '' where nobody said what mistakes cost."""
    costs = found.costs
    if costs is None:
        return ""
    cost, most = found.point.cost(costs), found.point.most_cost(costs)
    assert cost is not None and most is not None, "costs are taken where there are good and bad test photos"
    of = "the line's" if found.asked.bad_share else "the test photos'"
    return (
        f"Expected cost of a part: {cost:.4g} on the test photos, and {most:.4g} at the upper ends of their intervals, "
        f"where a miss costs {costs.miss:g}, a false alarm {costs.alarm:g}, and {percent(costs.bad_share, 3)} of parts "
        f"are bad ({of} share)."
    )


def contradiction(found: Acceptance) -> str:
    """That the test stops more good photos than the promise lets expect; '' where chance explains it."""
    point, good = found.point, found.point.test.stopped
    if point.contradiction >= _SURPRISING:
        return ""
    return (
        f"The test stops {good.number} of {counted(good.of, 'good photo')}, where {percent(point.expected, 2)} are "
        f"expected; chance does that in {percent(point.contradiction, 2)} of cases. Calibration and test photos may "
        "differ: take both anew, as the line brings them."
    )


def flattery(found: Acceptance) -> str:
    """That the best of several methods on few bad photos looks better than it is; '' for one method."""
    standing, bad = found.standing, found.point.bad.size
    if not standing.others or not bad:
        return ""
    by = f", here by about {standing.flattery:.3f} of {AUROC}" if (standing.flattery or 0) >= 0.0005 else ""
    return f"The best of {len(standing.others) + 1} methods on {counted(bad, 'bad photo')} is flattered{by}."


def remarks(found: Acceptance) -> list[str]:
    """What else must be known to read the figures."""
    lines = []
    if few := [name for name, share in found.point.test.by_type.items() if share.of < _FEW]:
        lines.append(f"Fewer than {_FEW} photos of {', '.join(few)}: that is why their intervals are wide.")
    if found.alike:
        lines.append(
            f"{counted(found.alike, 'test photo')} nearly the same as another one: intervals count each by itself, and "
            "are too narrow."
        )
    return lines


def robustness_sentence(found: Acceptance) -> str:
    """The weakest change that does most harm, in one sentence; '' where nothing was measured."""
    robust = found.robustness
    if robust is None or (worst := robust.worst) is None:
        return ""
    of = counted(robust.photos, "good test photo")
    if worst.alarms > robust.alarms:
        weaker = " No weaker change stops more." if worst.change.strength > 1 else ""
        times = f", {worst.alarms / robust.alarms:.2g} times as many" if robust.alarms else ""
        return f"{worst.change.label} stops {worst.alarms} of {of} instead of {robust.alarms or 'none'}{times}.{weaker}"
    told = f"No change of these stops more than {robust.alarms or 'none'} of {of}"
    if worst.shift is None:
        return f"{told}."
    return f"{told}; {worst.change.label} moves scores by {worst.shift:+.2f} of the way to the threshold."


def curve_sentence(points: Sequence[Point]) -> str:
    """Whether more good photos would help, as far as the curve tells."""
    if len(points) < 2:
        return ""
    half, full = points[-2:]
    spread = max(max(each.aurocs) - min(each.aurocs) for each in (half, full))
    gain = full.mean - half.mean
    from_to = f"From {half.photos} to {full.photos} photos {AUROC}"
    if gain > max(spread, 0.005):
        return f"{from_to} rose by {gain:.3f}: more good photos to learn from are likely to help."
    return f"{from_to} changed by {gain:+.3f}, no more than seeds differ: more photos to learn from may not help."


def difference_text(found: Difference | None) -> str:
    """A difference of image AUROC with its interval."""
    return "-" if found is None else f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def interval(share: Share) -> str:
    """` (12 to 40 %)`, or '' of nothing."""
    if share.interval is None:
        return ""
    low, high = (100 * each for each in share.interval)
    return f" ({low:.0f} to {high:.0f} %)"


def _most(bound: float) -> str:
    """A bound in words, rounded up."""
    return percent(rounded_up(bound))
