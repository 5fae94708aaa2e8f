"""Weights & Biases: the only file that knows it. A run is never lost because the service is away."""

import logging
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger

from bench.cell import Cell
from bench.config import flatten
from bench.console import say
from bench.errors import RunError, UsageError
from bench.record import PREDICTIONS, RECORD, Record

Mode = Literal["online", "offline", "disabled"]
_PROJECT = "bench"
_FILES = (RECORD, PREDICTIONS)
_SECONDS_TO_REACH_SERVICE = 20


def choose_mode(asked: str | None) -> Mode:
    """What was asked, else WANDB_MODE, else online where a key is present; never a prompt."""
    mode = asked or os.environ.get("WANDB_MODE", "")
    if mode == "online" and not _has_key():
        raise UsageError("--wandb online needs a key; run 'wandb login' or set WANDB_API_KEY (or use --wandb offline)")
    if mode in ("online", "offline", "disabled"):
        return mode  # type: ignore[return-value]
    return "online" if _has_key() else "offline"


class Tracker:
    """One run's W&B run, made on the main process only."""

    def __init__(self, cell: Cell, folder: Path, mode: Mode, *, track: str, group: str | None) -> None:
        self.run: Any = None
        self.folder = folder
        if mode == "disabled":
            return
        config = cell.config
        arguments = {
            "project": os.environ.get("WANDB_PROJECT", _PROJECT),
            "id": cell.fingerprint,
            "name": f"{config.model.name}-{config.category}-s{config.settings['seed']}",
            "group": group or config.model.name,
            "tags": [track, config.data.name, config.settings["protocol"]],
            "config": flatten(config.as_dict()),
            "dir": str(folder),
            "resume": "allow",
            "reinit": "finish_previous",
        }
        self.run = _start(arguments, mode)

    def logger(self, part: str = "") -> WandbLogger | Literal[False]:
        """What Lightning's Trainer logs to; names of curves begin with the part of the run, where it has several."""
        return WandbLogger(experiment=self.run, prefix=part) if self.run is not None else False

    def describe(self) -> dict[str, Any] | None:
        """What the record says of the W&B run."""
        if self.run is None:
            return None
        mode = "offline" if self.run.settings._offline else "online"
        folder = os.path.relpath(Path(self.run.dir).parent, self.folder)
        url = self.run.url if mode == "online" else None
        return {"mode": mode, "project": self.run.project, "id": self.run.id, "url": url, "folder": folder}

    def finish(self, record: Record) -> None:
        """Write the metrics as the summary and close; the record is on disk already."""
        if self.run is None:
            return
        for name, value in record.metrics.items():
            self.run.summary[name] = value
        for defect_type, values in record.metrics_by_defect.items():
            for name, value in values.items():
                self.run.summary[f"by_defect/{defect_type}/{name}"] = value
        self.run.summary["status"] = record.status
        for name in _FILES:  # so that a leaderboard can be made from the project alone
            if (self.folder / name).is_file():
                self.run.save(str(self.folder / name), base_path=str(self.folder), policy="now")
        described = self.describe() or {}
        self.run.finish(exit_code=0 if record.status == "finished" else 1)
        if described.get("mode") == "offline":
            say(f"W&B run kept offline; send it with: wandb sync {self.folder / described['folder']}")


def download_records(project: str, folder: Path) -> list[str]:
    """Fetch record and predictions of the finished runs of ENTITY/PROJECT to `folder`/ID; lines on what is missing."""
    if project.count("/") != 1 or not all(project.split("/")):
        raise UsageError(f"'{project}' names no W&B project; write --from-wandb ENTITY/PROJECT")
    if not _has_key():
        raise UsageError("--from-wandb needs a key; run 'wandb login' or set WANDB_API_KEY")
    import wandb

    problems = []
    try:
        for run in wandb.Api().runs(project, filters={"state": "finished"}):
            files = {file.name: file for file in run.files(names=list(_FILES))}
            if RECORD not in files:
                problems.append(f"W&B run {project}/{run.id} ({run.name}) holds no {RECORD}; run the cell again")
                continue
            for file in files.values():
                file.download(root=str(folder / run.id), replace=True)
    except (wandb.Error, ValueError, OSError) as error:  # a project that does not exist is a ValueError
        raise RunError(f"W&B: {' '.join(str(error).split()) or type(error).__name__}") from error
    return problems


def _start(arguments: Mapping[str, Any], mode: Mode) -> Any:
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    settings = wandb.Settings(silent=True, console="off", init_timeout=_SECONDS_TO_REACH_SERVICE)
    if mode == "online":
        try:
            return wandb.init(mode="online", settings=settings, **arguments)
        except (wandb.Error, OSError) as error:
            wandb.teardown()  # its service holds the run's id still
            say(f"W&B cannot be reached ({str(error).splitlines()[0]}); the run goes on offline")
    return wandb.init(mode="offline", settings=settings, **arguments)


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
