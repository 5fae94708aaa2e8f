"""The workspace of a W&B project, built by code: what the runs of a benchmark are looked at with."""

from collections.abc import Sequence

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces.reports.v2.interface import Panel

from bench.metrics.catalogue import TRACKS
from bench.tracking.charts import CONFUSION, PRECISION_RECALL, ROC, TEST_IMAGES

# Config keys with dots are one word to W&B only when they are written with the `.value` that it stores them under.
_METHOD = "model.name.value"
_CATEGORY = "category.value"
_COSTS = {
    "cost/fit_seconds": "fit (s)",
    "cost/milliseconds_per_image": "ms per image",
    "cost/peak_memory_bytes": "peak memory (bytes)",
}
_LOSSES = {"train/loss": "training loss", "validation/loss": "validation loss", "train/learning_rate": "learning rate"}
_FOLDS = 5  # of the presets; each has curves of its own
_MOST_RUNS = 1000


def build_workspace(entity: str, project: str, name: str) -> ws.Workspace:
    """Scores by category, cost against AUROC, the seeds' spread, curves: all of keys that every run of `bench` logs.

    Nothing is asked of the service, and nothing is saved.
    """
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            _section("Scores by category", [_bars(key, title, _CATEGORY) for key, title in _scores().items()]),
            _section("Cost against image AUROC", [_cost(key, title) for key, title in _COSTS.items()]),
            _section("Spread over seeds", _spread()),
            _section("Training", [_lines(key, title) for key, title in _LOSSES.items()]),
            _section("Test", _tests()),
        ],
        settings=ws.WorkspaceSettings(max_runs=100),
        runset_settings=ws.RunsetSettings(
            pinned_columns=["config:model.name.value", "config:category.value", "config:seed.value", *_columns()]
        ),
    )


def _scores() -> dict[str, str]:
    """Metrics of the leaderboards by their titles; one with a dot in its name W&B would take for a nested value."""
    found = {
        key: f"{title}, {track}"
        for track, columns in reversed(TRACKS.items())
        for key, title in columns.quality.items()
    }
    return {key: title for key, title in reversed(found.items()) if "." not in key}


def _columns() -> list[str]:
    return [f"summary:{columns.headline}" for columns in TRACKS.values()]


def _section(name: str, panels: Sequence[Panel]) -> ws.Section:
    return ws.Section(name=name, panels=list(panels), is_open=True)


def _bars(key: str, title: str, by: str) -> wr.BarPlot:
    """The mean of a metric over runs, with its range."""
    return wr.BarPlot(
        title=title,
        metrics=[key],
        groupby=by,
        groupby_aggfunc="mean",
        groupby_rangefunc="minmax",
        max_runs_to_show=_MOST_RUNS,
        orientation="v",
    )


def _cost(key: str, title: str) -> wr.ScatterPlot:
    return wr.ScatterPlot(
        title=f"image AUROC against {title}",
        x=wr.SummaryMetric(key),
        y=wr.SummaryMetric("image_auroc"),
        log_x=True,
    )


def _spread() -> list[Panel]:
    """By method, mean and standard deviation over the runs shown: choose one category, and they are its seeds."""
    bars = _bars("image_auroc", "image AUROC by method, ± standard deviation", _METHOD)
    bars.groupby_rangefunc = "stddev"
    points = wr.ScatterPlot(
        title="image AUROC of each seed", x=wr.Config("seed"), y=wr.SummaryMetric("image_auroc"), regression=False
    )
    return [bars, points]


def _lines(key: str, title: str) -> wr.LinePlot:
    folds = [f"fold-{fold}-{key}" for fold in range(_FOLDS)]
    return wr.LinePlot(title=title, x="epoch", y=[key, *folds], max_runs_to_show=100)


def _tests() -> list[Panel]:
    area = "wandb/area-under-curve/v0"
    curves = {ROC: ("ROC", "fpr", "tpr"), PRECISION_RECALL: ("Precision-recall", "recall", "precision")}
    panels: list[Panel] = []
    for key, (title, x, y) in curves.items():
        chart = _chart(key, {"x": x, "y": y, "class": "class"}, area)
        chart.chart_strings = {"title": title, "x-axis-title": x, "y-axis-title": y}
        panels.append(chart)
    columns = ("Actual", "Predicted", "nPredictions")
    confusion = _chart(CONFUSION, {name: name for name in columns}, "wandb/confusion_matrix/v1")
    return [*panels, confusion, wr.WeavePanelSummaryTable(table_name=TEST_IMAGES)]


def _chart(key: str, fields: dict[str, str], definition: str) -> wr.CustomChart:
    chart = wr.CustomChart.from_table(f"{key}_table", chart_fields=fields, chart_strings={})
    chart.chart_name = definition
    return chart
