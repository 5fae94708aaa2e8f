"""Leaderboards as Markdown to read and CSV to compute with."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

from bench.comparison import MARK, describe_figure, reference_of
from bench.errors import UsageError
from bench.leaderboard.aggregate import Row, Summary, TableKey, aggregate, read_records
from bench.record import Record, write_atomically

_QUALITY = {
    "image_auroc": "image AUROC",
    "image_accuracy": "accuracy",
    "image_balanced_accuracy": "balanced accuracy",
    "pixel_auroc": "pixel AUROC",
    "aupro_0.30": "AUPRO@0.30",
}
_PUBLISHED = ("image_auroc", "pixel_auroc")
_COST = {
    "fit_seconds": ("fit (s)", 1.0, 1),
    "milliseconds_per_image": ("ms per image", 1.0, 1),
    "peak_memory_bytes": ("peak memory (MiB)", 2.0**20, 0),
    "parameters": ("parameters (M)", 1e6, 2),
}


def write_leaderboards(folders: Iterable[Path], out: Path) -> list[Path]:
    """Write `<dataset>-<track>.md` and `.csv` for the records below `folders`; the same records give the same bytes."""
    tables = aggregate(read_records(folders))
    if not tables:
        raise UsageError(f"no finished record in {', '.join(map(str, folders))}")
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, keys in groupby(tables, key=lambda key: f"{key.dataset}-{key.track}"):
        chosen = {key: tables[key] for key in keys}
        paths.append(write_atomically(out / f"{name}.md", render_markdown(name, chosen)))
        paths.append(write_atomically(out / f"{name}.csv", render_csv(chosen)))
    return paths


def render_markdown(name: str, tables: dict[TableKey, list[Row]]) -> str:
    """One table per protocol, kind of data and category."""
    parts = [
        f"# {name}\n",
        "Mean ± standard deviation over seeds; no ± for a single seed. Accuracy is taken at a threshold from held-out "
        "normal images. MVTec AD has no validation split with defects: every choice made by looking at these figures "
        "was made on test images.\n",
    ]
    for table, rows in tables.items():
        for (category, digest), found in groupby(rows, key=lambda row: (row.key.category, row.key.digest)):
            parts.append(_section(table, category, digest, list(found)))
    return "\n".join(parts)


def render_csv(tables: dict[TableKey, list[Row]]) -> str:
    """One line per method, category and metric, with full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "dataset",
            "track",
            "protocol",
            "official",
            "category",
            "digest",
            "model",
            "variant",
            "metric",
            "mean",
            "spread",
            "seeds",
            "published",
            "published_for",
        ]
    )
    for table, rows in tables.items():
        for row in rows:
            metrics = sorted({name for record in row.records for name in record.metrics})
            figures = [(name, row.summarise(name)) for name in metrics]
            figures += [(name, row.summarise_cost(name)) for name in _COST]
            seeds = " ".join(str(record.seed) for record in row.records)
            for name, summary in figures:
                if summary is not None:
                    spread = "" if summary.spread is None else repr(summary.spread)
                    place = [*table[:3], str(table.official).lower(), row.key.category, row.key.digest]
                    figure = row.published_figure(name)
                    published = [repr(figure.value), figure.of] if figure else ["", ""]
                    own = [row.key.model, row.key.variant, name, repr(summary.mean), spread, seeds]
                    writer.writerow([*place, *own, *published])
    return text.getvalue()


def _section(table: TableKey, category: str, digest: str, rows: Sequence[Row]) -> str:
    resolution = "the model's resolution" if table.protocol == "model" else "the masks' own resolution"
    lines = [f"## {category}\n", f"Pixels scored at {resolution}; data {digest[:12]}."]
    if not table.official and (differences := rows[0].records[0].data.differences):
        lines.append(f"Not MVTec's own data: {'; '.join(differences)}.")
    published = [name for name in _PUBLISHED if any(row.published_figure(name) for row in rows)]
    titles = ["method", "seeds", *_QUALITY.values(), *(f"published {_QUALITY[name]}" for name in published)]
    titles += [*(title for title, _, _ in _COST.values()), "machine"]
    lines += ["", f"| {' | '.join(titles)} |", f"|---|{'---:|' * (len(titles) - 2)}---|"]
    for row in rows:
        cells = [_method(row), str(len(row.records)), *(_figure(row.summarise(metric), 4) for metric in _QUALITY)]
        cells += [_published(row, metric) for metric in published]
        for cost, (_, unit, digits) in _COST.items():
            summary = row.summarise_cost(cost)
            cells.append(f"{summary.mean / unit:.{digits}f}" if summary else "-")
        devices = sorted({_machine(record) for record in row.records})
        lines.append(f"| {' | '.join([*cells, ', '.join(devices)])} |")
    if published:
        lines += _footnotes([row for row in rows if any(map(row.published_figure, published))])
    return "\n".join(lines) + "\n"


def _footnotes(rows: Sequence[Row]) -> list[str]:
    """Whose figures were published, and why some are not compared."""
    pairs = {(record.model, found.id) for row in rows for record in row.records if (found := reference_of(record))}
    lines = ["", f"Published: {', '.join(f'{model} `{reference}`' for model, reference in sorted(pairs))}."]
    reasons: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        for reason in row.differences():
            reasons[reason].append(_method(row))
    if reasons:
        causes = "; ".join(f"{reason} ({', '.join(methods)})" for reason, methods in reasons.items())
        lines += ["", f"\\{MARK} Not the published protocol, so no difference is shown: {causes}."]
    return lines


def _method(row: Row) -> str:
    return f"{row.key.model} ({row.key.variant})" if row.key.variant else row.key.model


def _published(row: Row, metric: str) -> str:
    figure, own = row.published_figure(metric), row.summarise(metric)
    if figure is None:
        return "-"
    text = describe_figure(figure, own.mean if own else None, comparable=not row.differences())
    return text.replace(MARK, f"\\{MARK}")


def _machine(record: Record) -> str:
    """The GPU, or the processor with the threads it ran."""
    environment = record.environment
    return str(environment.get("gpu") or f"{environment.get('processor')}, {environment.get('threads')} threads")


def _figure(summary: Summary | None, digits: int) -> str:
    if summary is None:
        return "-"
    spread = "" if summary.spread is None else f" ± {summary.spread:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"
