"""The page of an acceptance: one file that needs neither a server nor a network, two sheets of paper when printed."""

import shlex
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

from bench.acceptance.acceptance import Acceptance
from bench.acceptance.pictures import best_of
from bench.acceptance.sentences import (
    AUROC,
    answers,
    cost_sentence,
    curve_sentence,
    difference_text,
    flattery,
    guarantee,
    interval,
    remarks,
    robustness_sentence,
    verdict,
)
from bench.html_report.charts import map_scale
from bench.metrics.catalogue import metric_text
from bench.metrics.operating_points import Presorted
from bench.runs.chosen_threshold import percent
from bench.views.axes import Axis, share_limits
from bench.views.charts import Series, line_chart
from bench.views.page_frame import embedded, render_page

_THUMB = 112
_CARD = 208


class Card(NamedTuple):
    """One photo: its name, what became of it, and pictures with what they show."""

    title: str
    caption: str
    pictures: list[tuple[str, str]]


class Thumb(NamedTuple):
    """A small photo that moves with the slider."""

    name: str
    kind: str
    is_bad: bool
    score: float
    source: str


def render(found: Acceptance, threshold: Path) -> str:
    """The page as one self-contained file; `threshold` is the file of the chosen threshold."""
    record, test = found.record, found.point.test
    bad = test.found
    return render_page(
        "acceptance.html.j2",
        script="acceptance.js",
        title=f"{record.category}: which method, and may it decide?",
        category=record.category,
        verdict=verdict(found),
        answers=answers(found),
        methods=_methods(found),
        auroc=AUROC,
        flattery=flattery(found),
        guarantee=guarantee(found),
        remarks=remarks(found),
        by_type=[
            (name, f"{each.number} of {each.of}", f"{percent(each.value, 3)}{interval(each)}")
            for name, each in test.by_type.items()
        ],
        overall=(f"{bad.number} of {bad.of}", f"{percent(bad.value, 3)}{interval(bad)}") if bad.of else None,
        presorted=_presorted(found),
        cost=cost_sentence(found),
        slider=_slider(found, threshold),
        table=_table(found),
        thumbs=_thumbs(found),
        left_out=len(found.standing.best.first.rows) - len(found.movable),
        groups=[(group, [_card(found, index) for index in group.indices]) for group in found.deciding],
        scale=map_scale(*record.map_range) if record.map_range else None,
        robust=robustness_sentence(found),
        changes=_changes(found),
        curve=_curve(found),
        curve_words=curve_sentence(found.curve),
        latency=found.latency,
        setup=_setup(found, threshold),
        notice=found.pictures.notice,
    )


def scores_for_slider(found: Acceptance) -> tuple[list[float], int]:
    """Every threshold that makes a difference on these photos, ascending, and the place of the chosen one."""
    point = found.point
    scores = np.unique(np.concatenate([point.good, point.bad, point.calibration, [point.threshold]]))
    values = [float(np.nextafter(scores[0], -np.inf)), *scores.tolist()]
    return values, values.index(point.threshold)


def _slider(found: Acceptance, threshold: Path) -> dict[str, Any]:
    """What the script counts with; numbers alone."""
    point = found.point
    values, place = scores_for_slider(found)
    costs = found.costs
    return {
        "thresholds": values,
        "chosen": place,
        "good": np.sort(point.good).tolist(),
        "bad": np.sort(point.bad).tolist(),
        "calibration": point.calibration.tolist(),
        "costs": [costs.miss, costs.alarm, costs.bad_share] if costs else None,
        "command": shlex.join(["bench", "predict", "--run", str(found.folder)]),
        "file": shlex.quote(str(threshold)),
    }


def _table(found: Acceptance) -> dict[str, int]:
    """The 2 x 2 table at the chosen threshold."""
    test = found.point.test
    return {
        "good-passed": test.stopped.of - test.stopped.number,
        "good-stopped": test.stopped.number,
        "bad-passed": test.found.of - test.found.number,
        "bad-stopped": test.found.number,
        "calibration-stopped": int((found.point.calibration > found.point.threshold).sum()),
        "calibration": len(found.point.calibration),
    }


