"""The record of a run: one validated JSON file, written whole or not at all."""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bench.config.decisive_settings import is_as_before, makes_method
from bench.config.moved_classes import present_path
from bench.config.plain_names import plain_name
from bench.config.products import joined_name
from bench.config.settings import flatten
from bench.config.tracks import ONE_MODEL
from bench.errors import UsageError
from bench.records.versioned import Versioned, read_versioned
from bench.writing import write_atomically

SCHEMA = 1
RECORD = "record.json"
PREDICTIONS = "predictions.csv"
CHECKPOINT = "model.ckpt"  # the finished model
Status = Literal["finished", "failed", "interrupted"]
Name = Annotated[str, AfterValidator(plain_name)]
# Raw scores are single precision: a value beyond that is no metric, and sums of such values overflow.
MetricValue = Annotated[float, Field(ge=-1e39, le=1e39, allow_inf_nan=False)]
Metrics = dict[str, MetricValue | None]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Cost = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]
Interval = tuple[MetricValue, MetricValue]


class DataRecord(BaseModel):
    """The data that a run learned from and was tested on."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    digest: str
    counts: dict[str, Count]  # of the full category, by folder
    classes: dict[str, Count] | None = None  # images used of each class, where all are labelled
    validation_images: int
    region: str | None = None  # SHA-256 of the region of interest, or over those of each image
    shots: list[str] | None = None  # the training images, where their number was chosen
    held_out: list[str] | None = None  # the training images that no method learns from, where they were named
    contamination: list[str] | None = None  # the defective images among the training images, which are no test images
    differences: list[str]
    masks_without_pixels: int = 0  # defect masks that resizing or cropping emptied
    without_masks: int = 0  # defect images without a mask, whose pixels are not judged
    conversions: dict[str, int] = {}  # what reading changed in the pixels, in words, and the number of images
    shapes: str | None = None  # how images that are not square were made square
    predictions_sha256: str | None = None


class ProductRecord(BaseModel):
    """One of several products that one model is for: its images, and the figures on them alone.

    The decisions of `metrics` are at the product's own threshold, from its own normal images; those that end in
    `_for_all` at the threshold of the run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    digest: str  # as that of a run on this product alone
    counts: dict[str, Count]
    validation_images: int
    differences: list[str]
    metrics: Metrics = Field(default_factory=dict)
    metrics_by_defect: dict[str, Metrics] = Field(default_factory=dict)
    intervals: dict[str, Interval | None] = Field(default_factory=dict)


class ConfusionMatrix(BaseModel):
    """Number of images by true class, the row, and predicted class, the column."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    classes: list[str]
    counts: list[list[Count]]


class CostRecord(BaseModel):
    """The costs of the run; `peak_memory_bytes` is the GPU's where there is one, else the process's."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    device: str
    processes: Count
    fit_seconds: Cost
    test_seconds: Cost
    saved_seconds: Cost = 0.0  # of both: features were read from the cache, and took so long when they were computed
    milliseconds_per_image: Cost  # batch of one, warm, model only
    images_per_second: Cost  # several images of a batch together, warm, model only
    peak_memory_bytes: Count
    peak_memory_of: Literal["process", "gpu"]
    parameters: Count
    trainable_parameters: Count
    checkpoint_bytes: Count
    epochs: Count


