"""Charts as inline SVG, from plain numbers: lines, points, bars. The colours come from style.css, dark and light."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from bench.views.axes import Axis
from bench.views.drawing import TOP, Frame, chart, colour, dash, element, legend, marker, number


@dataclass(frozen=True)
class Series:
    """Points (x, y) under one label, with a band around them of (x, low, high)."""

    label: str
    points: Sequence[tuple[float, float]]
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True)
class Limit:
    """A line across a chart at a value of one axis, such as a threshold."""

    label: str
    value: float


def line_chart(
    name: str,
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    limits: Sequence[Limit] = (),
    diagonal: str = "",
) -> Markup:
    """One line for each series; `diagonal` labels a dashed line from corner to corner, as chance in a ROC chart."""
    xs = [point[0] for own in series for point in own.points] + [limit.value for limit in limits]
    ys = [point[1] for own in series for point in own.points]
    ys += [value for own in series for _, *ends in own.band for value in ends]
    frame = Frame(name, x, y, xs, ys)
    parts, samples = [], []
    if diagonal:
        path = f"M{frame.at(frame.x.low, frame.y.low)}L{frame.at(frame.x.high, frame.y.high)}"
        parts.append(element("path", d=path, class_="limit"))
        samples.append((diagonal, element("path", d="M-10 0H10", class_="limit")))
    for index, own in enumerate(series):
        kind, dashes = f"line {colour(index)}", dash(index)
        path = "M" + "L".join(frame.at(*point) for point in own.points)
        if len(own.band) > 1:
            upper = [frame.at(at, high) for at, _, high in own.band]
            lower = [frame.at(at, low) for at, low, _ in reversed(own.band)]
            around = f"M{'L'.join([*upper, *lower])}Z"
            parts.append(element("path", d=around, class_=f"fill {colour(index)}", fill_opacity="0.12"))
        if len(own.points) == 1:  # a line of one point is not seen
            parts.append(
                marker(index, frame.x.position(own.points[0][0]), frame.y.position(own.points[0][1]), own.label)
            )
        if own.points:
            parts.append(element("path", element("title", own.label), d=path, class_=kind, stroke_dasharray=dashes))
        samples.append((own.label, element("path", d="M-10 0H10", class_=kind, stroke_dasharray=dashes)))
    return _with_limits(name, title, description, frame, parts, samples, limits)


def histogram(
    name: str,
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    edges: Sequence[float],
    counts: Mapping[str, Sequence[float]],
    *,
    limits: Sequence[Limit] = (),
) -> Markup:
    """Stacked bars: `counts` of each label between neighbouring `edges` (one more than there are bars)."""
    for label, own in counts.items():
        if len(own) != len(edges) - 1:
            raise ValueError(f"'{label}' has {len(own)} counts for {len(edges) - 1} bars")
    totals = [sum(own[bar] for own in counts.values()) for bar in range(len(edges) - 1)]
    frame = Frame(name, x, y, [*edges, *(limit.value for limit in limits)], [0.0, *totals])
    parts, samples = [], []
    below = [0.0] * len(totals)
    for index, (label, own) in enumerate(counts.items()):
        for bar, (low, high) in enumerate(pairwise(edges)):
            if own[bar]:
                left, right = frame.x.position(low), frame.x.position(high)
                top, bottom = frame.y.position(below[bar] + own[bar]), frame.y.position(below[bar])
                about = element("title", f"{label}: {number(own[bar])} from {low:.4g} to {high:.4g}")
                style = f"bar fill {colour(index)}"
                box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
                parts.append(element("rect", about, class_=style, **box))
                below[bar] += own[bar]
        sample = element("rect", x=-10.0, y=-6.0, width=20.0, height=12.0, class_=f"fill {colour(index)}")
        samples.append((label, sample))
    return _with_limits(name, title, description, frame, parts, samples, limits)


def scatter(
    name: str,
    title: str,
    description: str,
    x: Axis,
    y: Axis,
    series: Sequence[Series],
    *,
    labels: Mapping[tuple[float, float], str] | None = None,
    fronts: Mapping[str, Sequence[tuple[float, float]]] | None = None,
    diagonal: str = "",
    level: Limit | None = None,
) -> Markup:
    """A point for each value of each series; `labels` stand beside them where there is room.

    `fronts` maps the label of a series to points that steps join from left to right; these are labelled first.
    `diagonal` labels a line of equal values, `level` is a horizontal line.
    """
    from bench.views.labels import place_labels

    points = [point for own in series for point in own.points]
    heights = [point[1] for point in points] + ([level.value] if level else [])
    frame = Frame(name, x, y, [point[0] for point in points], heights, height=320.0)
    parts, samples = [], []
    if level:
        path = f"M{frame.at(frame.x.low, level.value)}L{frame.at(frame.x.high, level.value)}"
        parts.append(element("path", element("title", f"{level.label}: {level.value:.4g}"), d=path, class_="limit"))
        samples.append((level.label, element("path", d="M-10 0H10", class_="limit")))
    if diagonal:
        low, high = max(frame.x.low, frame.y.low), min(frame.x.high, frame.y.high)
        parts.append(element("path", d=f"M{frame.at(low, low)}L{frame.at(high, high)}", class_="limit"))
        samples.append((diagonal, element("path", d="M-10 0H10", class_="limit")))
    names = dict(labels or {})
    first: set[tuple[float, float]] = set()
    lines: list[tuple[float, float, float]] = []
    for index, own in enumerate(series):
        front = (fronts or {}).get(own.label, ())
        if len(front) > 1:
            first.update(front)
            lines += [
                (frame.x.position(a[0]), frame.x.position(b[0]), frame.y.position(a[1])) for a, b in pairwise(front)
            ]
            parts.append(element("path", d=_steps(frame, front), class_=f"steps {colour(index)}"))
        for point in own.points:
            about = names.get(point, own.label)
            parts.append(marker(index, frame.x.position(point[0]), frame.y.position(point[1]), about))
        samples.append((own.label, marker(index, 0.0, 0.0)))
    ordered = sorted(names.items(), key=lambda item: (item[0] not in first, item))
    wanted = [(frame.x.position(point[0]), frame.y.position(point[1]), text) for point, text in ordered]
    blocked = [(frame.x.position(point[0]), frame.y.position(point[1])) for point in points]
    words = place_labels(wanted, blocked, lines, frame)
    rows, end = legend(samples, frame.below)
    return chart(name, title, description, end, [frame.draw(), *parts, words, rows])


def _with_limits(
    name: str,
    title: str,
    description: str,
    frame: Frame,
    parts: list[Markup],
    samples: list[tuple[str, Markup]],
    limits: Sequence[Limit],
) -> Markup:
    """The chart of these parts, with a vertical line for each limit and a legend of all."""
    for limit in limits:
        position = number(frame.x.position(limit.value))
        parts.append(element("path", d=f"M{position} {number(TOP)}V{number(frame.bottom)}", class_="limit"))
        samples.append((limit.label, element("path", d="M-10 0H10", class_="limit")))
    words, end = legend(samples, frame.below)
    return chart(name, title, description, end, [frame.draw(), frame.inside(parts), words])


def _steps(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    """The path of a step line: from each point along to the next one's x, then up or down to it."""
    path = f"M{frame.at(*points[0])}"
    for x, y in points[1:]:
        path += f"H{number(frame.x.position(x))}V{number(frame.y.position(y))}"
    return path
