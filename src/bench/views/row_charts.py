"""Charts with one row per name: values on one axis, and the diagram of critical differences."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain

from markupsafe import Markup

from bench.views.axes import Axis, Scale, make_scale
from bench.views.charts import Limit
from bench.views.drawing import RIGHT, WIDTH, chart, colour, element, number, shorten, text_width

_ROW = 26.0
_GUTTER = 10.0  # width of each column of bars of the critical differences
_GUTTERS = 120.0  # width of all columns at most


def strip_chart(
    name: str,
    title: str,
    description: str,
    x: Axis,
    rows: Sequence[tuple[str, Sequence[float]]],
    *,
    level: Limit | None = None,
) -> Markup:
    """The values of each row as points, with a stroke at their mean; `level` is a line through all rows."""
    left = _label_width([label for label, _ in rows])
    scale = make_scale(x, chain.from_iterable(values for _, values in rows), left, WIDTH - RIGHT)
    parts = _frame(scale, [label for label, _ in rows], 0.0)
    if level:
        path = f"M{number(scale.position(level.value))} 0V{number(len(rows) * _ROW)}"
        parts.append(element("path", element("title", f"{level.label}: {level.value:.4g}"), d=path, class_="limit"))
    for row, (label, values) in enumerate(rows):
        middle = (row + 0.5) * _ROW
        if not values:
            continue
        path = "".join(f"M{number(scale.position(value))} {number(middle)}h0" for value in values)
        about = element("title", f"{label}: {', '.join(f'{value:.4g}' for value in values)}")
        mean = number(scale.position(sum(values) / len(values)))
        parts.append(element("path", d=f"M{mean} {number(middle - 9)}v18", class_="mean"))
        parts.append(element("path", about, d=path, class_=f"dots {colour(0)}"))
    return chart(name, title, description, len(rows) * _ROW + 46, parts)


def rank_diagram(
    name: str, title: str, description: str, x: Axis, rows: Sequence[tuple[str, float]], critical: float
) -> Markup:
    """Mean ranks, the best first; a bar at the right joins those that lie within the critical difference.

    Demšar's diagram (2006, figure 1), with a row for each method so that the names can be read.
    """
    columns = _columns(alike([rank for _, rank in rows], critical))
    left, top = _label_width([label for label, _ in rows]), 30.0
    gutter = min(_GUTTER, _GUTTERS / max(1, len(columns)))
    right = WIDTH - RIGHT - gutter * len(columns)
    ticks = tuple(float(rank) for rank in range(1, len(rows) + 1, math.ceil(len(rows) / 10)))
    scale = replace(make_scale(x, (), left, right), ticks=ticks)
    parts = _frame(scale, [label for label, _ in rows], top)
    end = scale.position(scale.low + critical)
    path = f"M{number(left)} 9v10M{number(left)} 14H{number(end)}M{number(end)} 9v10"
    parts.append(element("path", d=path, class_="bracket"))
    text = f"critical difference {critical:.2f}"
    anchor, at = ("start", end + 8) if end + 8 + text_width(text) < WIDTH else ("end", end - 8)
    parts.append(element("text", text, x=at, y=19.0, text_anchor=anchor, class_="halo"))
    for row, (label, rank) in enumerate(rows):
        middle = top + (row + 0.5) * _ROW
        about = element("title", f"{label}: {rank:.2f}")
        dot = element("circle", about, cx=scale.position(rank), cy=middle, r=5.0, class_=f"point {colour(0)}")
        beyond = scale.position(rank) + 10 + text_width("00.00") > right
        anchor, at = ("end", scale.position(rank) - 10) if beyond else ("start", scale.position(rank) + 10)
        parts += [dot, element("text", f"{rank:.2f}", x=at, y=middle + 5, text_anchor=anchor, class_="faint halo")]
    for column, groups in enumerate(columns):
        beside, wide = number(right + gutter * (column + 0.8)), number(0.4 * gutter)
        for first, last in groups:
            begin, stop = number(top + (first + 0.2) * _ROW), number(top + (last + 0.8) * _ROW)
            parts.append(element("path", d=f"M{beside} {begin}V{stop}", class_="group", stroke_width=wide))
    return chart(name, title, description, top + len(rows) * _ROW + 46, parts)


def alike(ranks: Sequence[float], critical: float) -> list[tuple[int, int]]:
    """First and last index of each maximal group of ascending ranks that all lie within the critical difference."""
    groups: list[tuple[int, int]] = []
    for first, rank in enumerate(ranks):
        last = max(index for index in range(first, len(ranks)) if ranks[index] - rank < critical or index == first)
        if last > first and (not groups or last > groups[-1][1]):
            groups.append((first, last))
    return groups


def _columns(groups: Iterable[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Groups in as few columns as hold them without overlap."""
    columns: list[list[tuple[int, int]]] = []
    for group in groups:
        free = next((column for column in columns if column[-1][1] < group[0]), None)
        if free is None:
            columns.append([group])
        else:
            free.append(group)
    return columns


def _label_width(labels: Iterable[str]) -> float:
    return max((text_width(shorten(label)) for label in labels), default=0.0) + 12


def _frame(scale: Scale, labels: Sequence[str], top: float) -> list[Markup]:
    """The axis below, its grid, and the labels of the rows."""
    bottom = top + len(labels) * _ROW
    parts = []
    for tick, text in zip(scale.ticks, scale.texts(), strict=True):
        position = scale.position(tick)
        parts.append(element("path", d=f"M{number(position)} {number(top)}V{number(bottom)}", class_="grid"))
        parts.append(element("text", text, x=position, y=bottom + 18, text_anchor="middle", class_="faint"))
    for row, label in enumerate(labels):
        middle = top + (row + 0.5) * _ROW
        line = f"M{number(scale.start)} {number(middle)}H{number(scale.end)}"
        parts.append(element("path", d=line, class_="grid"))
        words = element("title", label) + Markup("{}").format(shorten(label))
        parts.append(element("text", words, x=scale.start - 8, y=middle + 5, text_anchor="end"))
    axis = f"M{number(scale.start)} {number(bottom)}H{number(scale.end)}"
    parts.append(element("path", d=axis, class_="axis"))
    middle = (scale.start + scale.end) / 2
    parts.append(element("text", scale.axis.label, x=middle, y=bottom + 39, text_anchor="middle"))
    return parts
