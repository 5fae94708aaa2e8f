"""What was found, as JSON: every figure of the page, with its interval."""

from dataclasses import asdict
from typing import Any

from bench.acceptance.acceptance import Acceptance
from bench.acceptance.operating_point import OperatingPoint
from bench.acceptance.sentences import answers, flattery, guarantee, remarks, robustness_sentence, verdict
from bench.metrics.bootstrap import Difference
from bench.metrics.decision_cost import Costs
from bench.metrics.operating_points import Presorted, Share
from bench.stress.changes import as_dict as change_as_dict


def as_dict(found: Acceptance) -> dict[str, Any]:
    """The content of `acceptance.json`."""
    point, standing, test = found.point, found.standing, found.point.test
    return {
        "category": found.record.category,
        "verdict": verdict(found),
        "answers": [each._asdict() for each in answers(found)],
        "recommended": standing.best.name,
        "not_told_apart": standing.not_told_apart,
        "flattery": standing.flattery,
        "methods": [
            {
                "name": one.name,
                "image_auroc": one.auroc,
                "by_seed": {str(run.record.seed): run.auroc for run in one.runs},
                "behind_by": None if difference is None else _difference(difference),
                "runs": [str(run.folder) for run in one.runs],
            }
            for one, difference in [(standing.best, None), *standing.others]
        ],
        "run": str(found.folder),
        "threshold": point.chosen.model_dump(by_alias=True),
        "max_false_alarms": point.wish,
        "keeps_wish": point.keeps_wish,
        "calibration_scores": len(point.calibration),
        "calibration_scores_needed": point.needed,
        "guarantee": [*guarantee(found), *remarks(found)],
        "flattered": flattery(found),
        "test": {
            "stopped": _share(test.stopped),
            "found": _share(test.found),
            "found_by_type": {name: _share(each) for name, each in test.by_type.items()},
        },
        **{name: each and _presorted(each) for name, each in point.presorted.items()},
        "cost": None if found.costs is None else _cost(found.costs, point),
        "robustness": _robustness(found),
        "learning_curve": [{"photos": each.photos, "image_auroc": list(each.aurocs)} for each in found.curve],
        "latency_milliseconds": asdict(found.latency),
    }


def _cost(costs: Costs, point: OperatingPoint) -> dict[str, Any]:
    return asdict(costs) | {"expected": point.cost(costs), "at_upper_ends": point.most_cost(costs)}


def _share(one: Share) -> dict[str, Any]:
    return {"number": one.number, "of": one.of, "interval": one.interval}


def _difference(one: Difference) -> dict[str, Any]:
    return one._asdict() | {"larger_than_chance": one.larger_than_chance}


def _presorted(one: Presorted) -> dict[str, Any]:
    return {
        "right": _share(one.right),
        "threshold": one.threshold,
        "mistakes": _share(one.mistakes),
        "mistakes_bound": one.bound,
    }


def _robustness(found: Acceptance) -> dict[str, Any] | None:
    robust = found.robustness
    if robust is None:
        return None
    return {
        "good_photos": robust.photos,
        "stopped": robust.alarms,
        "sentence": robustness_sentence(found),
        "changes": [
            change_as_dict(each.change) | {"way_to_threshold": each.shift, "stopped": each.alarms}
            for each in robust.moved
        ],
    }