class Record(Versioned):
    """Everything about one run: its settings, data, metrics, costs and environment."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True, frozen=True)
    schema_version: int = Field(default=SCHEMA, alias="schema")
    status: Status
    error: str | None = None
    model: Name
    track: Literal["one-class", "one-model", "supervised", "verified"]
    dataset: Name
    official: bool
    category: Name
    seed: Count
    fold: int | Literal["all"] | None = None
    fingerprint: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
    config: dict[str, Any]
    overrides: dict[str, Any]
    reference: str | None = None  # id of the published metrics that the preset names
    differs: str = ""  # how the preset's protocol differs from that of the reference
    data: DataRecord
    weights: dict[str, str]
    metrics: Metrics = Field(default_factory=dict)
    metrics_by_defect: dict[str, Metrics] = Field(default_factory=dict)
    intervals: dict[str, Interval | None] = Field(default_factory=dict)  # 95 %, from a bootstrap over the test images
    intervals_by_defect: dict[str, dict[str, Interval | None]] = Field(default_factory=dict)
    confusion: ConfusionMatrix | None = None
    products: dict[Name, ProductRecord] | None = None  # of one model for several, by name
    map_range: Interval | None = None  # values of anomaly maps where the colours of pictures begin and end
    cost: CostRecord | None = None
    environment: dict[str, Any]
    started: str
    command: str
    wandb: dict[str, Any] | None = None

    @property
    def device(self) -> str:
        """The device that the run was computed on: `cpu`, or a GPU by its name."""
        return self.cost.device if self.cost else str(self.environment.get("gpu") or "cpu")

    def changed(self, **fields: Any) -> "Record":
        """A copy of the record with these fields, validated as all records are."""
        return self.model_validate({**dict(self), **fields})

    def write(self, folder: Path) -> Path:
        """Write `record.json` in `folder`."""
        return write_atomically(folder / RECORD, self.to_json())

    def to_json(self) -> str:
        """The content of `record.json`."""
        return json.dumps(self.model_dump(by_alias=True), indent=2, allow_nan=False, ensure_ascii=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> "Record":
        """Read a record; a UsageError names a file that is no record."""
        file = path / RECORD if path.is_dir() else path
        record = read_versioned(
            cls, file, SCHEMA, no_such=f"no record at {file}", refused="is no record of this version ({why})"
        )
        if problem := _problem(record):
            raise UsageError(f"{file} is no record of this version ({problem})")
        return record


def _problem(record: Record) -> str:
    """The contradiction, or the value that is not plain, in a record that has the right fields; else ''."""
    for name in ("model", "data", "trainer"):
        if not isinstance(record.config.get(name, {}), dict):
            return f"config: '{name}' is no mapping of settings"
    data = record.config.get("data", {})
    shots, share = data.get("shots"), data.get("contamination", 0)
    if shots is not None and not (type(shots) is int and 0 < shots < 2**31):
        return "config: 'data.shots' is no number of images"
    if type(share) not in (int, float) or not 0 <= share < 1:
        return "config: 'data.contamination' is no share of the images"
    if problem := _problem_of_products(record, data.get("products")):
        return problem
    for name in ("config", "overrides", "environment", "wandb"):
        if not _is_plain(getattr(record, name)):
            return f"{name}: a number that is not finite, or too large"
    if (confusion := record.confusion) is not None:
        if confusion.classes != list(record.data.classes or {}):
            return "confusion: its classes are not those of the data"
        if [len(row) for row in confusion.counts] != [len(confusion.classes)] * len(confusion.classes):
            return "confusion: it has not a row and a column for each class"
    if record.status != "finished":
        return ""
    if "source" not in record.weights:
        return "weights: no source"
    return ""


def _problem_of_products(record: Record, named: Any) -> str:
    """The contradiction between the products of a record, its settings and its track; else ''."""
    if named is None:
        named_none = record.products is not None or record.track == ONE_MODEL.name
        return "products: no setting names products" if named_none else ""
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        return "config: 'data.products' is no list of names"
    if record.track != ONE_MODEL.name or record.category != joined_name(named):
        return "config: 'data.products' are not those of its track and category"
    if record.products is None:
        return "products: none" if record.status == "finished" else ""
    if sorted(record.products) != named:
        return "products: not those of its settings"
    counts: Counter[str] = Counter()
    for each in record.products.values():
        counts.update(each.counts)
    if record.data.counts != {name: counts[name] for name in record.data.counts} or counts.keys() - record.data.counts:
        return "products: their images are not those of the run"
    return ""


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold a value, and Python write it: a read record may hold NaN and numbers of any length."""
    if isinstance(value, dict):
        return all(_is_plain(each) for each in value.values())
    if isinstance(value, list):
        return all(_is_plain(each) for each in value)
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) < 2**64


def changed_settings(record: Record) -> dict[str, Any]:
    """The overrides that make a run another method or protocol than its preset's; weights are recorded apart."""
    return {key: value for key, value in sorted(record.overrides.items()) if makes_method(key)}


def flat_settings(record: Record) -> dict[str, Any]:
    """All settings that define a method or protocol, by dotted name."""
    settings = flatten(record.config)
    settings |= {key: present_path(value) for key, value in settings.items() if key.endswith(".class_path")}
    return {key: value for key, value in settings.items() if makes_method(key) and not is_as_before(key, value)}


def settings_to_read(record: Record) -> dict[str, Any]:
    """A record's settings, without its cache, for a command that only reads the run: it must not write there."""
    data = {key: value for key, value in record.config.get("data", {}).items() if key != "cache"}
    return {**record.config, "data": data}
