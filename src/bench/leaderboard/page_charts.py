"""The charts of a leaderboard's page: heat tables, cost, critical differences, single seeds, published figures."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from markupsafe import Markup

from bench.config.presets import is_trivial
from bench.config.tracks import TRACKS
from bench.leaderboard.aggregate import Method, Row, Summary, summary
from bench.leaderboard.standings import Ranking, Standing
from bench.leaderboard.tables import Table
from bench.leaderboard.text import describe_significance, machine, mean_and_std, name_categories
from bench.metrics.catalogue import column_title, digits_of
from bench.records.costs import COSTS
from bench.views.axes import Axis, limits_of
from bench.views.charts import Limit, Series, scatter
from bench.views.drawing import shorten
from bench.views.row_charts import rank_diagram, strip_chart
from bench.views.viridis import heat_colour, text_on

_COSTS = ("fit_seconds", "milliseconds_per_image")
Point = tuple[float, float]


class Chart(NamedTuple):
    """A picture and its caption; without a picture the caption gives the reason."""

    picture: Markup | None
    caption: str


class HeatCell(NamedTuple):
    """A metric's value with its colour and the colour of the text on it; no text where there is no value."""

    text: str = ""
    colour: str = ""
    ink: str = ""
    about: str = ""


@dataclass(frozen=True)
class HeatTable:
    """One metric of methods over categories, all on one scale from `low` to `high`."""

    title: str
    columns: list[str]
    lines: list[tuple[Method, list[HeatCell]]]
    low: float
    high: float


def cost_charts(name: str, table: Table, ranking: Ranking) -> list[Chart]:
    """The headline metric of the methods against each cost, with the Pareto front of each machine."""
    track = TRACKS[table.key.track]
    headline, title = track.headline, column_title(track.headline, track)
    level = _best_trivial([(s.method, s.macro(headline, ranking.categories)) for s in ranking.ranked])
    charts = []
    for cost in _COSTS:
        series: dict[str, dict[Point, list[str]]] = defaultdict(lambda: defaultdict(list))
        for standing, label in zip(ranking.ranked, short_names([s.method for s in ranking.ranked]), strict=True):
            point = _cost_point(standing, ranking.categories, cost, headline)
            if point:
                series[_machines(standing, ranking.categories)][point].append(label)
        if not series:
            return [Chart(None, f"No method has both {title} and a cost on the categories that are ranked.")]
        fronts = {machines: pareto_front(points) for machines, points in series.items() if not machines.count(" and ")}
        labels = {point: ", ".join(names) for points in series.values() for point, names in points.items()}
        about = (
            f"{_sentence(title)} against {COSTS[cost].title}, means over {name_categories(ranking)}. "
            f"Pareto front, where no other on that machine is both cheaper and better: {_tell_fronts(fronts, labels)}."
            f"{_tell_level(level)}"
        )
        picture = scatter(
            f"{name}-{cost}",
            f"{title} against {COSTS[cost].title}",
            f"{about} {_tell(labels)}",
            Axis(f"{COSTS[cost].title}, logarithmic", logarithmic=True),
            Axis(title),
            [Series(machines, sorted(points)) for machines, points in sorted(series.items())],
            labels=labels,
            fronts=fronts,
            level=level,
        )
        charts.append(Chart(picture, about))
    return charts


def difference_chart(name: str, ranking: Ranking) -> Chart:
    """Nemenyi's critical difference of mean ranks; where the data are too few for it, a sentence with the reason."""
    said = describe_significance(ranking)
    if ranking.significance is None:
        return Chart(None, f"No diagram. {said}")
    names = short_names([standing.method for standing in ranking.ranked])
    rows = [(label, standing.mean_rank or 0.0) for label, standing in zip(names, ranking.ranked, strict=True)]
    about = "Methods that a bar at the right joins are not told apart (Nemenyi's test at .05, Demšar 2006)."
    picture = rank_diagram(
        f"{name}-ranks",
        "Critical differences of mean ranks",
        f"{about} {'; '.join(f'{label} {rank:.2f}' for label, rank in rows)}",
        Axis("mean rank, 1 is best", limits=(1.0, float(len(rows)))),
        rows,
        ranking.significance.critical_difference,
    )
    return Chart(picture, f"{about} {said}")


