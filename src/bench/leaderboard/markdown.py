"""Leaderboards as Markdown, to be read."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from bench.cell import PROTOCOL
from bench.comparison import MARK, reference_of
from bench.leaderboard.aggregate import Method, Row, TableKey
from bench.leaderboard.columns import TRACKS
from bench.leaderboard.markdown_cells import figure, fingerprints, grid, published, seeds
from bench.leaderboard.markdown_ranking import describe_costs, describe_ranking
from bench.leaderboard.tables import Section, Table

_SOME = "†"
_ABOUT = """\
Mean ± standard deviation over seeds; no ± for a single seed. Accuracy is taken at a threshold from held-out normal \
images. MVTec AD has no validation split with defects: every choice made by looking at these figures was made on test \
images.
"""
_ABOUT_SUPERVISED = """\
Mean ± standard deviation over seeds; no ± for a single seed. These methods were shown labelled defects of the same \
types: no figure here compares with one of a one-class method.
"""
_ABOUT_INTERVALS = """\
"To the best" is the difference of image AUROC to the method with the highest one, averaged over the seeds that both \
have, with the 95 % interval of a paired bootstrap over test images within defect types. It holds what other images \
would change, not what other seeds or training images would. Where it excludes 0, the best is better by more than the \
choice of images; it was picked as the largest of several, so the interval flatters it a little.
"""


def render_markdown(name: str, tables: Sequence[Table], out: Path) -> str:
    """For each table the ranking and the costs, then a section for each category."""
    about = _ABOUT_SUPERVISED if tables[0].key.track == "supervised" else _ABOUT
    parts = [f"# {name}\n", about]
    if any(section.differences for table in tables for section in table.sections):
        parts.append(_ABOUT_INTERVALS)
    for table in tables:
        parts.append(_head(table))
        parts += [describe_ranking(table.key, ranking, len(table.rankings)) for ranking in table.rankings]
        parts.append(describe_costs(table.rankings[0]))
        several = {s.category for s in table.sections if sum(o.category == s.category for o in table.sections) > 1}
        parts += [_section(table.key, section, out, section.category in several) for section in table.sections]
        parts.append(_footnotes(table))
    return "\n".join(filter(None, parts))


def _head(table: Table) -> str:
    key = table.key
    if key.dataset == "mvtec_ad":
        images = "MVTec's own images" if key.official else "Images that differ from MVTec's own"
    else:
        images = f"Images of {key.dataset}"
    pixels = "the model's resolution" if key.protocol == "model" else "the masks' own resolution"
    title = f"## {images}, pixels scored at {pixels}"
    if key.fold:
        title += ", all folds pooled" if key.fold == "all" else f", fold {key.fold}"
    if key.protocol_version != PROTOCOL:
        title += f", by version {key.protocol_version} of the protocol"
    notes = [f"Note: {note}" for note in table.notes]
    shared = {row.method.model: ", ".join(row.method.shared) for section in table.sections for row in section.rows}
    notes += [f"Every {model} here: {settings}." for model, settings in sorted(shared.items()) if settings]
    return "\n\n".join([title, *notes]) + "\n"


def _section(key: TableKey, section: Section, out: Path, several: bool) -> str:
    lines = [f"### {section.category}{f' ({section.digest[:12]})' if several else ''}\n"]
    about = f"Images {section.digest[:12]}"
    if several:
        about += ", one of several sets of this category: figures compare within this table only"
    if not key.official and key.dataset == "mvtec_ad" and section.difference_from_official:
        about += f"; not MVTec's own: {'; '.join(section.difference_from_official)}"
    lines.append(f"{about}.\n")
    columns = TRACKS[key.track]
    printed = [name for name in columns.published if any(row.published_figure(name) for row in section.rows)]
    titles = ["method", "seeds", *columns.quality.values()]
    place = titles.index(columns.quality["image_auroc"]) + 1
    if section.differences:
        titles.insert(place, "to the best (95 %)")
    titles += [f"published {columns.quality[name]}" for name in printed]
    rows = []
    for row in section.rows:
        cells = [row.method.label, seeds(row, out), *(figure(row.summarise(metric)) for metric in columns.quality)]
        if section.differences:
            cells.insert(place, _difference(section, row))
        for metric in printed:
            own = row.summarise(metric)
            cells.append(published(row.published_figure(metric), own, comparable=not row.differences))
        rows.append(cells)
    lines += [grid(titles, rows), _remarks(section), fingerprints(section.rows, out)]
    return "\n".join(filter(None, lines))


def _difference(section: Section, row: Row) -> str:
    if row.method == section.best:
        return "best"
    found = section.differences.get(row.method)
    if found is None or isinstance(found, str):
        return "-"
    value, low, high = found.difference
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{_SOME if _some_seeds(section, row.method) else ''}"


def _some_seeds(section: Section, method: Method) -> str:
    """The seeds of a difference where they are not all of both methods, so that the means say something else."""
    found = section.differences[method]
    if isinstance(found, str):
        return ""
    seeds = {row.method: [record.seed for record in row.records] for row in section.rows}
    apart = any(seeds[name] != list(found.seeds) for name in (method, section.best) if name is not None)
    return ", ".join(map(str, found.seeds)) if apart else ""


def _remarks(section: Section) -> str:
    """Which differences are over some of the seeds alone, and why some methods have none."""
    some, none = defaultdict(list), defaultdict(list)
    for method, found in section.differences.items():
        if isinstance(found, str):
            none[found].append(method.label)
        elif seeds := _some_seeds(section, method):
            some[seeds].append(method.label)
    parts = []
    if some:
        listed = "; ".join(f"{seeds} ({', '.join(labels)})" for seeds, labels in sorted(some.items()))
        parts.append(f"{_SOME} Not the difference of the means shown, but over the seeds that both have: {listed}.")
    if none:
        listed = "; ".join(f"{reason} ({', '.join(labels)})" for reason, labels in sorted(none.items()))
        parts.append(f"No difference to the best: {listed}.")
    return "\n\n".join(parts) + "\n" if parts else ""


def _footnotes(table: Table) -> str:
    """The files of weights, whose figures were published, and why some are not compared."""
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
        parts.append(f"\\{MARK} Not the published protocol, so no difference is shown: {causes}.")
    return "### Notes\n\n" + "\n\n".join(parts) + "\n" if parts else ""
