"""Choose another threshold for a finished run from the normal scores that it keeps; no image is read for it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.config.tracks import TRACKS
from bench.data.digests import file_sha256
from bench.errors import UsageError, counted
from bench.metrics.decision_cost import Costs, cheapest_threshold, expected_cost
from bench.metrics.false_alarm_bound import (
    CONFIDENCE,
    best_bound,
    false_alarm_bound,
    images_expected,
    images_needed,
    rank_expected,
    rank_for,
)
from bench.metrics.operating_points import Share, recall_by_type, share, stopped
from bench.records.chosen_threshold import ChosenThreshold, Cost, FalseAlarms
from bench.records.normal_scores import NORMAL_SCORES, KeptScores, read_normal_scores
from bench.records.predictions import check_predictions, parse_predictions
from bench.records.record import PREDICTIONS, Record

ASSUMES = "these images and those of the line are independent and identically distributed"
_NO_MAPS = {
    "left-out": "scores of images that are left out come without maps",
    "held-out": "the method has no maps",
    "out-of-fold": "the method has no maps",
}
_NO_BOUND = {
    "left-out": "these scores are of images left out one by one, whose models are not quite the one that decides",
    "out-of-fold": "these scores are of refits without a part of the images, which are not the model that decides",
}


def check_takes_threshold(record: Record, folder: Path) -> None:
    """Refuse a run that decides without a threshold."""
    if TRACKS[record.track].learns_from_defects:
        raise UsageError(f"{folder} is a classifier's: the largest logit decides, and there is no threshold to choose")


def kept_scores(folder: Path, record: Record) -> KeptScores:
    """The normal scores of a run, of which some must count."""
    kept = read_normal_scores(folder, record)
    if not kept.counted:
        raise UsageError(
            f"each held-out image of {folder} is a near-duplicate of one that was learned from, so none counts; hold "
            "out more: bench fit --data.validation_share"
        )
    return kept


def why_no_bound(record: Record, kept: KeptScores) -> str:
    """Why the false alarms of a threshold from these scores have no bound; '' where they have one."""
    if kept.obtained in _NO_BOUND:
        return f"{_NO_BOUND[kept.obtained]}; hold images out for one: bench fit --data.validation_share"
    if record.config.get("patience") is not None:
        return "training was stopped by these very images; fit without --patience for one"
    if record.data.contamination:
        return "some of the training images are defective, and nobody knows whether these are"
    return ""


def choose_by_false_alarms(
    folder: Path, record: Record, max_false_alarms: float, confidence: float | None
) -> ChosenThreshold:
    """The lowest threshold that keeps the wish; a UsageError where these scores cannot."""
    kept = kept_scores(folder, record)
    scores, maxima, reason = kept.scores(), kept.map_maxima(), why_no_bound(record, kept)
    if reason and confidence is not None:
        raise UsageError(f"no false-alarm rate holds with any confidence: {reason}; or leave out --confidence")
    if reason:
        rank = rank_expected(max_false_alarms, len(scores))
        if rank is None:
            raise _not_expected(kept, max_false_alarms)
        alarms = FalseAlarms(
            at_most=max_false_alarms,
            rank=rank,
            expected=(len(scores) + 1 - rank) / (len(scores) + 1),
            confidence=None,
            bound=None,
        )
    else:
        sure = CONFIDENCE if confidence is None else confidence
        rank = rank_for(max_false_alarms, len(scores), sure)
        if rank is None:
            raise _not_promised(kept, max_false_alarms, sure)
        found = false_alarm_bound(len(scores), rank, sure)
        alarms = FalseAlarms(
            at_most=max_false_alarms,
            rank=rank,
            expected=found.expected,
            confidence=sure,
            bound=found.bound,
            assumes=ASSUMES,
        )
    return ChosenThreshold(
        **_source(record, kept),
        threshold=float(scores[rank - 1]),
        pixel_threshold=None if maxima is None else float(maxima[rank - 1]),
        no_pixel_threshold=_NO_MAPS[kept.obtained] if maxima is None else "",
        with_bad_images=False,
        no_bound=reason,
        false_alarms=alarms,
    )


def choose_by_cost(folder: Path, record: Record, bad: Sequence[float], costs: Costs) -> ChosenThreshold:
    """The threshold of the lowest expected cost on the normal scores and those of these bad images."""
    kept = kept_scores(folder, record)
    scores = kept.scores()
    threshold = cheapest_threshold(scores, bad, costs)
    cost = Cost(
        miss=costs.miss,
        alarm=costs.alarm,
        bad_share=costs.bad_share,
        bad_images=len(bad),
        missed=sum(score <= threshold for score in bad),
        stopped=int((scores > threshold).sum()),
        expected=expected_cost(scores, bad, threshold, costs),
    )
    return ChosenThreshold(
        **_source(record, kept),
        threshold=threshold,
        pixel_threshold=None,
        no_pixel_threshold="costs are those of parts, not of pixels",
        with_bad_images=True,
        no_bound="the threshold was chosen by looking at these very scores",
        cost=cost,
    )


class TakenThreshold(NamedTuple):
    """What decides instead of the record's threshold."""

    image: float
    pixel: float | None = None  # of an anomaly map; None where none was chosen


