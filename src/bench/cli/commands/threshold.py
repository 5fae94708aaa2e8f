"""`bench threshold`: choose another threshold for a finished run, with what it promises."""

import json
import math
import shlex
from typing import TYPE_CHECKING, Any

from bench.cli.amounts import check_cost, check_share
from bench.cli.command import Known, command, option
from bench.cli.completion import FILE, RUN
from bench.cli.options import device_option, own_file_options
from bench.console import tell
from bench.errors import UsageError, counted
from bench.writing import writing_to

if TYPE_CHECKING:
    from bench.metrics.operating_points import Share
    from bench.records.chosen_threshold import ChosenThreshold
    from bench.records.record import Record
    from bench.runs.chosen_threshold import OnTest

_COSTS = ("cost_miss", "cost_alarm", "bad_share")
_EXAMPLES = """Examples:
  bench threshold --run runs/padim/screw/0123456789abcdef --max-false-alarms 0.01
  bench threshold --run runs/padim/screw/0123456789abcdef --from bad_photos --cost-miss 100 --cost-alarm 1
"""


@command(
    "Choose another threshold for a finished run from the normal scores that it keeps, and write it to threshold.json "
    "in the run's folder; its record and all tables keep theirs. Delete the file to take the choice back.",
    option("--run", type=RUN, required=True, metavar="RUN", help="folder of the run"),
    option("--max-false-alarms", type=float, metavar="SHARE", help="of good parts, such as 0.01"),
    option("--confidence", type=float, metavar="SHARE", help="with which that holds (default: 0.95)"),
    option(
        "--from", "photos", type=FILE, multiple=True, metavar="PATH", help="photos of bad parts, or folders; repeatable"
    ),
    option("--cost-miss", type=float, metavar="COST", help="of a bad part that passes, with --from"),
    option("--cost-alarm", type=float, metavar="COST", help="of a good part that is stopped, with --from"),
    option("--bad-share", type=float, metavar="SHARE", help="of bad parts at the line (default: that of the images)"),
    option("--json", is_flag=True, help="print as JSON instead of sentences"),
    device_option(),
    *own_file_options(),
    epilog=_EXAMPLES,
)
def run(options: Known) -> int:
    """Choose a threshold, write it, say what it promises."""
    _check(options)

    from bench.records.chosen_threshold import THRESHOLD
    from bench.records.finished import read_finished
    from bench.runs.chosen_threshold import check_takes_threshold, choose_by_false_alarms, on_test

    record = read_finished(options.run)
    check_takes_threshold(record, options.run)
    if options.photos:
        found, test = _chosen_by_cost(options, record), None
    else:
        found = choose_by_false_alarms(options.run, record, options.max_false_alarms, options.confidence)
        test = on_test(options.run, record, found.threshold)
    with writing_to(options.run, "--run RUN"):
        found.write(options.run)
    path = options.run / THRESHOLD
    if options.json:
        content = {**found.model_dump(by_alias=True), "test": test and _as_dict(test), "path": str(path)}
        print(json.dumps(content, indent=2, allow_nan=False))
    else:
        former = test and on_test(options.run, record, record.metrics["threshold"] or 0.0)
        for line in (*_lines(found, record), *_test_lines(test, former)):
            tell(line)
        words = shlex.join(["bench", "predict", "--run", str(options.run), "--threshold", str(path)])
        tell(f"{path}; to use it: {words} PHOTOS")
    return 0


def _check(options: Known) -> None:
    """Refuse wishes that contradict each other or are none, before anything is read."""
    costs = [f"--{name.replace('_', '-')}" for name in _COSTS if getattr(options, name) is not None]
    wishes = {"--max-false-alarms": options.max_false_alarms, "--confidence": options.confidence}
    alarms = [name for name, value in wishes.items() if value is not None]
    if options.photos and alarms:
        raise UsageError(f"{alarms[0]} asks nothing of bad photos, and --from chooses by cost; leave one of them out")
    if costs and not options.photos:
        raise UsageError(f"{costs[0]} needs photos of bad parts: --from FOLDER")
    if options.photos and (options.cost_miss is None or options.cost_alarm is None):
        raise UsageError("--from chooses by what mistakes cost: give both --cost-miss and --cost-alarm, in one unit")
    if not options.photos and options.max_false_alarms is None:
        raise UsageError(
            "say what is wished: --max-false-alarms SHARE, or --from PHOTOS --cost-miss COST --cost-alarm COST"
        )
    check_share("--max-false-alarms", options.max_false_alarms, "0.01 for one good part in a hundred")
    check_share("--confidence", options.confidence, "0.95")
    check_share("--bad-share", options.bad_share, "0.02")
    check_cost("--cost-miss", options.cost_miss)
    check_cost("--cost-alarm", options.cost_alarm)
    if options.photos and not options.cost_miss and not options.cost_alarm:
        raise UsageError("where neither --cost-miss nor --cost-alarm costs anything, every threshold is as good")


