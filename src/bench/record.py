"""The record of a run: one validated JSON file, written whole or not at all."""

import csv
import hashlib
import io
import json
import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.config import flatten
from bench.decisive import is_as_before, makes_method
from bench.errors import UsageError

SCHEMA = 1
RECORD = "record.json"
PREDICTIONS = "predictions.csv"
Status = Literal["finished", "failed", "interrupted"]
Metrics = dict[str, float | None]
Interval = tuple[float, float]


class DataRecord(BaseModel):
    """What was learned from and tested on."""

    model_config = ConfigDict(extra="forbid")
    digest: str
    counts: dict[str, int]  # of the whole category, by folder
    classes: dict[str, int] | None = None  # images used of each class, where all are labelled
    validation_images: int
    differences: list[str]
    masks_without_pixels: int = 0  # defect masks that resizing or cropping emptied
    conversions: dict[str, int] = {}  # what reading did to the pixels, in words, and of how many images
    shapes: str | None = None  # what became of images that are not square
    predictions_sha256: str | None = None


class ConfusionMatrix(BaseModel):
    """Number of images by true class, the row, and predicted class, the column."""

    model_config = ConfigDict(extra="forbid")
    classes: list[str]
    counts: list[list[int]]


class CostRecord(BaseModel):
    """What the run took; `peak_memory_bytes` is the GPU's where there is one, else the process's."""

    model_config = ConfigDict(extra="forbid")
    device: str
    processes: int
    fit_seconds: float
    test_seconds: float
    milliseconds_per_image: float  # batch of one, warm, model only
    images_per_second: float  # the test's batch size, warm, model only
    peak_memory_bytes: int
    peak_memory_of: Literal["process", "gpu"]
    parameters: int
    trainable_parameters: int
    checkpoint_bytes: int
    epochs: int


class Record(BaseModel):
    """Everything that one run decided, measured and cost."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, validate_assignment=True)
    schema_version: int = Field(default=SCHEMA, alias="schema")
    status: Status
    error: str | None = None
    model: str
    track: Literal["one-class", "supervised"]
    dataset: str
    official: bool
    category: str
    seed: int
    fold: int | Literal["all"] | None = None
    fingerprint: str
    config: dict[str, Any]
    overrides: dict[str, Any]
    reference: str | None = None  # id of the published figures that the preset names
    differs: str = ""  # in what the preset's protocol is not that of the reference
    data: DataRecord
    weights: dict[str, str]
    metrics: Metrics = {}
    metrics_by_defect: dict[str, Metrics] = {}
    intervals: dict[str, Interval | None] = {}  # 95 %, from a bootstrap over the test images
    intervals_by_defect: dict[str, dict[str, Interval | None]] = {}
    confusion: ConfusionMatrix | None = None
    map_range: Interval | None = None  # values of anomaly maps where the colours of pictures begin and end
    cost: CostRecord | None = None
    environment: dict[str, Any]
    started: str
    command: str
    wandb: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        """What it was computed on: `cpu`, or a GPU by its name."""
        return self.cost.device if self.cost else str(self.environment.get("gpu") or "cpu")

    def write(self, folder: Path) -> Path:
        """Write `record.json` in `folder`."""
        text = json.dumps(self.model_dump(by_alias=True), indent=2, allow_nan=False, ensure_ascii=False)
        return write_atomically(folder / RECORD, text + "\n")

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a record; a UsageError names a file that is none."""
        file = path / RECORD if path.is_dir() else path
        try:
            record = cls.model_validate_json(file.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(f"no record at {file}") from error
        except (ValidationError, OSError) as error:
            if isinstance(error, ValidationError) and (newer := _newer_schema(file)):
                raise _too_new(file, newer) from error
            detail = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
            place = ".".join(map(str, detail["loc"]))
            raise UsageError(
                f"{file} is no record of this version ({place + ': ' if place else ''}{detail['msg']})"
            ) from error
        if record.schema_version > SCHEMA:
            raise _too_new(file, record.schema_version)
        return record


def _newer_schema(file: Path) -> int | None:
    """The schema of a later release, where that is why the record cannot be read."""
    with suppress(ValueError, AttributeError):
        schema = json.loads(file.read_bytes()).get("schema")
        return schema if isinstance(schema, int) and schema > SCHEMA else None
    return None


def _too_new(file: Path, schema: int) -> UsageError:
    return UsageError(f"{file} was written by a newer bench (schema {schema}, known is {SCHEMA}); update bench")


def changed_settings(record: Record) -> dict[str, Any]:
    """The overrides that make it another method or protocol than its preset's; weights are recorded apart."""
    return {key: value for key, value in sorted(record.overrides.items()) if makes_method(key)}


def flat_settings(record: Record) -> dict[str, Any]:
    """All settings that a method or protocol consists of, by their dotted names."""
    settings = flatten(record.config)
    return {key: value for key, value in settings.items() if makes_method(key) and not is_as_before(key, value)}


def settings_to_read(record: Record) -> dict[str, Any]:
    """Its settings for a command that only reads the run: where its cache lay is no place to write to."""
    data = {key: value for key, value in record.config.get("data", {}).items() if key != "cache"}
    return {**record.config, "data": data}


def write_atomically(path: Path, text: str) -> Path:
    """Write another file and rename it: a reader sees the old text or the new, never half of one."""
    with NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, suffix=".partial", delete=False, newline=""
    ) as file:
        partial = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            partial.replace(path)
        finally:
            with suppress(FileNotFoundError):
                partial.unlink()
    path.chmod(0o644)  # temporary files are private, records are not
    return path


def write_predictions(folder: Path, rows: list[dict[str, str]]) -> str:
    """Write `predictions.csv` in `folder`; its SHA-256."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["path", "sha256", "defect_type", "label", "score", "logits"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / PREDICTIONS, text.getvalue())
    return hashlib.sha256(text.getvalue().encode()).hexdigest()