def taken_threshold(folder: Path, record: Record, given: str | Path | float) -> TakenThreshold:
    """The threshold that a number, a file or a run's folder stands for, checked against the run."""
    check_takes_threshold(record, folder)
    try:
        number = float(given)  # type: ignore[arg-type] # a path raises TypeError
    except (TypeError, ValueError):
        path = Path(given).expanduser()  # type: ignore[arg-type] # numbers are none
        file, scores = ChosenThreshold.read(path), folder / NORMAL_SCORES
        file.check_is_of(record, file_sha256(scores) if scores.is_file() else None, path)
        return TakenThreshold(file.threshold, file.pixel_threshold)
    if not math.isfinite(number):
        raise UsageError(f"--threshold {given} is no finite number")
    return TakenThreshold(number)


class OnTest(NamedTuple):
    """The run's test images at a threshold that none of them helped to choose."""

    stopped: Share  # of the good ones
    found: Share  # of the defective ones
    by_type: Mapping[str, Share]


def on_test(folder: Path, record: Record, threshold: float) -> OnTest | None:
    """What a threshold does on the run's test images; None where their predictions are gone, or there are none."""
    file = folder / PREDICTIONS
    if not file.is_file():
        return None
    check_predictions(record, file)
    rows = parse_predictions(file.read_bytes(), file, record)
    by_type = recall_by_type([row.score for row in rows], [row.defect_type for row in rows], threshold)
    found = share(sum(each.number for each in by_type.values()), sum(each.of for each in by_type.values()))
    good = stopped([row.score for row in rows if not row.is_defect], threshold)
    return OnTest(good, found, by_type) if rows else None


def _source(record: Record, kept: KeptScores) -> dict[str, Any]:
    return {
        "run": record.fingerprint,
        "normal_images": len(kept.counted),
        "normal_scores": len(kept.scores()),
        "nearly_learned": len(kept.rows) - len(kept.counted),
        "obtained": kept.obtained,
        "normal_scores_sha256": kept.sha256,
    }


def _not_promised(kept: KeptScores, wish: float, confidence: float) -> UsageError:
    have, best = len(kept.scores()), best_bound(len(kept.scores()), confidence)
    return UsageError(
        f"{percent(wish)} false alarms with {percent(confidence)} confidence take "
        f"{images_needed(wish, confidence):,} held-out good images; {have} can promise {percent(rounded_up(best))}: "
        f"--max-false-alarms {rounded_up(best):g}, or add good images, or hold out more of them "
        "(bench fit --data.validation_share)"
    )


def _not_expected(kept: KeptScores, wish: float) -> UsageError:
    have = len(kept.scores())
    return UsageError(
        f"{percent(wish)} false alarms take {images_expected(wish):,} good images even as an expectation; here "
        f"{'is' if have == 1 else 'are'} {counted(have, 'score')}, whose largest lets "
        f"{percent(1 / (have + 1), 3)} be expected: --max-false-alarms {rounded_up(1 / (have + 1)):g}, or add "
        "good images"
    )


def percent(share: float, digits: int = 6) -> str:
    """A share as `2.2 %`."""
    return f"{100 * share:.{digits}g} %"


def rounded_up(share: float) -> float:
    """A share in three significant digits that is not smaller, where that is below 1."""
    if not 0 < share < 1:
        return share
    digits = 2 - math.floor(math.log10(share))
    found = round(share, digits)
    found = found if found >= share else round(found + 10.0**-digits, digits)
    return found if found < 1 else share
