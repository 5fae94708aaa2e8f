"""Download the records of a W&B project for leaderboards, and upload their tables as a run of a project."""

import os
import shlex
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from bench.config.plain_names import check_name
from bench.console import say
from bench.errors import RunError, UsageError, first_line
from bench.records.record import PREDICTIONS, RECORD
from bench.tracking.service import begin, check_project, leave_service, make_table, named_mode, require_key, watched
from bench.tracking.service_answer import silence

_FILES = (RECORD, PREDICTIONS)
_TAG = "leaderboard"  # of W&B runs that hold tables, not the run of a method
WideTable = tuple[Sequence[str], Sequence[Sequence[Any]]]  # titles and rows


def download_records(project: str, folder: Path) -> list[str]:
    """Fetch record and predictions of the finished runs of ENTITY/PROJECT to `folder`/ID; return a line per problem."""
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
            check_name("W&B run", run.id)  # the id becomes a folder's name
            for file in files.values():
                file.download(root=str(folder / run.id), replace=True)
    except (wandb.Error, ValueError, OSError) as error:  # a project that does not exist is a ValueError
        raise RunError(f"W&B: {' '.join(str(error).split()) or type(error).__name__}") from error
    return problems


def check_upload(project: str) -> None:
    """Raise a UsageError where `upload_tables` could not begin, before minutes of bootstrap."""
    check_project(project, "--to-wandb")
    if named_mode() == "disabled":
        raise UsageError("--to-wandb sends nothing while WANDB_MODE is disabled; set it to online or offline")
    if named_mode() != "offline":
        require_key("--to-wandb")


def require_answer(consequence: str) -> None:
    """Raise a RunError where the service does not answer: wandb would retry for minutes."""
    if reason := silence():
        raise RunError(f"W&B cannot be reached ({reason}); {consequence}")


def upload_tables(project: str, tables: Mapping[str, WideTable], files: Collection[Path]) -> None:
    """Log the tables by their names as a new run of ENTITY/PROJECT, and the files that hold them as one artifact."""
    entity, name = check_project(project, "--to-wandb")
    offline = named_mode() == "offline"
    if not offline:
        require_answer("the tables are written, but not logged")
    arguments = {"entity": entity, "project": name, "name": _TAG, "job_type": _TAG, "tags": [_TAG]}
    arguments["dir"] = os.environ.get("WANDB_DIR", str(Path.cwd()))
    try:
        import wandb

        run = begin(arguments, "offline" if offline else "online")
        for table, (columns, rows) in tables.items():
            run.log({table: make_table(columns, rows)})
        artifact = wandb.Artifact(_TAG, _TAG)
        for path in files:
            artifact.add_file(str(path.resolve()), path.name, policy="immutable")
        run.log_artifact(artifact)
        folder, url = Path(run.dir).parent, run.url
        with nullcontext() if offline else watched():
            run.finish()
    except Exception as error:  # the package raises many types, none of them bench's
        leave_service()
        raise RunError(f"W&B: {first_line(error)}; the tables are written, but not logged") from error
    if offline:
        say(f"W&B run kept offline; send it with: wandb sync {shlex.quote(os.path.relpath(folder))}")
    else:
        say(f"logged: {url}")
