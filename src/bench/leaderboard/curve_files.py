"""The files of curves over the training images: Markdown and a page for readers, CSV for computations."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.config.tracks import TRACKS
from bench.escaping import csv_cell, markdown, markdown_table, sentence
from bench.leaderboard.aggregate import Summary
from bench.leaderboard.curves import Curve, Curves, Point
from bench.leaderboard.text import mean_and_std
from bench.metrics.catalogue import column_title, digits_of
from bench.views.axes import Axis, share_limits
from bench.views.charts import Series, line_chart

_COLUMNS = (
    "dataset", "track", "protocol", "protocol_version", "category", "digest", "model", "variant", "setting", "value",
    "metric", "mean", "spread", "seeds", "reason", "fingerprints",
)  # fmt: skip


def render_curves(found: Mapping[str, Sequence[Curves]], out: Path) -> dict[Path, str]:
    """The text of every file of the curves in `out`; the same records give the same text."""
    formats: dict[str, Callable[[str, Sequence[Curves]], str]] = {
        ".md": _render_markdown,
        ".csv": render_curves_csv,
        ".html": render_curves_page,
    }
    return {
        out / f"{name}{suffix}": make(name, each) for name, each in found.items() for suffix, make in formats.items()
    }


def _render_markdown(name: str, found: Sequence[Curves]) -> str:
    parts = [f"# {markdown(name)}\n", f"{sentence(found[0].swept.about)}\n"]
    for curves in found:
        parts.append(f"## {markdown(_title(curves))}\n\n{sentence(_seeds(curves))}\n")
        for metric in curves.metrics:
            titles = ["method", *curves.titles]
            rows = [[label, *texts] for label, texts in _rows(curves, metric)]
            parts.append(f"### {markdown(_metric(curves, metric))}\n\n{markdown_table(titles, rows)}")
        parts += [f"{sentence(line)}\n" for line in _reasons(curves)]
    return "\n".join(parts)


def render_curves_csv(_name: str, found: Sequence[Curves]) -> str:
    """Curves as CSV: a line for each method, value of the setting and metric, or with the reason of an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for curves in found:
        about = (curves.dataset, curves.track, curves.protocol, curves.protocol_version, curves.category, curves.digest)
        for curve in curves.curves:
            for value, point in curve.points.items():
                own = (*about, curve.method.model, curve.method.variant, f"data.{curves.swept.name}", f"{value:g}")
                for cells in _csv_cells(curves, point):
                    writer.writerow([csv_cell(str(each)) for each in (*own, *cells)])
    return text.getvalue()


def _csv_cells(curves: Curves, point: Point) -> list[tuple[str, ...]]:
    if point.row is None:
        return [("", "", "", "", point.reason, "")]
    fingerprints = " ".join(record.fingerprint for record in point.row.records)
    cells: list[tuple[str, ...]] = []
    for metric in curves.metrics:
        if summary := point.summarise(metric):
            std = "" if summary.std is None else repr(summary.std)
            cells.append((metric, repr(summary.mean), std, str(summary.count), "", fingerprints))
    return cells


def render_curves_page(name: str, found: Sequence[Curves]) -> str:
    """Curves as one page: for each category and metric a chart and a table."""
    from bench.views.page_frame import render_page

    sections = [_section(f"c{number}", curves) for number, curves in enumerate(found, 1)]
    swept, track = found[0].swept, TRACKS[found[0].track]
    title = f"{column_title(track.headline, track)} {swept.title}"
    return render_page("curves.html.j2", name=name, title=title, about=swept.about, sections=sections)


def _section(id: str, curves: Curves) -> dict[str, Any]:
    """The values that the template shows of one category."""
    return {
        "id": id,
        "title": _title(curves),
        "seeds": _seeds(curves),
        "columns": curves.titles,
        "metrics": [
            {
                "title": _metric(curves, metric),
                "chart": _chart(f"{id}-{number}", curves, metric),
                "rows": _rows(curves, metric),
            }
            for number, metric in enumerate(curves.metrics, 1)
        ],
        "reasons": _reasons(curves),
    }


def _chart(id: str, curves: Curves, metric: str) -> Any:
    series = []
    for curve in curves.curves:
        known = {value: found for value, point in curve.points.items() if (found := point.summarise(metric))}
        band = [(value, *_band(found)) for value, found in known.items()]
        if known:
            points = [(value, found.mean) for value, found in known.items()]
            series.append(Series(curve.method.label, points, band))
    title = f"{_metric(curves, metric)} of {curves.category}, {curves.swept.title}"
    x = Axis(curves.swept.axis, logarithmic=curves.swept.logarithmic)
    y = Axis(_metric(curves, metric), share_limits(low for own in series for _, low, _ in own.band))
    about = f"{title}: one line for each method, in a band of one standard deviation over the seeds."
    return line_chart(id, title, about, x, y, series)


def _band(found: Summary) -> tuple[float, float]:
    deviation = found.std or 0.0
    return max(0.0, found.mean - deviation), min(1.0, found.mean + deviation)  # all of these metrics lie between


def _title(curves: Curves) -> str:
    pixels = "" if curves.protocol == "model" else ", pixels scored at the masks' own resolution"
    return f"{curves.category}{pixels}"


def _metric(curves: Curves, metric: str) -> str:
    return column_title(metric, TRACKS[curves.track])


def _seeds(curves: Curves) -> str:
    seeds = curves.seeds
    said = f"Images {curves.digest[:12]}; {len(seeds)} seed{'s' * (len(seeds) != 1)}: {', '.join(map(str, seeds))}."
    shared = sorted({", ".join(curve.method.shared) for curve in curves.curves if curve.method.shared})
    return said + (f" Every method here: {shared[0]}." if shared else "")


def _rows(curves: Curves, metric: str) -> list[tuple[str, list[str]]]:
    """The label and the cells of each method that has the metric."""
    having = [curve for curve in curves.curves if any(point.summarise(metric) for point in curve.points.values())]
    return [(curve.method.label, _texts(curves, curve, metric)) for curve in having]


def _texts(curves: Curves, curve: Curve, metric: str) -> list[str]:
    """The cells of one method: `0.9810 ± 0.0071`, with the number of seeds where it has fewer than the table."""
    texts = []
    for value in curves.values:
        point = curve.points.get(value)
        found = point.summarise(metric) if point else None
        if found is None:
            texts.append("-")
            continue
        fewer = f" ({found.count} seed{'s' * (found.count != 1)})" if found.count < len(curves.seeds) else ""
        texts.append(f"{mean_and_std(found, digits_of(metric))}{fewer}")
    return texts


def _reasons(curves: Curves) -> list[str]:
    """Why cells are empty: a line for each method and reason."""
    lines = []
    for curve in curves.curves:
        for value, title in zip(curves.values, curves.titles, strict=True):
            point = curve.points.get(value)
            if point is not None and point.row is None:
                lines.append(f"{curve.method.label}, {title}: {point.reason}.")
    return lines
