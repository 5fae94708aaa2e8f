"""The ranking of methods over categories, and what they cost, in Markdown."""

from bench.data.facts import mvtec_categories
from bench.leaderboard.aggregate import TableKey
from bench.leaderboard.columns import COSTS, TRACKS
from bench.leaderboard.markdown_cells import figure, grid, machine, published
from bench.leaderboard.significance import FEWEST_CATEGORIES, FEWEST_METHODS, LEVEL
from bench.leaderboard.standings import Ranking, Standing


def describe_ranking(table: TableKey, ranking: Ranking, of: int) -> str:
    """Means over categories in the order of mean ranks; empty where there is but one category."""
    if len(ranking.digests) < 2:
        return ""
    title = TRACKS[table.track].quality[TRACKS[table.track].headline]
    if not ranking.categories:
        return "### No ranking\n\nNo two methods have a category in common.\n"
    parts = [f"### Ranking by {title} over {_name_categories(ranking.categories)}\n"]
    if of > 1:
        sets = ", ".join(f"{name} {digest[:12]}" for name, digest in ranking.digests.items())
        parts.append(
            f"A category was tested on several sets of images; this is one of {of} rankings. Its sets: {sets}.\n"
        )
    parts += [_means(table, ranking), _explain(ranking, title), _significance(ranking)]
    return "\n".join(parts)


def describe_costs(ranking: Ranking) -> str:
    """What the methods cost, in the order of the ranking."""
    rows = []
    for standing in ranking.standings:
        records = [record for row in standing.rows.values() for record in row.records]
        cells = [standing.method.label, ", ".join(sorted({machine(record) for record in records}))]
        for name, cost in COSTS.items():
            found = standing.mean_cost(name)
            cells.append("-" if found is None else f"{found / cost.unit:.{cost.digits}f}")
        rows.append(cells)
    about = "Means over seeds and over the categories that the method has. Times compare on one machine only.\n"
    return (
        f"### Cost\n\n{about}\n{grid(['method', 'machine', *(cost.title for cost in COSTS.values())], rows, words=2)}"
    )


def _name_categories(categories: tuple[str, ...]) -> str:
    if set(categories) == set(mvtec_categories()):
        return f"all {len(categories)} categories"
    if len(categories) == 1:
        return categories[0]
    return f"{len(categories)} categories: {', '.join(categories)}"


def _means(table: TableKey, ranking: Ranking) -> str:
    columns = TRACKS[table.track]
    groups = ranking.groups()
    printed = {
        metric: [standing.published_mean(metric, ranking.categories) for standing in ranking.standings]
        for metric in columns.published
    }
    printed = {metric: figures for metric, figures in printed.items() if any(figures)}
    partial = len(ranking.ranked) < len(ranking.standings)
    titles = ["method", "mean rank", *(["categories"] if partial else []), "seeds", columns.quality[columns.headline]]
    titles += [name for name in groups if name != "mean"]
    titles += [title for name, title in columns.quality.items() if name != columns.headline]
    titles += [f"published {columns.quality[metric]}" for metric in printed]
    rows = []
    for place, standing in enumerate(ranking.standings):
        have = sum(name in standing.rows for name in ranking.categories)
        rank = "-" if standing.mean_rank is None else f"{standing.mean_rank:.2f}"
        cells = [standing.method.label, rank, *([f"{have}/{len(ranking.categories)}"] if partial else [])]
        cells += [_seeds(standing), figure(standing.macro(columns.headline, ranking.categories))]
        cells += [figure(standing.macro(columns.headline, names)) for name, names in groups.items() if name != "mean"]
        others = (name for name in columns.quality if name != columns.headline)
        cells += [figure(standing.macro(metric, ranking.categories)) for metric in others]
        for metric, figures in printed.items():
            own = standing.macro(metric, ranking.categories)
            cells.append(published(figures[place], own, comparable=not standing.differences))
        rows.append(cells)
    return grid(titles, rows)


def _seeds(standing: Standing) -> str:
    counts = sorted({len(row.sources) for row in standing.rows.values()})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _explain(ranking: Ranking, title: str) -> str:
    text = (
        f"Figures are means over these categories, ± over seeds of that mean; the mean rank is by {title}, "
        "1 for the best of a category, ties sharing theirs."
    )
    if len(ranking.ranked) < len(ranking.standings):
        text += " Methods that lack a category stand below, unranked; a mean is shown where nothing of it is missing."
    return text + "\n"


def _significance(ranking: Ranking) -> str:
    found, categories, methods = ranking.significance, len(ranking.categories), len(ranking.ranked)
    if found is None:
        too_few = f"{FEWEST_CATEGORIES} categories" if categories < FEWEST_CATEGORIES else f"{FEWEST_METHODS} methods"
        return f"Friedman test: too few, it takes {too_few} or more.\n"
    rank_of = ranking.ranked[0].mean_rank or 0.0
    near = [s.method.label for s in ranking.ranked[1:] if (s.mean_rank or 0.0) - rank_of < found.critical_difference]
    names = f"not told apart from the first: {', '.join(near)}" if near else "the first is told apart from all others"
    return (
        f"Friedman test over {categories} categories and {methods} methods: χ² = {found.statistic:.2f}, "
        f"p = {found.p_value:.2g}. Nemenyi's critical difference of mean ranks at {LEVEL:g} is "
        f"{found.critical_difference:.2f}; {names}.\n"
    )
