"""The sentences of a leaderboard, the same in Markdown and on the page; words between backticks are code."""

from collections import defaultdict
from collections.abc import Sequence

from bench.config.cell import PROTOCOL
from bench.config.presets import owner_of
from bench.config.tracks import TRACKS
from bench.data.facts import known_categories
from bench.leaderboard.aggregate import Method, Summary, TableKey
from bench.leaderboard.significance import FEWEST_CATEGORIES, FEWEST_METHODS, LEVEL
from bench.leaderboard.standings import Ranking
from bench.leaderboard.tables import Section, Table
from bench.metrics.catalogue import title_of
from bench.records.published import DATASET
from bench.records.published_comparison import MARK, reference_of
from bench.records.record import Record

MIXED = "‡"  # beside the seeds of a row whose runs were computed on different devices
SOME = "†"
NOT_CLEAR = "§"  # beside the image AUROC of a method that is not clear of the best trivial baseline
_FEW = 5  # categories that are named one by one
_ABOUT_BEST = (
    f'"To the best" is the difference of {title_of("image_auroc")} to the method with the highest one, averaged '
    "over the seeds that both have, with the 95 % interval of a paired bootstrap over test images within defect types. "
    "It holds what other "
    "images would change, not what other seeds or training images would. Where it excludes 0, the best is better by "
    "more than the choice of images; it was picked as the largest of several, so the interval flatters it a little."
)
ABOUT_TRIVIAL = (
    f"{NOT_CLEAR} Not clear of the trivial baselines: the difference of {title_of('image_auroc')} to the best of them "
    "on this category, averaged over the seeds that both have, has a 95 % interval (the same paired bootstrap) that "
    "does not lie above 0. The method may be worse, as good, or better by no more than the choice of test images. "
    "Trivial baselines are the distances of an image's mean grey value, contrast and 8 x 8 pixels from the training "
    "images; they are rows themselves and bear no mark."
)
_ABOUT_BASELINE = (
    f"{{titles}} is the difference of {title_of('image_auroc')} to that method, averaged over the seeds that both "
    "have, with the 95 % interval of a paired bootstrap over test images within defect types. It holds what other "
    "images would change, not what other seeds or training images would. Where it excludes 0, the two differ by more "
    "than the choice of images. Nothing is corrected for the number of comparisons, {count}: about one in twenty may "
    "exclude 0 by chance."
)
ABOUT_GAPS = (
    "The same settings, weights and images, once with one model for each product and once with one for all. The gap is "
    f"that of {title_of('image_auroc')}, one for all minus one per product, over the seeds that both have, with the "
    "95 % interval of a paired bootstrap over test images within products and defect types. It holds what other images "
    "would change, not what other seeds or training images would. Decisions are at the product's own threshold."
)
ABOUT_COSTS = "Means over seeds and over the categories that the method has. Times compare on one machine only."


def about_intervals(tables: Sequence[Table]) -> str:
    """What the differences of these tables are, '' where they have none."""
    sections = [section for table in tables for section in table.sections if section.differences]
    if not sections:
        return ""
    if labels := sorted({section.baseline for section in sections if section.baseline}):
        titles = " or ".join(f'"To {label}"' for label in labels)
        count = sum(not isinstance(found, str) for section in sections for found in section.differences.values())
        return _ABOUT_BASELINE.format(titles=titles, count=count)
    return _ABOUT_BEST


def about_track(key: TableKey) -> str:
    """What the metrics of a track mean, on the dataset of a table."""
    return TRACKS[key.track].about.format(dataset="MVTec AD" if key.dataset == DATASET else key.dataset)


def table_title(key: TableKey) -> str:
    """The title of a table: what its values have in common."""
    if owner := owner_of(key.dataset):
        images = f"{owner}'s own images" if key.official else f"Images that differ from {owner}'s own"
    else:
        images = f"Images of {key.dataset}"
    pixels = "the model's resolution" if key.protocol == "model" else "the masks' own resolution"
    title = f"{images}, pixels scored at {pixels}"
    if key.products:
        title = f"One model for {key.products}. {title}"
    if key.fold:
        title += ", all folds pooled" if key.fold == "all" else f", fold {key.fold}"
    if key.protocol_version != PROTOCOL:
        title += f", by version {key.protocol_version} of the protocol"
    return title


