"""The tables that commands print: a record, a repeated test, the methods."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.config.presets import Preset, owner_of
from bench.config.tracks import TRACKS
from bench.console import add_row, plain_console
from bench.data.folds import describe_limits
from bench.escaping import terminal
from bench.metrics.catalogue import BY_TYPE, interval_text, metric_text, title_of
from bench.records.costs import cost_rows
from bench.records.product_table import ALL_TOGETHER, product_table
from bench.records.published_comparison import MARK, describe_figure, differences, published_figure, reference_of
from bench.records.record import CostRecord, Interval, Metrics, Record
from bench.records.summary import remarks, summary

if TYPE_CHECKING:  # imports torch, which `bench models` does not need
    from bench.evaluation.evaluation import Evaluation


def print_record(record: Record, folder: Path, *, as_json: bool) -> None:
    """Print the record as tables, or as JSON."""
    if as_json:
        print(json.dumps(record.model_dump(by_alias=True), indent=2))
        return
    console = plain_console()
    console.print(_title(record, f"seed {record.seed}"))
    _print_summary(console, record)
    if not record.official and (owner := owner_of(record.dataset)):
        console.print(terminal(f"not {owner}'s own data: {'; '.join(record.data.differences)}"))
    if record.weights.get("source") == "none" and "weights" in record.config["model"]:
        console.print("random backbone: --model.weights none was asked for")
    _print_products(console, record)
    by_defect = record.metrics_by_defect if record.products is None else {}  # types of several products are no types
    _print_metrics(console, record, record.metrics, by_defect, record.intervals)
    if record.data.classes is not None:
        types = [name for name, count in record.data.classes.items() for _ in range(count)]
        for line in describe_limits(types, record.config["data"]["folds"]):
            console.print(terminal(line), soft_wrap=True)
    if record.cost is not None:
        console.print(_cost_table(record.cost))
    console.print(terminal(f"record    {folder / 'record.json'}"), soft_wrap=True)
    pictures = sorted(folder.glob("*.png"))
    if pictures:
        names = ", ".join(path.name for path in pictures)
        console.print(terminal(f"pictures  {folder} ({names})"), soft_wrap=True)


def print_test(evaluation: "Evaluation", record: Record, *, as_json: bool) -> None:
    """Print the metrics of a repeated test, and whether they equal those of the record."""
    new = evaluation.metrics
    if as_json:
        found: dict[str, Any] = {"metrics": new, "metrics_by_defect": evaluation.metrics_by_defect}
        if evaluation.products is not None:
            found["products"] = {name: each.metrics for name, each in evaluation.products.items()}
        print(json.dumps(found, indent=2))
        return
    console = plain_console()
    again = record.changed(**evaluation.figures())
    console.print(_title(record, "tested again"))
    _print_summary(console, again)
    _print_products(console, again)
    by_defect = evaluation.metrics_by_defect if again.products is None else {}
    _print_metrics(console, record, new, by_defect, evaluation.intervals)
    pairs = [(new.get(name), value) for name, value in record.metrics.items()]
    for product, each in (record.products or {}).items():
        now = (again.products or {})[product].metrics
        pairs += [(now.get(name), value) for name, value in each.metrics.items()]
    largest = max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)
    same = "the same figures as in the record" if largest == 0 else f"largest difference from the record: {largest:.2g}"
    console.print(same)


def print_models(presets: Sequence[Preset]) -> None:
    """Print one line per method."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("name", "track", "paper", "what it is"):
        table.add_column(title, no_wrap=title in ("name", "track"))
    for preset in presets:
        add_row(table, [preset.name, preset.track, preset.paper, preset.about])
    plain_console().print(table)


def _title(record: Record, what: str) -> Text:
    model, category, dataset = map(terminal, (record.model, record.category, record.dataset))
    return Text.assemble("\n", (model, "bold"), " on ", (category, "bold"), f" ({dataset}), {what}")


def _print_summary(console: Console, record: Record) -> None:
    """Print what was found in a sentence, and what a reader of the figures must know."""
    if sentence := summary(record):
        console.print(terminal(sentence), soft_wrap=True)
    for line in remarks(record):
        console.print(terminal(f"- {line}"), soft_wrap=True)


def _print_products(console: Console, record: Record) -> None:
    """Print a row for each product that the model is for, and their mean; then the title of what follows."""
    found = product_table(record)
    if found is None:
        return
    table = Table(box=box.SIMPLE, pad_edge=False, collapse_padding=True)
    for title in found.titles:
        words = title in ("product", "95 % interval")
        # Titles are broken between words, and long names of products anywhere; no figure is ever cut.
        longest = max(map(len, title.split()))
        table.add_column(title, justify="left" if words else "right", overflow="fold", min_width=longest)
    for row in found.rows:
        add_row(table, row)
    console.print(table)
    console.print(f"{ALL_TOGETHER}:")


def _print_metrics(
    console: Console,
    record: Record,
    metrics: Metrics,
    by_defect: dict[str, Metrics],
    intervals: dict[str, Interval | None],
) -> None:
    apart = differences(record)
    figures = {name: figure for name in metrics if (figure := published_figure(record, name))}
    table = Table(box=box.SIMPLE, pad_edge=False, show_header=bool(figures or intervals))
    table.add_column()
    table.add_column("this run", justify="right")
    if intervals:
        table.add_column("95 % interval", no_wrap=True)
    if figures:
        table.add_column("published")
    for name, value in metrics.items():
        figure = figures.get(name)
        shown = [describe_figure(figure, value, comparable=not apart)] if figure else []
        between = [interval_text(intervals.get(name))] if intervals else []
        add_row(table, [title_of(name), metric_text(value), *between, *shown])
    console.print(table)
    if figures:
        _print_source(console, record, figures, apart)
    if not by_defect:
        return
    columns = [name for name in BY_TYPE if any(name in values for values in by_defect.values())]
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(TRACKS[record.track].group, no_wrap=True)
    for name in columns:
        table.add_column(BY_TYPE[name], justify="right", overflow="fold")
    for defect_type, values in by_defect.items():
        add_row(table, [defect_type, *(metric_text(values.get(name)) for name in columns)])
    console.print(table)


def _print_source(console: Console, record: Record, figures: Collection[str], apart: Sequence[str]) -> None:
    reference = reference_of(record)
    assert reference is not None
    rows = reference.metrics_of(record.dataset).items()
    sources = {f"{row.source} ({row.kind})" for name, row in rows if name in figures}
    console.print(f"published: {reference.name}; {'; '.join(sorted(sources))}", soft_wrap=True)
    if reference.note:
        console.print(reference.note, soft_wrap=True)
    if apart:
        line = f"{MARK} not the published protocol, so no difference is shown: {'; '.join(apart)}"
        console.print(terminal(line), soft_wrap=True)


def _cost_table(cost: CostRecord) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name, value in cost_rows(cost):
        add_row(table, [name, value])
    return table
