"""The page of runs under stress: a table, and curves of each change with a line for each run."""

from collections.abc import Sequence

from markupsafe import Markup

from bench.errors import counted
from bench.metrics.catalogue import interval_text, metric_text, title_of
from bench.stress.changes import KINDS, PIXELS_OF
from bench.stress.measure import Figures, Row, Stress
from bench.views.axes import Axis, share_limits
from bench.views.charts import Series, line_chart
from bench.views.page_frame import render_page

COLUMNS = ("AUROC", "false alarms", "misses", "flips", "to anomalous", "to good")
_UNCHANGED_AT = {"JPEG": 100.0}  # where the unchanged photo stands on the axis; 0 for all other changes


def render(stress: Stress) -> str:
    """The page as one self-contained file."""
    first = stress.runs[0].record
    return render_page(
        "stress.html.j2",
        title=f"{first.category} under stress",
        runs=[(one.name, f"{one.threshold:.4g}", one.record.fingerprint) for one in stress.runs],
        notes=notes(stress),
        columns=titles(stress),
        tables=[
            (one.name, [(row.label, cells(row.figures[place], stress, intervals=True)) for row in stress.rows])
            for place, one in enumerate(stress.runs)
        ],
        kinds=[
            (name, (kind.apply.__doc__ or "").split("\n\n")[0], _charts(stress, name)) for name, kind in KINDS.items()
        ],
        images=counted(stress.rows[0].figures[0].good + stress.rows[0].figures[0].defective, "test image"),
    )


def notes(stress: Stress) -> list[str]:
    """What must be known to read the figures."""
    found = [
        "Photos are changed as they are read, before they are resized; the threshold is the run's own, chosen on "
        f"unchanged images. Seed {stress.seed}. The page has Wilson's 95 % intervals of false alarms and misses.",
        f"A shift of one pixel is 1/{PIXELS_OF} of the photo's longer side, in one of eight directions; what moves in "
        "is the photo reflected at its border. Masks move with the pixels.",
    ]
    left = max(figures.left_frame for row in stress.rows for figures in row.figures)
    if left:
        found.append(
            f"Under a shift up to {counted(left, 'defect')} left the frame; such an image is not counted there."
        )
    if stress.unmasked:
        found.append(
            f"{counted(stress.unmasked, 'defect image')} without a mask: counted under a shift too, though the defect "
            "may have left the frame."
        )
    if len({(one.data.protocol, one.data.geometry) for one in stress.runs}) > 1 and _pixel_figures(stress):
        found.append("The runs judge pixels at different resolutions: compare pixel figures within a run only.")
    return found


def titles(stress: Stress) -> list[str]:
    """The titles of a run's table, without that of its first column."""
    return [*COLUMNS, *map(title_of, _pixel_figures(stress))]


def cells(figures: Figures, stress: Stress, *, intervals: bool = False) -> list[str]:
    """A row of a run's table, by its titles; with the intervals of false alarms and misses or without."""
    alarms, misses = _share(figures.false_alarms, figures.good), _share(figures.misses, figures.defective)
    if intervals:
        alarms = f"{alarms} ({interval_text(figures.false_alarm_interval)})" if figures.good else alarms
        misses = f"{misses} ({interval_text(figures.miss_interval)})" if figures.defective else misses
    return [
        metric_text(figures.image_auroc),
        alarms,
        misses,
        str(figures.flips),
        str(figures.to_anomalous),
        str(figures.to_good),
        *(metric_text(figures.pixels.get(name)) for name in _pixel_figures(stress)),
    ]


def _pixel_figures(stress: Stress) -> list[str]:
    """The pixel figures that some run has, by name."""
    first = [figures.pixels for figures in stress.rows[0].figures]
    return list(dict.fromkeys(name for each in first for name in each))


def _share(count: int, of: int) -> str:
    return f"{count} of {of}" if of else "-"


def _charts(stress: Stress, kind: str) -> list[Markup]:
    """AUROC, false alarms, misses and flips over the amount of one change."""
    unchanged = stress.rows[0]
    rows = [row for row in stress.rows if row.change and row.change.kind == kind]
    points = [(row.change.amount if row.change else 0.0, row) for row in rows]
    points = sorted([*points, (_UNCHANGED_AT.get(kind, 0.0), unchanged)], key=lambda point: point[0])
    has_both = unchanged.figures[0].image_auroc is not None
    auroc = title_of("image_auroc")
    wanted = [
        *([("auroc", f"{auroc[0].upper()}{auroc[1:]}", auroc)] if has_both else []),
        ("alarms", "False alarms", "false alarms: share of good images"),
        *([("misses", "Misses", "misses: share of defective images")] if unchanged.figures[0].defective else []),
        ("flips", "Flipped verdicts", "flips: share of counted images"),
    ]
    return [_chart(stress, kind, name, title, label, points) for name, title, label in wanted]


def _chart(stress: Stress, kind: str, name: str, title: str, label: str, points: Sequence[tuple[float, Row]]) -> Markup:
    series = []
    for place, one in enumerate(stress.runs):
        values = [(x, _value(row.figures[place], name)) for x, row in points]
        series.append(Series(one.name, [(x, y) for x, y in values if y is not None]))
    about = f"{title} over {KINDS[kind].axis}, a line for each run; the unchanged images are at {points_at(kind):g}."
    shown = [y for own in series for _, y in own.points]
    y = Axis(label, share_limits(shown) if name == "auroc" else (0.0, 1.0))
    return line_chart(f"{kind}-{name}", f"{title}: {kind}", about, Axis(KINDS[kind].axis), y, series)


def points_at(kind: str) -> float:
    """Where the unchanged photo stands on the axis of a change."""
    return _UNCHANGED_AT.get(kind, 0.0)


def _value(figures: Figures, name: str) -> float | None:
    if name == "auroc":
        return figures.image_auroc
    count, of = {
        "alarms": (figures.false_alarms, figures.good),
        "misses": (figures.misses, figures.defective),
        "flips": (figures.flips, figures.good + figures.defective),
    }[name]
    return count / of if of else None
