"""One model for each product against one for all of them: what a method loses, product by product and on average."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

from bench.leaderboard.aggregate import Method, Row
from bench.leaderboard.collect import Source
from bench.leaderboard.paired import SeedDifference, image_auroc_difference, mean_auroc_difference
from bench.leaderboard.products import method_alone
from bench.records.record import Record, flat_settings

_Key = tuple[str, str, str, str, int]
MEAN = "mean"
# What is compared; the first one has an interval.
COMPARED = ("image_auroc", "image_balanced_accuracy", "pixel_auroc", "aupro_0.30")


class Gap(NamedTuple):
    """A method on one product, or the mean over all products of its model, with the seeds that both ways have.

    The difference is that of image AUROC, one for all minus one per product; a reason where there is none.
    """

    method: Method
    product: str
    seeds: tuple[int, ...]
    alone: Mapping[str, float]
    for_all: Mapping[str, float]
    difference: SeedDifference | str


def gaps(rows: Sequence[Row], sources: Iterable[Source], *, intervals: bool) -> list[Gap]:
    """The gaps of rows of models for several products, each method's mean last; none without runs of each alone.

    A run on one product alone counts where it has the same settings, weights, images and version of the protocol. A
    setting that is newer than its record counts as the preset's value, as in a study.
    """
    alone: dict[_Key, list[Source]] = defaultdict(list)
    for source in sources:
        if not source.product:
            alone[_key(source)].append(source)
    by_method: dict[Method, list[Row]] = defaultdict(list)
    for row in rows:
        by_method[row.method].append(row)
    found: list[Gap] = []
    for method, own in sorted(by_method.items()):
        pairs = [pair for row in own if (pair := _pair(row, alone)) is not None]
        found += [_gap(method, row.category, single, row, intervals=intervals) for single, row in pairs]
        if len(pairs) > 1 and len(pairs) == len(own):
            found.append(_mean(method, found[-len(pairs) :], pairs, intervals=intervals))
    return found


def _key(source: Source) -> _Key:
    """What two runs of the same settings on the same images have in common, but for the settings."""
    record = source.record
    weights = record.weights.get("sha256", record.weights["source"])
    return record.model, record.category, record.data.digest, weights, source.protocol_version


def _same_settings(alone: Record, for_all: Record) -> bool:
    own, theirs = flat_settings(for_all), flat_settings(alone)
    newer = own.keys() - theirs.keys() - {"data.products"}
    return all(own.get(key, key) == value for key, value in theirs.items()) and not newer & for_all.overrides.keys()


def _pair(row: Row, alone: Mapping[_Key, Sequence[Source]]) -> tuple[Row, Row] | None:
    """The row of the runs on the product alone, and this row, both of the seeds that both have."""
    first = row.sources[0]
    found = [source for source in alone.get(_key(first), ()) if _same_settings(source.record, first.record)]
    # Of several of one seed the one of exactly these settings counts, else the latest.
    found.sort(key=lambda source: (source.method == method_alone(first), source.record.started))
    theirs = {source.record.seed: source for source in found}
    own = {source.record.seed: source for source in row.sources}
    seeds = sorted(own.keys() & theirs.keys())
    if not seeds:
        return None
    single = Row(row.method, row.category, row.digest, tuple(theirs[seed] for seed in seeds))
    return single, Row(row.method, row.category, row.digest, tuple(own[seed] for seed in seeds))


def _gap(method: Method, product: str, alone: Row, for_all: Row, *, intervals: bool) -> Gap:
    seeds = tuple(source.record.seed for source in for_all.sources)
    difference = image_auroc_difference(alone, for_all, "one per product") if intervals else "not asked for"
    return Gap(method, product, seeds, _figures(alone), _figures(for_all), difference)


def _mean(method: Method, found: Sequence[Gap], pairs: Sequence[tuple[Row, Row]], *, intervals: bool) -> Gap:
    """The mean over products; its difference has an interval where all products have the same seeds."""
    seeds = {gap.seeds for gap in found}
    if len(seeds) > 1:
        difference: SeedDifference | str = "products with different seeds"
    else:
        difference = mean_auroc_difference(pairs) if intervals else "not asked for"
    alone, for_all = _means([gap.alone for gap in found]), _means([gap.for_all for gap in found])
    return Gap(method, MEAN, next(iter(seeds)) if len(seeds) == 1 else (), alone, for_all, difference)


def _figures(row: Row) -> dict[str, float]:
    return {name: summary.mean for name in COMPARED if (summary := row.summarise(name))}


def _means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric that all products have."""
    return {name: fmean(each[name] for each in figures) for name in COMPARED if all(name in each for each in figures)}
