"""The ranking of methods over categories, and what they cost, in Markdown."""

from bench.escaping import markdown_table, sentence
from bench.leaderboard.aggregate import TableKey
from bench.leaderboard.markdown_cells import figure, machine, published
from bench.leaderboard.standings import Ranking
from bench.leaderboard.text import (
    ABOUT_COSTS,
    describe_seeds,
    describe_sets,
    describe_significance,
    explain_ranking,
    ranking_title,
)
from bench.metrics.catalogue import TRACKS
from bench.records.costs import COSTS


def describe_ranking(table: TableKey, ranking: Ranking, of: int) -> str:
    """Means over categories in the order of mean ranks; empty where there is but one category."""
    if len(ranking.digests) < 2:
        return ""
    title = TRACKS[table.track].quality[TRACKS[table.track].headline]
    if not ranking.categories:
        return "### No ranking\n\nNo two methods have a category in common.\n"
    parts = [f"### {sentence(ranking_title(ranking, title))}\n"]
    if of > 1:
        parts.append(f"{sentence(describe_sets(ranking, of))}\n")
    said = [explain_ranking(ranking, title), describe_significance(ranking)]
    parts += [_means(table, ranking), *(f"{sentence(text)}\n" for text in said)]
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
    titles = ["method", "machine", *(cost.title for cost in COSTS.values())]
    return f"### Cost\n\n{ABOUT_COSTS}\n\n{markdown_table(titles, rows, words=2)}"


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
        cells += [describe_seeds(standing), figure(standing.macro(columns.headline, ranking.categories))]
        cells += [figure(standing.macro(columns.headline, names)) for name, names in groups.items() if name != "mean"]
        others = (name for name in columns.quality if name != columns.headline)
        cells += [figure(standing.macro(metric, ranking.categories)) for metric in others]
        for metric, figures in printed.items():
            own = standing.macro(metric, ranking.categories)
            cells.append(published(figures[place], own, comparable=not standing.differences))
        rows.append(cells)
    return markdown_table(titles, rows)
