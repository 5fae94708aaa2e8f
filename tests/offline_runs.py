"""What a real offline run file of W&B holds, read back."""

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32 * 1024
SECONDS_TO_WRITE = 30


@dataclass
class OfflineRun:
    """Names are as W&B shows them, nested ones joined by slashes."""

    folder: Path
    run: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    directions: dict[str, str] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    system: set[str] = field(default_factory=set)
    exit_code: int | None = None

    def table(self, key: str) -> tuple[list[str], list[list[Any]]]:
        """Columns and rows of a logged table."""
        content = json.loads((self.folder / "files" / self.summary[f"{key}/path"]).read_text(encoding="utf-8"))
        return content["columns"], content["data"]

    def artifact(self, kind: str) -> Any:
        """The only artifact of a type; None without one."""
        found = [artifact for artifact in self.artifacts if artifact.type == kind]
        assert len(found) < 2, f"{len(found)} artifacts are a {kind}"
        return found[0] if found else None

    @property
    def entries(self) -> list[Any]:
        """The files of all artifacts."""
        return [entry for artifact in self.artifacts for entry in artifact.manifest.contents]

    @property
    def keys(self) -> set[str]:
        """What a panel can show: summary, history and configuration, tables by their own key."""
        logged = {key for row in self.history for key in row} | self.summary.keys()
        tables = {key.removesuffix("/_type") for key in logged if key.endswith("/_type")}
        return logged | tables


def read_offline_run(folder: Path) -> OfflineRun:
    """The only offline run below `folder`, once W&B's own process has written the end of it."""
    end = time.monotonic() + SECONDS_TO_WRITE
    while (found := _read(*folder.rglob("*.wandb"))).exit_code is None and time.monotonic() < end:
        time.sleep(0.05)
    return found


def _read(file: Path) -> OfflineRun:
    from wandb.proto import wandb_internal_pb2

    found = OfflineRun(file.parent)
    for data in messages(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        _add(found, record.WhichOneof("record_type"), record)
    return found


def messages(content: bytes) -> Iterator[bytes]:
    """The messages of a .wandb file: LevelDB's log format (pieces within blocks of 32 KiB) behind seven bytes."""
    assert content[:4] == b":W&B"
    place, pieces = 7, b""
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several pieces
            yield pieces
            pieces = b""


def _add(found: OfflineRun, kind: str, record: Any) -> None:
    if kind == "run":
        found.run = record.run
        found.config |= _values(record.run.config.update)
    elif kind == "config":
        found.config |= _values(record.config.update)
    elif kind == "summary":
        found.summary |= _values(record.summary.update)
    elif kind == "history":
        found.history.append(_values(record.history.item))
    elif kind == "metric" and record.metric.name:
        found.directions[record.metric.name] = "max" if record.metric.summary.max else "min"
    elif kind == "artifact":
        found.artifacts.append(record.artifact)
    elif kind == "stats":
        found.system |= {item.key for item in record.stats.item}
    elif kind == "exit":
        found.exit_code = record.exit.exit_code


def _values(items: Any) -> dict[str, Any]:
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}
