"""What a person reads at the end of a run."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.comparison import MARK, describe_figure, differences, published_figure, reference_of
from bench.console import add_row, plain_console
from bench.data.folds import describe_limits
from bench.escaping import terminal
from bench.presets import Preset
from bench.record import CostRecord, Interval, Metrics, Record

if TYPE_CHECKING:  # it brings torch, and `bench models` needs none
    from bench.evaluation import Evaluation

TITLES = {
    "accuracy": "accuracy (all classes)",
    "balanced_accuracy": "balanced accuracy (all classes)",
    "macro_f1": "macro-F1",
    "calibration_error": "calibration error",
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max (oracle)",
    "image_accuracy": "accuracy",
    "image_balanced_accuracy": "balanced accuracy",
    "image_precision": "precision",
    "image_recall": "recall",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max (oracle)",
    "aupro_0.30": "AUPRO@0.30",
    "aupro_0.05": "AUPRO@0.05",
    "threshold": "threshold",
}
BY_DEFECT = {
    "count": "images",
    "recall": "recall",
    "precision": "precision",
    "f1": "F1",
    "image_auroc": "AUROC",
    "image_recall": "recall",
    "pixel_auroc": "pixel AUROC",
    "aupro_0.30": "AUPRO@0.30",
}


def print_record(record: Record, folder: Path, *, as_json: bool) -> None:
    """The record as tables, or as JSON."""
    if as_json:
        print(json.dumps(record.model_dump(by_alias=True), indent=2))
        return
    console = plain_console()
    console.print(_title(record, f"seed {record.seed}"))
    if not record.official and record.dataset == "mvtec_ad":
        console.print(terminal(f"not MVTec's own data: {'; '.join(record.data.differences)}"))
    if record.weights.get("source") == "none" and "weights" in record.config["model"]:
        console.print("random backbone: --model.weights none was asked for")
    _print_metrics(console, record, record.metrics, record.metrics_by_defect, record.intervals)
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
    """The figures of a repeated test, and whether they are those of the run."""
    new = evaluation.metrics
    if as_json:
        print(json.dumps({"metrics": new, "metrics_by_defect": evaluation.metrics_by_defect}, indent=2))
        return
    console = plain_console()
    console.print(_title(record, "tested again"))
    _print_metrics(console, record, new, evaluation.metrics_by_defect, evaluation.intervals)
    pairs = [(new.get(name), value) for name, value in record.metrics.items()]
    largest = max((abs(a - b) for a, b in pairs if a is not None and b is not None), default=0.0)
    same = "the same figures as in the record" if largest == 0 else f"largest difference from the record: {largest:.2g}"
    console.print(same)


def print_models(presets: Sequence[Preset]) -> None:
    """One line per method."""
    table = Table(box=box.SIMPLE, pad_edge=False)
    for title in ("name", "track", "paper", "what it is"):
        table.add_column(title, no_wrap=title in ("name", "track"))
    for preset in presets:
        add_row(table, [preset.name, preset.track, preset.paper, preset.about])
    plain_console().print(table)


def _title(record: Record, what: str) -> Text:
    model, category, dataset = map(terminal, (record.model, record.category, record.dataset))
    return Text.assemble("\n", (model, "bold"), " on ", (category, "bold"), f" ({dataset}), {what}")


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
        add_row(table, [TITLES.get(name, name), figure_text(value), *between, *shown])
    console.print(table)
    if figures:
        _print_source(console, record, figures, apart)
    if not by_defect:
        return
    columns = [name for name in BY_DEFECT if any(name in values for values in by_defect.values())]
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("class" if record.track == "supervised" else "defect type", no_wrap=True)
    for name in columns:
        table.add_column(BY_DEFECT[name], justify="right")
    for defect_type, values in by_defect.items():
        add_row(table, [defect_type, *(figure_text(values.get(name)) for name in columns)])
    console.print(table)


def _print_source(console: Console, record: Record, figures: Collection[str], apart: Sequence[str]) -> None:
    reference = reference_of(record)
    assert reference is not None
    sources = {f"{row.source} ({row.kind})" for name, row in reference.metrics.items() if name in figures}
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


def cost_rows(cost: CostRecord) -> list[tuple[str, str]]:
    """What a run took, with units."""
    return [
        ("fit", f"{cost.fit_seconds:.1f} s"),
        ("test", f"{cost.test_seconds:.1f} s"),
        ("one image", f"{cost.milliseconds_per_image:.1f} ms"),
        ("throughput", f"{cost.images_per_second:.1f} images/s"),
        (f"peak memory ({cost.peak_memory_of})", f"{cost.peak_memory_bytes / 2**20:.0f} MiB"),
        ("parameters", f"{cost.parameters:,} ({cost.trainable_parameters:,} trained)"),
        ("checkpoint", f"{cost.checkpoint_bytes / 2**20:.1f} MiB"),
        ("device", f"{cost.device} x {cost.processes}" if cost.processes > 1 else cost.device),
    ]


def interval_text(interval: Interval | None) -> str:
    """`0.912 to 0.987`, or nothing."""
    return f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""


def figure_text(value: float | None) -> str:
    """Four digits, `-` for a figure that is not defined."""
    if value is None:
        return "-"
    if abs(value) <= 1:
        return f"{value:.4f}"
    return f"{value:.0f}" if value.is_integer() else f"{value:.4g}"