def _chosen_by_cost(options: Known, record: "Record") -> "ChosenThreshold":
    """Score the bad photos, and choose by cost."""
    from bench.config.trusted_code import check_is_of_run
    from bench.metrics.decision_cost import Costs
    from bench.runs.chosen_threshold import choose_by_cost, kept_scores
    from bench.runs.scoring.images import find_images

    own = {"model": options.model, "data": options.data}
    check_is_of_run(options.run, {"model": record.model, "data": record.dataset}, record.config, own)
    kept = kept_scores(options.run, record)
    images = find_images(options.photos)
    _check_bad(images, {row.sha256: row.path for row in kept.rows})
    share = options.bad_share or len(images) / (len(images) + len(kept.scores()))

    from bench.runs.scoring.scorer import load_run
    from bench.runs.scoring.stream import BrokenImage, score_images

    scores = []
    for scored in score_images(load_run(options.run, **own, device=options.device), images, pictures=False):
        if isinstance(scored, BrokenImage):
            raise UsageError(scored.reason)
        scores.append(scored.score)
    return choose_by_cost(options.run, record, scores, Costs(options.cost_miss, options.cost_alarm, share))


def _check_bad(images: Any, normal: dict[str, str]) -> None:
    """Refuse a photo that is one of the run's good images."""
    from bench.data.digests import file_sha256

    for image in images:
        if own := normal.get(file_sha256(image.path)):
            raise UsageError(f"{image.path} is {own}, a good image of the run; name photos of bad parts alone")


def _lines(found: "ChosenThreshold", record: "Record") -> list[str]:
    """What was chosen and what it promises, in sentences."""
    from bench.runs.chosen_threshold import percent, rounded_up

    scores = f"{counted(found.normal_scores, found.obtained + ' normal score')}"
    lines = [f"{record.model} on {record.category}: threshold {found.threshold:.6g} (the record's: {_former(record)})"]
    if (alarms := found.false_alarms) is not None:
        above = found.normal_scores - alarms.rank
        lines[0] += f", with {above} of {scores} above it" if above else f", the largest of {scores}"
        if alarms.bound is not None and alarms.confidence is not None:
            promise = f"at most {percent(rounded_up(alarms.bound))} of good parts, with {percent(alarms.confidence)}"
            lines.append(f"false alarms: {promise} confidence; expected {percent(alarms.expected, 3)}")
            lines.append(f"this holds if {alarms.assumes}")
        else:
            lines.append(f"false alarms: {percent(alarms.expected, 3)} of good parts are expected")
    if (cost := found.cost) is not None:
        lines.append(
            f"chosen with {counted(cost.bad_images, 'bad image')} and {scores}: misses {cost.missed} of "
            f"{cost.bad_images} bad ones, stops {cost.stopped} of {found.normal_scores} good ones"
        )
        lines.append(
            f"expected cost of a part: {cost.expected:.4g}, where a miss costs {cost.miss:g}, a false alarm "
            f"{cost.alarm:g}, and {percent(cost.bad_share, 3)} of parts are bad; these figures flatter the threshold, "
            "for it was chosen with these very images"
        )
    if found.normal_scores < found.normal_images:
        lines.append(f"of {found.normal_images} normal images near-duplicates count once, with their largest score")
    if found.nearly_learned:
        left_out = counted(found.nearly_learned, "held-out image")
        lines.append(f"{left_out} did not count: the method learned from near-duplicates")
    if found.no_bound:
        lines.append(f"no bound of false alarms: {found.no_bound}")
    if found.pixel_threshold is not None:
        lines.append(f"pixel threshold {found.pixel_threshold:.6g}: the same promise for the largest value of a map")
    else:
        lines.append(f"no pixel threshold: {found.no_pixel_threshold}")
    return lines


def _former(record: "Record") -> str:
    return f"{record.metrics.get('threshold') or math.nan:.6g}"


def _test_lines(test: "OnTest | None", former: "OnTest | None") -> list[str]:
    if test is None or former is None:
        return []
    now, then = (
        f"stops {one.stopped.number} of {one.stopped.of} good, finds {one.found.number} of {one.found.of} defective"
        for one in (test, former)
    )
    return [f"on the run's test images, which chose nothing: {now} (the record's threshold: {then})"]


def _as_dict(test: "OnTest") -> dict[str, Any]:
    """The test in JSON, each share with Wilson's interval."""

    def plain(one: "Share") -> dict[str, Any]:
        return {"number": one.number, "of": one.of, "interval": one.interval}

    by_type = {name: plain(one) for name, one in test.by_type.items()}
    return {"stopped": plain(test.stopped), "found": plain(test.found), "found_by_type": by_type}
