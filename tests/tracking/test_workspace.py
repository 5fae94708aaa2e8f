"""The workspace: every key that a panel names is one that real runs carry."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fake_data import write_category
from offline_runs import OfflineRun, read_offline_run

interface = pytest.importorskip("wandb_workspaces.reports.v2", reason="the extra 'workspaces' is not installed")

FOLDS = ("--model", "classifier", "--model.library", "timm", "--model.backbone", "test_resnet")
FOLDED = (*FOLDS, "--model.weights", "none", "--data.image_size", "32", "--trainer.max_epochs", "1")


@pytest.fixture(scope="module")
def real_runs(bench, quick, tmp_path_factory) -> list[OfflineRun]:
    """A one-class run and a classifier's, over five folds."""
    folder = tmp_path_factory.mktemp("real")
    root = write_category(folder / "labelled", train=14, good=6, defects={"blob": 9, "scratch": 7}).parent
    labelled = ("--category", "screw", "--data.root", root, "--trainer.accelerator", "cpu")
    held_out = ("--data.validation_share", "0.2")
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        for name, options in (("one-class", quick), ("supervised", (*FOLDED, *labelled, *held_out))):
            outcome = bench("fit", *options, "--runs", folder / name, "--wandb", "offline")
            assert outcome.status == 0, outcome.stderr
            found.append(read_offline_run(folder / name))
    return found


@pytest.fixture(scope="module")
def workspace() -> Any:
    from bench.tracking.workspace import build_workspace

    return build_workspace("someone", "defects", "bench")


def keys_of(panel: Any) -> Iterator[tuple[str, str]]:
    """Where a panel looks, and for what; a kind of panel that is not known here fails the test."""
    kind = type(panel).__name__
    if kind == "LinePlot":
        yield from (("logged", key) for key in (panel.x, *panel.y))
    elif kind == "ScatterPlot":
        for axis in (panel.x, panel.y):
            yield ("config" if type(axis).__name__ == "Config" else "logged"), axis.name
    elif kind == "BarPlot":
        yield from (("logged", key) for key in panel.metrics)
        yield "config", panel.groupby.removesuffix(".value")
    elif kind == "CustomChart":
        yield "logged", panel.query["summaryTable"]["tableKey"]
    elif kind == "WeavePanelSummaryTable":
        yield "logged", panel.table_name
    else:
        raise AssertionError(f"which keys does a {kind} show?")


@pytest.mark.slow
def test_every_key_of_every_panel_is_carried_by_real_runs(workspace, real_runs):
    carried = {
        "logged": set().union(*(run.keys for run in real_runs)),
        "config": set().union(*(run.config.keys() for run in real_runs)),
    }
    named = [
        (section.name, place, key)
        for section in workspace.sections
        for panel in section.panels
        for place, key in keys_of(panel)
    ]
    assert len(named) > 40
    assert [missing for missing in named if missing[2] not in carried[missing[1]]] == []


@pytest.mark.slow
def test_pinned_columns_are_carried_by_real_runs(workspace, real_runs):
    for column in workspace.runset_settings.pinned_columns:
        place, _, key = column.partition(":")
        if place == "run":
            continue
        known = [run.config if place == "config" else run.summary for run in real_runs]
        assert any(key.removesuffix(".value") in keys for keys in known), column


@pytest.mark.slow
def test_columns_of_charts_are_those_of_their_tables(workspace, real_runs):
    tables = {}
    for run in real_runs:
        for key in ("roc_table", "precision_recall_table", "confusion_matrix_table"):
            if f"{key}/path" in run.summary:
                tables[key] = run.table(key)[0]
    panels = [panel for section in workspace.sections for panel in section.panels]
    charts = {p.query["summaryTable"]["tableKey"]: p.chart_fields for p in panels if type(p).__name__ == "CustomChart"}
    assert charts.keys() == tables.keys()
    for key, fields in charts.items():
        assert set(fields.values()) <= set(tables[key]), key