def table_notes(table: Table) -> list[str]:
    """Remarks on the records of a table, and the settings that all variants of a method share."""
    notes = [f"Note: {note}" for note in table.notes]
    shared = {row.method.model: ", ".join(row.method.shared) for section in table.sections for row in section.rows}
    return [*notes, *(f"Every {model} here: {settings}." for model, settings in sorted(shared.items()) if settings)]


def several_sets(table: Table) -> set[str]:
    """Categories that were tested on several sets of images."""
    names = [section.category for section in table.sections]
    return {name for name in names if names.count(name) > 1}


def describe_images(key: TableKey, section: Section, several: bool) -> str:
    """Which images of a category were used."""
    about = f"Images {section.digest[:12]}"
    if several:
        about += ", one of several sets of this category: figures compare within this table only"
    if not key.official and (owner := owner_of(key.dataset)) and section.difference_from_official:
        about += f"; not {owner}'s own: {'; '.join(section.difference_from_official)}"
    return f"{about}."


def difference_to_best(section: Section, method: Method) -> str:
    """`-0.012 [-0.034, +0.001]`, `best`, `baseline`, or '' where there is no difference."""
    if method == section.best:
        return "baseline" if section.baseline else "best"
    found = section.differences.get(method)
    if found is None or isinstance(found, str):
        return ""
    value, low, high = found.difference
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{SOME if some_seeds(section, method) else ''}"


def some_seeds(section: Section, method: Method) -> str:
    """The seeds of a difference where a method has others as well, so that the means differ by another amount."""
    found = section.differences[method]
    if isinstance(found, str):
        return ""
    seeds = {row.method: [record.seed for record in row.records] for row in section.rows}
    apart = any(seeds[name] != list(found.seeds) for name in (method, section.best) if name is not None)
    return ", ".join(map(str, found.seeds)) if apart else ""


def remarks(section: Section) -> list[str]:
    """Remarks on rows of several devices, on differences over some of the seeds, and on methods without any."""
    some, none = defaultdict(list), defaultdict(list)
    for method, found in section.differences.items():
        if isinstance(found, str):
            none[found].append(method.label)
        elif seeds := some_seeds(section, method):
            some[seeds].append(method.label)
    parts = [*_mixed_rows(section), *_trivial_remarks(section)]
    if some:
        listed = "; ".join(f"{seeds} ({', '.join(labels)})" for seeds, labels in sorted(some.items()))
        parts.append(f"{SOME} Not the difference of the means shown, but over the seeds that both have: {listed}.")
    if none:
        listed = "; ".join(f"{reason} ({', '.join(labels)})" for reason, labels in sorted(none.items()))
        parts.append(f"No difference to {section.baseline or 'the best'}: {listed}.")
    return parts


def _trivial_remarks(section: Section) -> list[str]:
    """Which methods are not clear of the best trivial baseline, and which could not be compared with it."""
    if section.trivial is None:
        return []
    none = defaultdict(list)
    for method, found in section.over_trivial.items():
        if isinstance(found, str):
            none[found.replace("the best", "it")].append(method.label)
    marked = [method.label for method in section.over_trivial if section.is_clear_of_trivial(method) is False]
    name = section.trivial.label
    parts = [f"{NOT_CLEAR} Not clear of {name}, the best trivial baseline here: {', '.join(marked)}."] if marked else []
    if none:
        listed = "; ".join(f"{reason} ({', '.join(labels)})" for reason, labels in sorted(none.items()))
        parts.append(f"Not compared with {name}, the best trivial baseline here: {listed}.")
    return parts


def _mixed_rows(section: Section) -> list[str]:
    listed = [
        f"{row.method.label} on {', '.join(f'{name} (seed {_numbers(seeds)})' for name, seeds in row.devices.items())}"
        for row in section.rows
        if len(row.devices) > 1
    ]
    return [f"{MIXED} Seeds on different devices, whose costs do not compare: {'; '.join(listed)}."] if listed else []


