"""The figures of a model for several products as one table: a row for each product, and their mean."""

from statistics import fmean
from typing import NamedTuple

from bench.config.tracks import TRACKS
from bench.metrics.catalogue import column_title, interval_text, metric_text
from bench.records.record import Metrics, Record

ALL_TOGETHER = "all images together, at one threshold for all products"


class ProductTable(NamedTuple):
    """Titles of the columns, and rows of text, the product's name first and the mean last."""

    titles: list[str]
    rows: list[list[str]]


def product_table(record: Record) -> ProductTable | None:
    """The figures that the track shows, of each product; None for a run of one product."""
    if record.products is None:
        return None
    products, track = record.products, TRACKS[record.track]
    names = [name for name in track.quality if any(name in each.metrics for each in products.values())]
    titles = ["product"]
    for name in names:
        titles += [column_title(name, track), *(["95 % interval"] if name == track.headline else [])]
    figures = [
        (name, each.metrics, interval_text(each.intervals.get(track.headline))) for name, each in products.items()
    ]
    rows = []
    for title, metrics, interval in [*figures, ("mean", mean_of_products(record), "")]:
        row = [title]
        for name in names:
            row += [metric_text(metrics.get(name)), *([interval] if name == track.headline else [])]
        rows.append(row)
    return ProductTable(titles, rows)


def mean_of_products(record: Record) -> Metrics:
    """The mean of each metric over the products; None where one of them lacks it. Empty for a run of one product."""
    products = [each.metrics for each in (record.products or {}).values()]
    names = dict.fromkeys(name for metrics in products for name in metrics)
    values = {name: [metrics.get(name) for metrics in products] for name in names}
    return {
        name: None if None in found else fmean(value for value in found if value is not None)
        for name, found in values.items()
    }