@pytest.mark.slow
def test_a_classifier_s_confusion_matrix_is_that_of_its_record(real_runs):
    run = real_runs[1]
    record = json.loads((run.folder.parents[1] / "record.json").read_text(encoding="utf-8"))
    columns, rows = run.table("confusion_matrix_table")
    assert columns == ["Actual", "Predicted", "nPredictions"]
    classes, counts = record["confusion"]["classes"], record["confusion"]["counts"]
    assert {(a, p): n for a, p, n in rows} == {
        (a, p): counts[i][j] for i, a in enumerate(classes) for j, p in enumerate(classes)
    }


@pytest.mark.slow
def test_a_classifier_s_table_has_one_row_per_image_of_all_folds(real_runs):
    run = real_runs[1]
    columns, rows = run.table("test_images")
    assert len({row[0] for row in rows}) == len(rows) == 14 + 6 + 9 + 7
    assert {row[4] for row in rows} <= {"good", "blob", "scratch"}
    errors = [row[columns.index("error")] for row in rows]
    assert errors == sorted(errors, reverse=True)
    assert all(0 <= error <= 1 for error in errors)
    assert {row[0] for row in run.table("roc_table")[1]} == {"any defect", "good", "blob", "scratch"}


def test_a_dry_run_prints_the_workspace_and_needs_no_key(bench):
    outcome = bench("wandb", "workspace", "someone/defects", "--dry-run")
    assert outcome.status == 0, outcome.stderr
    spec = json.loads(outcome.stdout)
    assert (spec["entity"], spec["project"], spec["displayName"]) == ("someone", "defects", "bench")
    sections = [section["name"] for section in spec["spec"]["section"]["panelBankConfig"]["sections"]]
    assert sections == ["Scores by category", "Cost against image AUROC", "Spread over seeds", "Training", "Test"]


def test_it_is_saved_through_w_and_b_s_own_client(bench, monkeypatch):
    """What the client sends, up to the line to the service."""
    sent = []
    view = {"upsertView": {"view": {"id": "1", "name": "nw-1-v"}, "inserted": True}}

    def answer(_api: Any, query: str, variables: Any = None) -> Any:
        sent.append((query, variables))
        return view

    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb.Api", lambda *_, **__: object())
    monkeypatch.setattr("wandb_workspaces.workspaces.internal.execute_graphql", answer)
    monkeypatch.setattr("wandb_workspaces.workspaces.interface.get_app_url", lambda _: "https://example.org/")
    outcome = bench("wandb", "workspace", "someone/defects", "--name", "mine")
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.startswith("https://example.org/someone/defects")
    ((query, variables),) = [(q, v) for q, v in sent if "mutation" in q]
    assert "upsertView" in query
    assert (variables["entityName"], variables["projectName"], variables["displayName"]) == (
        "someone",
        "defects",
        "mine",
    )
    assert "image_auroc" in variables["spec"]


def test_a_service_that_refuses_is_one_line(bench, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setattr("wandb_workspaces.workspaces.interface.Workspace.save", lambda _: 1 / 0)
    outcome = bench("wandb", "workspace", "someone/defects")
    assert (outcome.status, outcome.stderr) == (1, "bench: W&B: division by zero; the workspace is not saved\n")


def test_without_its_package_a_workspace_is_refused(refuse, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    monkeypatch.delitem(sys.modules, "bench.tracking.workspace", raising=False)
    line = refuse("wandb", "workspace", "someone/defects", "--dry-run")
    assert "pip install 'bench[workspaces]'" in line


@pytest.mark.parametrize("name", ["defects", "/defects", "someone/", "a/b/c"])
def test_a_name_that_is_no_project_is_refused(refuse, name):
    assert "write bench wandb workspace ENTITY/PROJECT" in refuse("wandb", "workspace", name)


def test_a_workspace_needs_a_key(refuse, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    assert "needs a key; run 'wandb login'" in refuse("wandb", "workspace", "someone/defects")


def test_another_action_is_refused(refuse):
    assert "unknown action 'workspce'; did you mean 'workspace'?" in refuse("wandb", "workspce", "someone/defects")
