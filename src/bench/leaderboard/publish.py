"""Copy finished runs beside the leaderboards, without data that identify a machine or a person."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.errors import UsageError
from bench.leaderboard.collect import collect
from bench.records.record import PREDICTIONS, RECORD, Record
from bench.writing import write_together, writing_to

_ROOT = "$BENCH_DATA"
# Options that no metric depends on; the published command leaves them out.
_PRIVATE = ("--runs", "--data.cache", "--wandb", "--wandb_images", "--group", "--resume")
_SWITCHES = ("--force", "--json", "--wandb_checkpoint")


def publish(folders: Sequence[Path], records: Path) -> list[str]:
    """Copy the finished runs below `folders`, each cell once, into `records`/MODEL/CATEGORY/FINGERPRINT.

    A run that cannot be trusted or has no predictions is left out; the problems are returned, one line each.
    """
    found = collect(folders)
    problems = found.problems
    complete = [source for source in found.sources if (source.folder / PREDICTIONS).is_file()]
    problems += [
        f"{source.folder} has no {PREDICTIONS}; run it again with --force"
        for source in found.sources
        if source not in complete
    ]
    for source in complete:
        record = source.record
        try:
            public = anonymise(record)
        except ValueError as error:
            problems.append(f"{source.folder / RECORD} has no command that could be published ({error})")
            continue
        target = records / record.model / record.category / record.fingerprint
        predictions = (source.folder / PREDICTIONS).read_bytes()
        with writing_to(records, "--out FOLDER"):
            target.mkdir(parents=True, exist_ok=True)
            write_together({target / PREDICTIONS: predictions, target / RECORD: public.to_json()})
    if not complete:
        raise UsageError("; ".join([f"no finished run in {', '.join(map(str, folders))}", *problems]))
    return problems


def anonymise(record: Record) -> Record:
    """The record without host, user, W&B account and folders; the hardware's model stays."""
    weights = record.weights["source"] if "sha256" in record.weights else None
    config = dict(record.config)
    config["data"] = config["data"] | {"root": _root(config["data"].get("root")), "cache": None}
    if config["data"].get("region"):
        config["data"]["region"] = _without_folder(config["data"]["region"])
    if weights:
        config["model"] = config["model"] | {"weights": weights}
    if config["model"].get("image_folder"):
        config["model"] = config["model"] | {"image_folder": _without_folder(config["model"]["image_folder"])}
    overrides = {k: v for k, v in record.overrides.items() if k != "data.cache"}
    if "data.root" in overrides:
        overrides["data.root"] = _ROOT
    if "data.region" in overrides:
        overrides["data.region"] = _without_folder(overrides["data.region"])
    if overrides.get("model.image_folder"):
        overrides["model.image_folder"] = _without_folder(overrides["model.image_folder"])
    if weights and "model.weights" in overrides:
        overrides["model.weights"] = weights
    environment = {k: v for k, v in record.environment.items() if k not in ("host", "platform")}
    command = _public_command(record.command)
    changes = {"config": config, "overrides": overrides, "environment": environment, "command": command, "wandb": None}
    return record.model_copy(update=changes)


def _without_folder(word: str) -> str:
    return Path(word).name if "/" in word else word


def _root(root: Any) -> str | None:
    return _ROOT if root else None


def _public_command(command: str) -> str:
    words = iter(shlex.split(command))
    kept: list[str] = []
    for word in words:
        key, equals, value = word.partition("=")
        if key in _SWITCHES:
            continue
        if not key.startswith("--"):
            kept.append(_without_folder(word))
            continue
        value = value if equals else next(words, "")
        if key not in _PRIVATE:
            kept += [key, _ROOT if key == "--data.root" else _without_folder(value)]
    return " ".join(word if word == _ROOT else shlex.quote(word) for word in kept)
