"""Leaderboards from the records of a W&B project, and their tables as a run of one."""

import csv
import io
import os
import shlex
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.config.names import check_name
from bench.console import say
from bench.errors import RunError, UsageError, first_line
from bench.records.record import PREDICTIONS, RECORD
from bench.tracking.answer import silence
from bench.tracking.service import begin, check_project, leave_service, make_table, named_mode, require_key, watched

_FILES = (RECORD, PREDICTIONS)
_TAG = "leaderboard"  # of runs that are no runs of a method
_TABLE = ("dataset", "track", "protocol", "official", "fold", "protocol_version")  # what a table has one of
_ROW = ("category", "digest", "model", "variant")


def download_records(project: str, folder: Path) -> list[str]:
    """Fetch record and predictions of the finished runs of ENTITY/PROJECT to `folder`/ID; lines on what is missing."""
    check_project(project, "--from-wandb")
    require_key("--from-wandb")
    require_answer("no record is read")
    import wandb

    problems = []
    try:
        for run in wandb.Api().runs(project, filters={"state": "finished"}):
            if _TAG in run.tags:
                continue
            files = {file.name: file for file in run.files(names=list(_FILES))}
            if RECORD not in files:
                problems.append(f"W&B run {project}/{run.id} ({run.name}) holds no {RECORD}; run the cell again")
                continue
            check_name("W&B run", run.id)  # it becomes a folder
            for file in files.values():
                file.download(root=str(folder / run.id), replace=True)
    except (wandb.Error, ValueError, OSError) as error:  # a project that does not exist is a ValueError
        raise RunError(f"W&B: {' '.join(str(error).split()) or type(error).__name__}") from error
    return problems


def check_upload(project: str) -> None:
    """A UsageError where `upload_tables` could not begin; said before minutes of bootstrap."""
    check_project(project, "--to-wandb")
    if named_mode() == "disabled":
        raise UsageError("--to-wandb sends nothing while WANDB_MODE is disabled; set it to online or offline")
    if named_mode() != "offline":
        require_key("--to-wandb")


def require_answer(consequence: str) -> None:
    """A RunError where the service does not answer: wandb would ask it for minutes."""
    if reason := silence():
        raise RunError(f"W&B cannot be reached ({reason}); {consequence}")


def upload_tables(project: str, files: Mapping[Path, str]) -> None:
    """Log what is in the CSV files as tables of a new run of ENTITY/PROJECT, and all files as one artifact."""
    entity, name = check_project(project, "--to-wandb")
    offline = named_mode() == "offline"
    if not offline:
        require_answer("the tables are written, but not logged")
    arguments = {"entity": entity, "project": name, "name": _TAG, "job_type": _TAG, "tags": [_TAG]}
    arguments["dir"] = os.environ.get("WANDB_DIR", str(Path.cwd()))
    try:
        import wandb

        run = begin(arguments, "offline" if offline else "online")
        for table, (columns, rows) in tables_of(files).items():
            run.log({table: make_table(columns, rows)})
        artifact = wandb.Artifact(_TAG, _TAG)
        for path in files:
            artifact.add_file(str(path.resolve()), path.name, policy="immutable")
        run.log_artifact(artifact)
        folder, url = Path(run.dir).parent, run.url
        with nullcontext() if offline else watched():
            run.finish()
    except Exception as error:  # of many kinds: none of them is ours
        leave_service()
        raise RunError(f"W&B: {first_line(error)}; the tables are written, but not logged") from error
    if offline:
        say(f"W&B run kept offline; send it with: wandb sync {shlex.quote(os.path.relpath(folder))}")
    else:
        say(f"logged: {url}")


def tables_of(files: Mapping[Path, str]) -> dict[str, tuple[list[str], list[list[Any]]]]:
    """Columns and rows of each table in the CSV files, by its name.

    A row per method and category; metrics beside each other, each with its spread over seeds where any row has one.
    """
    found: dict[str, dict[tuple[str, ...], dict[str, float]]] = {}
    for path, text in sorted(files.items()):
        if path.suffix != ".csv":
            continue
        for line in csv.DictReader(io.StringIO(text)):
            table = found.setdefault(_name(line), {})
            figures = table.setdefault(tuple(line[key][:12] if key == "digest" else line[key] for key in _ROW), {})
            for column, value in ((line["metric"], line["mean"]), (f"{line['metric']} ±", line["spread"])):
                if value:
                    figures[column] = float(value)
    return {name: _wide(rows) for name, rows in found.items()}


def _name(line: Mapping[str, str]) -> str:
    """`mvtec_ad-one-class-model-official-v2`: what W&B's panels know the table by."""
    parts = {
        "official": {"true": "official", "false": "not-official"}.get(line["official"], line["official"]),
        "fold": f"fold-{line['fold']}" if line["fold"] else "",
        "protocol_version": f"v{line['protocol_version']}",
    }
    return "-".join(filter(None, (parts.get(key, line[key]) for key in _TABLE)))


def _wide(rows: Mapping[tuple[str, ...], Mapping[str, float]]) -> tuple[list[str], list[list[Any]]]:
    columns = list(dict.fromkeys(column for figures in rows.values() for column in figures))
    data = [[*row, *(figures.get(column) for column in columns)] for row, figures in rows.items()]
    return [*_ROW, *columns], data