def _thumbs(found: Acceptance) -> list[Thumb]:
    rows = found.standing.best.first.rows
    thumbs = []
    for index in found.movable:
        row, pictures = rows[index], found.pictures.pictures[index]
        small = Image.fromarray(pictures[best_of(pictures)]).resize((_THUMB, _THUMB), Image.Resampling.LANCZOS)
        thumbs.append(Thumb(_name(row.path), row.defect_type, row.is_defect, row.score, embedded(small)))
    return thumbs


def _card(found: Acceptance, index: int) -> Card:
    row, pictures = found.standing.best.first.rows[index], found.pictures.pictures[index]
    threshold = found.point.threshold
    called = "stopped" if row.score > threshold else "passes"
    shown = [
        (what, embedded(Image.fromarray(picture).resize((_CARD, _CARD), Image.Resampling.LANCZOS)))
        for what, picture in pictures.items()
    ]
    return Card(_name(row.path), f"score {row.score:.4g}, threshold {threshold:.4g}: {called}", shown)


def _name(path: str) -> str:
    return "/".join(path.split("/")[-2:])


def _methods(found: Acceptance) -> list[tuple[str, str, str, str, str]]:
    """Each method: its name, image AUROC with the range over seeds, the distance to the recommended one, its time."""
    standing = found.standing
    rows = []
    for one, difference in [(standing.best, None), *standing.others]:
        aurocs = [run.auroc for run in one.runs if run.auroc is not None]
        spread = f"{min(aurocs):.3f} to {max(aurocs):.3f}" if len(aurocs) > 1 else "-"
        cost = one.first.record.cost
        time = f"{cost.milliseconds_per_image:.0f} ms" if cost else "-"
        apart = "recommended" if one is standing.best else difference_text(difference)
        rows.append((one.name, metric_text(one.auroc), spread, apart, time))
    return rows


def _presorted(found: Acceptance) -> list[tuple[str, str, str, str]]:
    rows = []
    about = {
        "PG2": "good parts passed where at most 2 % of the bad ones are missed",
        "PB2": "bad parts caught where at most 2 % of the good ones are stopped",
    }
    for name, each in found.point.presorted.items():
        if each is not None:
            share = f"{percent(each.right.value, 3)}{interval(each.right)}"
            rows.append((name, about[name], share, _left_open(name, each)))
    return rows


def _left_open(name: str, each: Presorted) -> str:
    """What the choice of this threshold leaves open: so few photos bound the limited rate loosely."""
    what = "missed" if name == "PG2" else "stopped"
    return f"{each.mistakes.number} of {each.mistakes.of} {what}, up to {percent(each.bound, 2)} may be"


def _changes(found: Acceptance) -> list[tuple[str, str, str]]:
    robust = found.robustness
    if robust is None:
        return []
    before = [("unchanged", "0", f"{robust.alarms} of {robust.photos}")]
    return before + [
        (
            each.change.label,
            "-" if each.shift is None else f"{each.shift:+.2f}",
            f"{each.alarms} of {robust.photos}",
        )
        for each in robust.moved
    ]


def _curve(found: Acceptance) -> Markup | None:
    points = found.curve
    if len(points) < 2:
        return None
    line = Series(
        found.standing.best.name,
        [(point.photos, point.mean) for point in points],
        [(point.photos, min(point.aurocs), max(point.aurocs)) for point in points],
    )
    y = Axis(AUROC, share_limits([value for point in points for value in point.aurocs]))
    about = (
        f"{AUROC[0].upper()}{AUROC[1:]} over the number of good photos learned from; the band reaches from the lowest "
        "seed to the highest."
    )
    return line_chart("curve", "Learning curve", about, Axis("good photos learned from"), y, [line])


def _setup(found: Acceptance, threshold: Path) -> list[tuple[str, str]]:
    taken = shlex.join(["--run", str(found.folder), "--threshold", str(threshold)])
    record, point = found.record, found.point
    counts = ", ".join(f"{len(own)} {name}" for name, own in (("good", point.good), ("bad", point.bad)) if len(own))
    seeds = ", ".join(str(run.record.seed) for run in found.standing.best.runs)
    return [
        ("photos", f"{found.learned} learned from, {point.chosen.normal_images} calibrate, tested on {counts}"),
        ("run", str(found.folder)),
        ("seeds", f"{seeds}; the model is that of the first"),
        ("fingerprint", record.fingerprint),
        ("fitted", record.started),
        ("weights", ", ".join(record.weights.values())),
        ("new photos", f"bench predict {taken} PHOTOS"),
        ("without torch", f"bench export {taken}"),
    ]
