"""The charts of a report: scores by defect type, ROC, precision and recall, PRO, and the colour scale of the maps."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from bench.metrics.curves import Points, overlap_curve, precision_recall_curve, thin
from bench.metrics.ranking import Ranking
from bench.views.axes import Axis, Scale, make_scale
from bench.views.charts import Limit, Series, line_chart
from bench.views.drawing import RIGHT, WIDTH, chart, colour, element, number, shorten, text_width
from bench.views.heatmap import colour_bar

_ROW = 44.0
_BARS = 40
_STEPS = 64


def score_histograms(scores: Mapping[str, Sequence[float]], threshold: float | None) -> Markup:
    """A histogram for each type, all with one axis and one scale of counts; a line marks the threshold."""
    labels = {name: f"{shorten(name)} ({len(values)})" for name, values in scores.items()}
    left = max(map(text_width, labels.values())) + 12
    every = np.concatenate([np.asarray(values, dtype=np.float64) for values in scores.values()])
    high, beyond = _end_of_axis(every, threshold)
    ends = [float(every.min()), high, *([] if threshold is None else [threshold])]
    scale = make_scale(Axis("image score (raw, no unit)"), ends, left, WIDTH - RIGHT)
    edges = np.linspace(scale.low, scale.high, _BARS + 1)
    counts = {name: np.histogram(np.minimum(values, scale.high), edges)[0] for name, values in scores.items()}
    tallest = max(int(own.max()) for own in counts.values())
    bottom = 10 + _ROW * len(scores)
    parts = []
    for tick, text in zip(scale.ticks, scale.texts(), strict=True):
        at = scale.position(tick)
        parts.append(element("path", d=f"M{number(at)} 6V{number(bottom)}", class_="grid"))
        parts.append(element("text", text, x=at, y=bottom + 18, text_anchor="middle", class_="faint"))
    for row, (name, own) in enumerate(counts.items()):
        foot = 10 + _ROW * (row + 1)
        parts.append(element("path", d=f"M{number(left)} {number(foot)}H{number(WIDTH - RIGHT)}", class_="axis"))
        parts.append(element("text", labels[name], x=left - 8, y=foot - 6, text_anchor="end"))
        parts += _bars(name, own.tolist(), edges.tolist(), scale, foot, tallest, colour(0 if row == 0 else 1))
    middle = (left + WIDTH - RIGHT) / 2
    parts.append(element("text", scale.axis.label, x=middle, y=bottom + 40, text_anchor="middle"))
    lines = [
        f"bars: images, the tallest {tallest}",
        *([f"the last holds those to {every.max():.4g}"] if beyond else []),
    ]
    for number_of_line, words in enumerate(lines):
        parts.append(element("text", words, x=left, y=bottom + 62 + 18 * number_of_line, class_="faint"))
    height = bottom + 52 + 18 * len(lines)
    if threshold is not None:
        at = scale.position(threshold)
        parts.append(element("path", d=f"M{number(at)} 2V{number(bottom)}", class_="limit"))
        sample = element("path", d=f"M{number(left)} {number(height + 8)}h24", class_="limit")
        parts += [sample, element("text", f"threshold {threshold:.4g}", x=left + 32, y=height + 13)]
        height += 22
    description = f"Number of test images by score, one row for each type; the tallest bar stands for {tallest} images."
    return chart("histogram", "Image scores by type", description, height, parts)


def _bars(
    name: str, counts: list[int], edges: list[float], scale: Scale, foot: float, tallest: int, kind: str
) -> Iterator[Markup]:
    for (low, high), count in zip(pairwise(edges), counts, strict=True):
        if count:
            tall, start, end = (_ROW - 8) * count / tallest, scale.position(low), scale.position(high)
            about = element("title", f"{name}: {count} from {low:.4g} to {high:.4g}")
            box = {"x": start, "y": foot - tall, "width": end - start, "height": tall}
            yield element("rect", about, class_=f"bar fill {kind}", **box)


def _end_of_axis(scores: NDArray[np.float64], threshold: float | None) -> tuple[float, bool]:
    """The end of the axis, and whether scores lie beyond it: a few outliers must not compress all other scores."""
    low, most, highest = float(scores.min()), float(np.quantile(scores, 0.95)), float(scores.max())
    end = max(most, low if threshold is None else threshold)
    return (highest, False) if highest - low <= 1.5 * (end - low) else (end, True)


def roc_chart(ranking: Ranking, area: float | None, alarms: float | None) -> Markup:
    """The ROC curve with its `area`; `alarms` is the false positive rate at the threshold."""
    x, y = Axis("false positive rate", (0.0, 1.0)), Axis("true positive rate", (0.0, 1.0))
    line = Series(f"image ROC, area {_value(area)}", _points(overlap_curve(ranking)))
    limits = [] if alarms is None else [Limit("at the threshold", alarms)]
    about = "Share of defective images found over share of good images called anomalous."
    return line_chart("roc", "ROC curve", about, x, y, [line], limits=limits, diagonal="chance")


def precision_recall_chart(ranking: Ranking, area: float | None, recall: float | None) -> Markup:
    """The precision-recall curve; `area` is its average precision, `recall` that at the threshold."""
    x, y = Axis("recall", (0.0, 1.0)), Axis("precision", (0.0, 1.0))
    line = Series(f"image precision, average {_value(area)}", _points(precision_recall_curve(ranking)))
    limits = [] if recall is None else [Limit("at the threshold", recall)]
    about = "Share of truly defective images among those called anomalous, over the share of defective images found."
    return line_chart("precision-recall", "Precision and recall", about, x, y, [line], limits=limits)


def overlap_chart(curve: Points, limit: float, area: float | None) -> Markup:
    """The PRO curve up to `limit`, the false positive rate that it is usually integrated to."""
    x, y = Axis("pixel false positive rate", (0.0, limit)), Axis("mean overlap of regions", (0.0, 1.0))
    line = Series(f"PRO, normalised area {_value(area)}", thin(curve, high=(limit, 1.0)).tolist())
    about = "Mean share of each true region that is found over the share of normal pixels called anomalous."
    return line_chart("overlap", "PRO curve", about, x, y, [line])


def map_scale(low: float, high: float) -> Markup:
    """The colours of all heat maps of the page, with their values."""
    scale = make_scale(Axis("anomaly map (raw, no unit)", (low, high)), (), 16.0, WIDTH - 16.0)
    colours = colour_bar(1, _STEPS)[::-1, 0]
    width = (scale.end - scale.start) / _STEPS
    parts = [
        # A little wider, so that no gap shows between steps.
        element("rect", x=scale.start + step * width, y=4.0, width=width + 0.5, height=16.0, fill=f"rgb({r},{g},{b})")
        for step, (r, g, b) in enumerate(colours.tolist())
    ]
    for tick, text in zip(scale.ticks, scale.texts(), strict=True):
        parts.append(element("path", d=f"M{number(scale.position(tick))} 20v5", class_="axis"))
        parts.append(element("text", text, x=scale.position(tick), y=40.0, text_anchor="middle", class_="faint"))
    parts.append(element("text", scale.axis.label, x=WIDTH / 2, y=60.0, text_anchor="middle"))
    return chart("map-scale", "Colours of the heat maps", f"From {low:.4g}, grey, to {high:.4g}, yellow.", 68.0, parts)


def _points(curve: Points) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (thin(curve) if len(curve) else curve)]


def _value(value: float | None) -> str:
    return "not defined" if value is None else f"{value:.4f}"
