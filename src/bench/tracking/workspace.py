"""The workspace of a W&B project, built by code: the panels that show the runs of a benchmark."""

from collections.abc import Sequence

import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces.reports.v2.interface import Panel

from bench.config.tracks import OF_METHODS, ONE_CLASS
from bench.metrics.catalogue import column_title, title_of
from bench.records.costs import COSTS
from bench.tracking.charts import CONFUSION, PRECISION_RECALL, ROC, TEST_IMAGES

# W&B takes a config key with dots as one key only with the suffix `.value` that it stores keys under.
_METHOD = "model.name.value"
_CATEGORY = "category.value"
_HEADLINE = ONE_CLASS.headline
_TITLE = title_of(_HEADLINE)
_COSTS = ("fit_seconds", "milliseconds_per_image", "peak_memory_bytes")
_LOSSES = {"train/loss": "training loss", "validation/loss": "validation loss", "train/learning_rate": "learning rate"}
_FOLDS = 5  # of the presets; each fold has curves of its own
_MOST_RUNS = 1000


def build_workspace(entity: str, project: str, name: str) -> ws.Workspace:
    """Scores by category, cost against AUROC, seeds, curves: all from keys that every run of `bench` logs.

    The service is not asked, and nothing is saved.
    """
    return ws.Workspace(
        entity=entity,
        project=project,
        name=name,
        sections=[
            _section("Scores by category", [_bars(key, title, _CATEGORY) for key, title in _scores().items()]),
            _section(f"Cost against {_TITLE}", [_cost(name) for name in _COSTS]),
            _section("Spread over seeds", _over_seeds()),
            _section("Training", [_lines(key, title) for key, title in _LOSSES.items()]),
            _section("Test", _tests()),
        ],
        settings=ws.WorkspaceSettings(max_runs=100),
        runset_settings=ws.RunsetSettings(
            pinned_columns=["config:model.name.value", "config:category.value", "config:seed.value", *_columns()]
        ),
    )


def _scores() -> dict[str, str]:
    """Titles of the leaderboards' metrics by key; W&B would take a key with a dot for a nested value."""
    found = {
        key: f"{column_title(key, track)}, {track.name}" for track in reversed(OF_METHODS) for key in track.quality
    }
    return {key: title for key, title in reversed(found.items()) if "." not in key}


def _columns() -> list[str]:
    return [f"summary:{track.headline}" for track in OF_METHODS]


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


def _cost(name: str) -> wr.ScatterPlot:
    """AUROC against a cost, which W&B shows in the record's unit."""
    cost = COSTS[name]
    return wr.ScatterPlot(
        title=f"{_TITLE} against {cost.recorded or cost.title}",
        x=wr.SummaryMetric(f"cost/{name}"),
        y=wr.SummaryMetric(_HEADLINE),
        log_x=True,
    )


def _over_seeds() -> list[Panel]:
    """Mean and standard deviation of each method over the runs shown: with one category chosen, over its seeds."""
    bars = _bars(_HEADLINE, f"{_TITLE} by method, ± standard deviation", _METHOD)
    bars.groupby_rangefunc = "stddev"
    points = wr.ScatterPlot(
        title=f"{_TITLE} of each seed", x=wr.Config("seed"), y=wr.SummaryMetric(_HEADLINE), regression=False
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