def seed_charts(name: str, table: Table, ranking: Ranking) -> tuple[Chart | None, list[Chart]]:
    """The headline metric of each seed: the mean over the ranked categories, and each category.

    All charts have one scale. A chart is left out where no method has several seeds.
    """
    track = TRACKS[table.key.track]
    headline, title = track.headline, column_title(track.headline, track)
    over_all = [(s.method, s.means_of_seeds(headline, ranking.categories)) for s in ranking.ranked]
    titled = {f"{title}, mean over the categories of the ranking": over_all if len(ranking.categories) > 1 else []}
    for category in sorted(ranking.digests):
        rows = [(s.method, s.rows[category].by_seed(headline)) for s in ranking.standings if category in s.rows]
        titled[f"{title}, {category}"] = [(method, list(values.values())) for method, values in rows if values]
    every = [value for rows in titled.values() for _, values in rows for value in values]
    axis = Axis(title, limits=limits_of(every))
    charts = [_seed_chart(f"{name}-seeds-{index}", t, axis, rows) for index, (t, rows) in enumerate(titled.items())]
    return charts[0], [chart for chart in charts[1:] if chart]


def paper_chart(name: str, table: Table) -> Chart:
    """The figures measured here against the published ones of the same category."""
    track = TRACKS[table.key.track]
    series: dict[str, list[Point]] = {}
    labels: dict[Point, list[str]] = defaultdict(list)
    rows = [row for section in table.sections for row in section.rows]
    names = dict(zip((m := sorted({row.method for row in rows})), short_names(m), strict=True))
    for metric in track.published:
        for row in rows:
            theirs, own = row.published_figure(metric), row.summarise(metric)
            if theirs and own and theirs.of != "mean":
                kind = "another protocol" if row.differences else "the paper's protocol"
                point = (theirs.value, own.mean)
                series.setdefault(f"{column_title(metric, track)}, {kind}", []).append(point)
                labels[point].append(f"{names[row.method]}, {row.category}")
    titles = " or ".join(dict.fromkeys(label.partition(",")[0] for label in series))
    if not series:
        return Chart(None, "No figure was published for these methods on these categories, as far as is known here.")
    texts = {point: "; ".join(own) for point, own in labels.items()}
    about = (
        "Our figure against the published one of the same category; on the line they are equal. Only points of the "
        "paper's protocol compare."
    )
    picture = scatter(
        f"{name}-papers",
        "Ours against published",
        f"{about} {_tell(texts)}",
        Axis(f"published {titles}"),
        Axis(f"our {titles}"),
        [Series(label, points) for label, points in series.items()],
        labels=texts,
        diagonal="equal",
    )
    return Chart(picture, about)


def heat_tables(table: Table, ranking: Ranking) -> list[HeatTable]:
    """Heat tables of the metric that methods are ranked by, and of those that papers publish, over all categories."""
    track = TRACKS[table.key.track]
    metrics = dict.fromkeys([track.headline, *track.published])
    found = [_heat_table(column_title(name, track), name, ranking) for name in metrics]
    return [heat for heat in found if any(cell.text for _, cells in heat.lines for cell in cells)]


def pareto_front(points: Iterable[Point]) -> list[Point]:
    """The points (cost, quality) without another that costs no more and is at least as good, sorted by cost."""
    front: list[Point] = []
    for point in sorted(set(points), key=lambda p: (p[0], -p[1])):
        if not front or point[1] > front[-1][1]:
            front.append(point)
    return front


