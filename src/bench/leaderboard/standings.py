"""Order methods by their rows: means over categories, mean ranks, and whether these differ by more than chance."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from statistics import fmean

from bench.config.tracks import TRACKS
from bench.data.facts import known_categories
from bench.leaderboard.aggregate import Method, Row, Summary, TableKey, summary
from bench.leaderboard.significance import Significance, compare_methods, ranks
from bench.records.published import Figure

GROUPS = {"textures": "texture", "objects": "object", "mean": ""}  # the last one holds every category


@dataclass(frozen=True)
class Standing:
    """One method over several categories; `mean_rank` is None where it lacks a ranked category."""

    method: Method
    rows: Mapping[str, Row]
    mean_rank: float | None
    _macros: dict[tuple[str, tuple[str, ...]], Summary | None] = field(default_factory=dict, compare=False, repr=False)

    def macro(self, metric: str, categories: Sequence[str]) -> Summary | None:
        """Mean over categories, and the standard deviation of that mean over the seeds that all categories have."""
        key = metric, tuple(categories)
        if key not in self._macros:  # every format of a leaderboard needs it
            found = self._by_category(metric, categories)
            of_seeds = self.means_of_seeds(metric, categories)
            mean = fmean([fmean(list(values.values())) for values in found]) if found else 0.0
            std = summary(of_seeds).std if of_seeds else None
            self._macros[key] = Summary(mean, std, len(of_seeds)) if found else None
        return self._macros[key]

    def means_of_seeds(self, metric: str, categories: Sequence[str]) -> list[float]:
        """The mean over categories for each seed that all of them have; empty where a category lacks the metric."""
        found = self._by_category(metric, categories)
        seeds = sorted(set.intersection(*map(set, found))) if found else []
        return [fmean([values[seed] for values in found]) for seed in seeds]

    def _by_category(self, metric: str, categories: Sequence[str]) -> list[dict[int, float]]:
        """The metric by seed in every category; empty where one lacks it."""
        by_category = [self.rows[name].by_seed(metric) if name in self.rows else None for name in categories]
        found = [values for values in by_category if values]
        return found if len(found) == len(categories) else []

    def mean_cost(self, name: str) -> float | None:
        """Mean over the method's own categories of the mean over seeds."""
        found = [row.summarise_cost(name) for row in self.rows.values()]
        means = [cost.mean for cost in found if cost]
        return fmean(means) if means else None

    def published_mean(self, metric: str, categories: Sequence[str]) -> Figure | None:
        """The mean of the published figures of exactly these categories, else the published mean of all categories."""
        rows = [self.rows[name] for name in categories if name in self.rows]
        figures = [figure for row in rows if (figure := row.published_figure(metric))]
        if not figures or len(rows) < len(categories):
            return figures[0] if figures and figures[0].of == "mean" else None
        if len(figures) == len(categories) and all(figure.of != "mean" for figure in figures):
            return Figure(fmean(figure.value for figure in figures), "categories", len(figures))
        overall = next((figure for figure in figures if figure.of == "mean"), None)
        if overall and len(categories) == overall.over:
            return Figure(overall.value, "categories", overall.over)
        return overall

    @cached_property
    def devices(self) -> list[str]:
        """The devices that its runs were computed on."""
        return sorted({device for row in self.rows.values() for device in row.devices})

    @cached_property
    def differences(self) -> list[str]:
        """How the protocol differs from that of the published figures, in any category."""
        return list(dict.fromkeys(text for row in self.rows.values() for text in row.differences))


@dataclass(frozen=True)
class Ranking:
    """Methods over categories, each on one set of images: first the ranked by mean rank, then the incomplete."""

    digests: Mapping[str, str]
    categories: tuple[str, ...]
    standings: list[Standing]
    significance: Significance | None
    dataset: str

    @property
    def ranked(self) -> list[Standing]:
        """The methods that have every ranked category."""
        return [standing for standing in self.standings if standing.mean_rank is not None]

    def groups(self) -> dict[str, list[str]]:
        """The categories of each group; textures and objects only where both groups have any."""
        kinds = {name: facts.group for name, facts in known_categories(self.dataset).items()}
        found = {
            name: [category for category in self.categories if not kind or kinds.get(category) == kind]
            for name, kind in GROUPS.items()
        }
        return found if all(found.values()) else {"mean": found["mean"]}


def rankings(table: TableKey, rows: Sequence[Row]) -> list[Ranking]:
    """One ranking; where a category was tested on several sets of images, one for each set, the most used first."""
    uses: dict[str, dict[str, int]] = {}
    for row in rows:
        counts = uses.setdefault(row.category, {})
        counts[row.digest] = counts.get(row.digest, 0) + len(row.sources)
    ordered = {name: sorted(counts, key=lambda d: (-counts[d], d)) for name, counts in uses.items()}
    found = []
    for index in range(max(map(len, ordered.values()))):
        digests = {name: sets[min(index, len(sets) - 1)] for name, sets in ordered.items()}
        found.append(_rank(table, [row for row in rows if row.digest == digests[row.category]], digests))
    return found


def shared_categories(methods: Mapping[Method, Collection[str]]) -> tuple[str, ...]:
    """The largest set of categories that at least two methods have in full; all categories of a single method."""
    sets = [frozenset(names) for names in methods.values()]
    if len(sets) == 1:
        return tuple(sorted(sets[0]))
    distinct = sorted(set(sets), key=lambda names: sorted(names))
    candidates: set[frozenset[str]] = {names for names in distinct if sets.count(names) > 1}
    candidates |= {one & other for one, other in combinations(distinct, 2)}

    best = min((-len(names), -sum(names <= other for other in sets), tuple(sorted(names))) for names in candidates)
    return best[2]


def _rank(table: TableKey, rows: Sequence[Row], digests: Mapping[str, str]) -> Ranking:
    headline = TRACKS[table.track].headline
    methods: dict[Method, dict[str, Row]] = {}
    for row in rows:
        methods.setdefault(row.method, {})[row.category] = row
    means = {
        method: {name: found.mean for name, row in own.items() if (found := row.summarise(headline))}
        for method, own in methods.items()
    }
    shared = shared_categories(means)
    complete = [method for method in methods if shared and means[method].keys() >= set(shared)]
    mean_ranks: dict[Method, float] = {}
    significance = None
    if complete:
        scores = [[means[method][name] for method in complete] for name in shared]
        mean_ranks = dict(zip(complete, map(float, ranks(scores).mean(axis=0)), strict=True))
        significance = compare_methods(scores)

    def order(standing: Standing) -> tuple[bool, float, int, float, Method]:
        own = means[standing.method]
        have = len(own.keys() & set(shared))
        mean = fmean(own.values()) if own else 0.0
        rank = standing.mean_rank
        return rank is None, rank or 0.0, -have, -mean, standing.method

    standings = [Standing(method, own, mean_ranks.get(method)) for method, own in methods.items()]
    return Ranking(digests, shared, sorted(standings, key=order), significance, table.dataset)