def _numbers(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def footnotes(table: Table) -> list[str]:
    """The files of weights, the references of published figures, and why some figures are not compared."""
    rows = [row for section in table.sections for row in section.rows]
    records = [record for row in rows for record in row.records]
    weights = sorted({(r.weights["sha256"][:8], r.weights["source"]) for r in records if "sha256" in r.weights})
    parts = [f"Weights: {', '.join(f'{digest} is {source}' for digest, source in weights)}."] if weights else []
    compared = [row for row in rows if any(map(row.published_figure, TRACKS[table.key.track].published))]
    pairs = {(record.model, found.id) for row in compared for record in row.records if (found := reference_of(record))}
    if pairs:
        parts.append(f"Published: {', '.join(f'{model} `{reference}`' for model, reference in sorted(pairs))}.")
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in compared:
        for reason in row.differences:
            if row.method.label not in reasons[reason]:
                reasons[reason].append(row.method.label)
    if reasons:
        causes = "; ".join(f"{reason} ({', '.join(methods)})" for reason, methods in reasons.items())
        parts.append(f"{MARK} Not the published protocol, so no difference is shown: {causes}.")
    return parts


def name_categories(ranking: Ranking) -> str:
    """`all 15 categories`, `screw`, `2 categories: bottle, screw`."""
    categories = ranking.categories
    if len(categories) > _FEW and set(categories) == set(known_categories(ranking.dataset)):
        return f"all {len(categories)} categories"
    if len(categories) == 1:
        return categories[0]
    return f"{len(categories)} categories: {', '.join(categories)}"


def ranking_title(ranking: Ranking, title: str) -> str:
    """The title of a ranking: its metric and its categories."""
    return f"Ranking by {title} over {name_categories(ranking)}"


def describe_sets(ranking: Ranking, of: int) -> str:
    """The sets of images that the ranking is over, where a category has several."""
    sets = ", ".join(f"{name} {digest[:12]}" for name, digest in ranking.digests.items())
    return f"A category was tested on several sets of images; this is one of {of} rankings. Its sets: {sets}."


def mean_and_std(found: Summary, digits: int) -> str:
    """`0.7880 ± 0.0260`."""
    std = "" if found.std is None else f" ± {found.std:.{digits}f}"
    return f"{found.mean:.{digits}f}{std}"


def machine(record: Record) -> str:
    """The GPU, or the processor with the threads it ran."""
    environment = record.environment
    threads = environment.get("threads")
    gpu = environment.get("gpu") if record.device != "cpu" else None  # bench 0.1 named a GPU that it did not use
    return str(gpu or f"{environment.get('processor')}, {threads} thread{'s' * (threads != 1)}")


def explain_ranking(ranking: Ranking, title: str) -> str:
    """How to read the values of a ranking."""
    text = (
        f"Figures are means over these categories, ± over seeds of that mean; the mean rank is by {title}, "
        "1 for the best of a category, ties sharing theirs."
    )
    if len(ranking.ranked) < len(ranking.standings):
        text += " Methods that lack a category stand below, unranked; a mean is shown where nothing of it is missing."
    mixed = [f"{s.method.label} on {', '.join(s.devices)}" for s in ranking.standings if len(s.devices) > 1]
    return f"{text} {MIXED} Runs on different devices: {'; '.join(mixed)}." if mixed else text


def describe_significance(ranking: Ranking) -> str:
    """The results of Friedman's and Nemenyi's tests, or why there are none."""
    found, categories, methods = ranking.significance, len(ranking.categories), len(ranking.ranked)
    if found is None:
        too_few = f"{FEWEST_CATEGORIES} categories" if categories < FEWEST_CATEGORIES else f"{FEWEST_METHODS} methods"
        return f"Friedman test: too few, it takes {too_few} or more."
    rank_of = ranking.ranked[0].mean_rank or 0.0
    near = [s.method.label for s in ranking.ranked[1:] if (s.mean_rank or 0.0) - rank_of < found.critical_difference]
    names = f"not told apart from the first: {', '.join(near)}" if near else "the first is told apart from all others"
    return (
        f"Friedman test over {categories} categories and {methods} methods: χ² = {found.statistic:.2f}, "
        f"p = {found.p_value:.2g}. Nemenyi's critical difference of mean ranks at {LEVEL:g} is "
        f"{found.critical_difference:.2f}; {names}."
    )