def short_names(methods: Sequence[Method]) -> list[str]:
    """The model's name where one method has it, else name and variant; the variant alone where all have one name."""
    uses = Counter(method.model for method in methods)
    if len(uses) == 1 and len(methods) > 1:
        return [method.own_variant or method.model for method in methods]
    return [method.model if uses[method.model] == 1 else method.label for method in methods]


def _heat_table(title: str, metric: str, ranking: Ranking) -> HeatTable:
    categories = sorted(ranking.digests)
    summaries: list[tuple[Method, list[Summary | None]]] = []
    for standing in ranking.standings:
        rows = [standing.rows.get(name) for name in categories]
        own = [row.summarise(metric) if row else None for row in rows]
        means = [standing.macro(metric, ranking.categories)] if len(ranking.categories) > 1 else []
        summaries.append((standing.method, own + means))
    values = [found.mean for _, own in summaries for found in own if found]
    low, high = (int(min(values) * 10) / 10 if values else 0.0), 1.0
    low = min(low, 0.9)
    lines = [(method, [_heat_cell(found, low, high, digits_of(metric)) for found in own]) for method, own in summaries]
    columns = [*categories, "mean"] if len(ranking.categories) > 1 else categories
    return HeatTable(title, columns, lines, low, high)


def _heat_cell(found: Summary | None, low: float, high: float, digits: int) -> HeatCell:
    if found is None:
        return HeatCell()
    colour = heat_colour((found.mean - low) / (high - low))
    seeds = "1 seed" if found.count == 1 else f"{found.count} seeds"
    return HeatCell(f"{found.mean:.3f}", colour, text_on(colour), f"{mean_and_std(found, digits)}, {seeds}")


def _seed_chart(name: str, title: str, axis: Axis, rows: Sequence[tuple[Method, list[float]]]) -> Chart | None:
    """The values of each method's seeds; None where no method has more than one seed."""
    if not any(len(values) > 1 for _, values in rows):
        return None
    labels = short_names([method for method, _ in rows])
    shown = [(label, values) for label, (_, values) in zip(labels, rows, strict=True)]
    level = _best_trivial([(method, summary(values)) for method, values in rows if values])
    about = f"{_sentence(title)}: a point for each seed, a stroke at their mean.{_tell_level(level)}"
    return Chart(strip_chart(name, title, about, axis, shown, level=level), about)


def _best_trivial(found: Iterable[tuple[Method, Summary | None]]) -> Limit | None:
    """The highest mean of a trivial baseline, as a line of a chart; None without such a method."""
    trivial = [(own.mean, method.model) for method, own in found if own and is_trivial(method.model)]
    return Limit(f"best trivial baseline, {max(trivial)[1]}", max(trivial)[0]) if trivial else None


def _tell_level(level: Limit | None) -> str:
    return f" The dashed line is the {level.label}: {level.value:.3f}." if level else ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _cost_point(standing: Standing, categories: Sequence[str], cost: str, metric: str) -> Point | None:
    """Mean cost and mean metric over the ranked categories; None where one is missing or the cost is 0."""
    found = [standing.rows[name].summarise_cost(cost) for name in categories]
    means = [own.mean for own in found if own]
    quality = standing.macro(metric, categories)
    if len(means) < len(found) or quality is None or fmean(means) <= 0:
        return None
    return fmean(means) / COSTS[cost].size, quality.mean


def _machines(standing: Standing, categories: Sequence[str]) -> str:
    rows: list[Row] = [standing.rows[name] for name in categories]
    return " and ".join(sorted({machine(record) for row in rows for record in row.records}))


def _tell_fronts(fronts: Mapping[str, Sequence[Point]], labels: Mapping[Point, str]) -> str:
    parts = [
        f"{', '.join(shorten(labels[point]) for point in front)} ({machines})" for machines, front in fronts.items()
    ]
    return "; ".join(sorted(parts)) or "none, each method ran on several machines"


def _tell(labels: Mapping[Point, str]) -> str:
    """The points in words, for screen readers."""
    return "; ".join(f"{text}: {x:.4g}, {y:.3f}" for (x, y), text in sorted(labels.items()))
