"""A run's page: its metrics, curves and pictures in one self-contained file."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from bench.config.presets import owner_of
from bench.config.tracks import TRACKS
from bench.data.category_folders import GOOD
from bench.errors import counted
from bench.html_report.charts import map_scale, overlap_chart, precision_recall_chart, roc_chart, score_histograms
from bench.html_report.selection import Group, Predicted
from bench.html_report.test_images import LIMIT, PicturedImages
from bench.metrics.catalogue import BY_TYPE, interval_text, metric_text, title_of
from bench.metrics.ranking import Ranking, rank
from bench.records.costs import cost_rows
from bench.records.product_table import ALL_TOGETHER, product_table
from bench.records.published_comparison import differences, reference_of
from bench.records.record import Record
from bench.records.summary import remarks, summary
from bench.views.page_frame import embedded, render_page
from bench.views.viridis import heat_colour, text_on


class Card(NamedTuple):
    """One image on the page: title, caption, and pictures with what they show."""

    title: str
    caption: str
    pictures: list[tuple[str, str]]  # what it shows, data URI


def render(record: Record, predicted: Sequence[Predicted], groups: Sequence[Group], seen: PicturedImages | None) -> str:
    """Render the page; without pictures and PRO curve where `seen` is None."""
    ranking = _rank(predicted)
    return render_page(
        "report.html.j2",
        record=record,
        sentence=summary(record),
        remarks=remarks(record),
        notes=_notes(record, seen),
        metrics=[_metric_row(record, name, value) for name, value in record.metrics.items()],
        products=product_table(record),
        together=ALL_TOGETHER,
        by_type=_by_type(record) if record.products is None else None,  # types of several products are no types
        costs=cost_rows(record.cost) if record.cost else [],
        setup=_setup(record),
        charts=_charts(record, predicted, ranking, seen),
        confusion=_confusion(record),
        scale=map_scale(*record.map_range) if seen and record.map_range else None,
        groups=[(group, [_card(record, predicted, index, seen) for index in group.indices]) for group in groups],
        licence=seen.notice if seen else "",
    )


def _rank(predicted: Sequence[Predicted]) -> Ranking:
    scores = np.array([one.score for one in predicted])
    defective = np.array([one.is_defect for one in predicted], dtype=bool)
    return rank(scores[defective], scores[~defective])


def _notes(record: Record, seen: PicturedImages | None) -> list[str]:
    whose = f"{owner}'s own data" if (owner := owner_of(record.dataset)) else "the published data"
    found = [f"Not {whose}: {'; '.join(record.data.differences)}."] if record.data.differences else []
    if reference_of(record) and (apart := differences(record)):
        found.append(f"Not the published protocol: {'; '.join(apart)}.")
    found += [f"{counted(count, 'image')}: {what}." for what, count in record.data.conversions.items()]
    if shapes := record.data.shapes:
        found.append(f"{shapes[0].upper()}{shapes[1:]}.")
    if missing := record.data.without_masks:
        found.append(f"{counted(missing, 'defect image')} without a mask: no figure of pixels counts them.")
    if seen is None:
        found.append("Made with --no-maps: without pictures and without a PRO curve.")
    elif not TRACKS[record.track].learns_from_defects and record.map_range is None:
        found.append(f"{record.model} makes no anomaly maps: its images are shown without.")
    return found


def _metric_row(record: Record, name: str, value: float | None) -> tuple[str, str, str]:
    return title_of(name), metric_text(value), interval_text(record.intervals.get(name))


def _by_type(record: Record) -> dict[str, Any] | None:
    """A row for each type, with the metrics that at least one type has."""
    if not record.metrics_by_defect:
        return None
    names = [name for name in BY_TYPE if any(name in values for values in record.metrics_by_defect.values())]
    rows = [
        (kind, [metric_text(values.get(name)) for name in names]) for kind, values in record.metrics_by_defect.items()
    ]
    return {"columns": [BY_TYPE[name] for name in names], "rows": rows}


def _setup(record: Record) -> list[tuple[str, str]]:
    commit = record.environment.get("commit")
    weights = ", ".join(record.weights.values())
    rows = [
        ("started", record.started),
        ("fingerprint", record.fingerprint),
        ("weights", weights),
        ("changed settings", ", ".join(f"{key}={value}" for key, value in record.overrides.items())),
        ("device", str(record.environment.get("gpu") or record.environment.get("processor") or "")),
        ("commit", str(commit or "")),
    ]
    return [(name, value) for name, value in rows if value]


def _charts(record: Record, predicted: Sequence[Predicted], ranking: Ranking, seen: PicturedImages | None) -> list[Any]:
    types = sorted({one.defect_type for one in predicted}, key=lambda name: (name != GOOD, name))
    scores = {name: [one.score for one in predicted if one.defect_type == name] for name in types}
    threshold, metrics = record.metrics.get("threshold"), record.metrics
    charts = [score_histograms(scores, threshold)] if scores else []
    if ranking.defined:
        good = np.array(scores.get(GOOD, []))
        alarms = None if threshold is None else float(np.mean(good > threshold))
        recall = None if threshold is None else metrics.get("image_recall")
        charts.append(roc_chart(ranking, metrics.get("image_auroc"), alarms))
        charts.append(precision_recall_chart(ranking, metrics.get("image_ap"), recall))
    if seen and seen.overlap is not None and len(seen.overlap):
        charts.append(overlap_chart(seen.overlap, LIMIT, metrics.get("aupro_0.30")))
    return charts


def _confusion(record: Record) -> dict[str, Any] | None:
    """Counts by true class (rows) and predicted class (columns), each with the colour of its share of the row."""
    if record.confusion is None:
        return None
    rows = []
    for name, counts in zip(record.confusion.classes, record.confusion.counts, strict=True):
        colours = [heat_colour(count / max(1, sum(counts))) for count in counts]
        rows.append((name, [(count, each, text_on(each)) for count, each in zip(counts, colours, strict=True)]))
    return {"classes": record.confusion.classes, "rows": rows}


def _card(record: Record, predicted: Sequence[Predicted], index: int, seen: PicturedImages | None) -> Card:
    one = predicted[index]
    if one.probabilities.size:
        assert record.confusion is not None
        best = int(one.probabilities.argmax())
        caption = f"taken for {record.confusion.classes[best]}, probability {one.probabilities[best]:.3f}"
    else:
        threshold = record.metrics["threshold"]
        verdict = "anomalous" if threshold is not None and one.score > threshold else "good"
        caption = f"score {one.score:.4g}, threshold {threshold:.4g}: called {verdict}"
    pictures = seen.pictures.get(index, {}) if seen else {}
    shown = [(what, embedded(Image.fromarray(picture))) for what, picture in pictures.items()]
    return Card("/".join(one.path.split("/")[-2:]), caption, shown)
