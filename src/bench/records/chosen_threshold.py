"""A threshold that was chosen after the fit, and its file beside the record, which stays as it is.

Deleting the file takes the choice back. Tables and pages go on to use the threshold of the record.
"""

import json
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from bench.errors import UsageError
from bench.records.normal_scores import Obtained
from bench.records.record import Count, MetricValue, Record
from bench.records.versioned import Versioned, read_versioned
from bench.writing import write_atomically

THRESHOLD = "threshold.json"
SCHEMA = 1
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class FalseAlarms(BaseModel):
    """The wish, and what it comes to; the bound is None where these scores allow none, for the reason in `no_bound`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    at_most: Share  # the wish
    rank: Count  # of the threshold among the scores that count, the smallest being 1
    expected: Share  # the mean of the rate
    confidence: Share | None
    bound: Share | None
    assumes: str = ""


class Cost(BaseModel):
    """Costs of mistakes, and the mistakes on the images that the threshold was chosen with."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    miss: Amount
    alarm: Amount
    bad_share: Share
    bad_images: Count
    missed: Count
    stopped: Count
    expected: Amount  # of a part


class ChosenThreshold(Versioned):
    """A threshold of one run, with what it was chosen from and what it promises."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    schema_version: int = Field(default=SCHEMA, alias="schema")
    run: Annotated[str, Field(pattern="^[0-9a-f]{16}$")]  # the run's fingerprint
    threshold: MetricValue
    pixel_threshold: MetricValue | None
    no_pixel_threshold: str = ""  # why
    with_bad_images: bool  # whether bad images helped to choose it
    normal_images: Count  # that count
    normal_scores: Count  # near-duplicates count once
    nearly_learned: Count  # held-out images that do not count, for near-duplicates of them were learned from
    obtained: Obtained
    normal_scores_sha256: str
    no_bound: str = ""  # why false alarms have no bound
    false_alarms: FalseAlarms | None = None
    cost: Cost | None = None

    def to_json(self) -> str:
        """The content of the file."""
        return json.dumps(self.model_dump(by_alias=True), indent=2, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Write `threshold.json` in the run's folder, whole or not at all."""
        return write_atomically(folder / THRESHOLD, self.to_json())

    @classmethod
    def read(cls, path: Path) -> "ChosenThreshold":
        """Read a file, or that of a run's folder; a UsageError names one that holds no chosen threshold."""
        file = path / THRESHOLD if path.is_dir() else path
        return read_versioned(
            cls,
            file,
            SCHEMA,
            no_such=f"no chosen threshold at {file}; 'bench threshold' writes one, or give a number",
            refused="is no chosen threshold ({why}); choose it again: bench threshold",
        )

    def check_is_of(self, record: Record, normal_scores: str | None, named: object) -> None:
        """Refuse a threshold of another run, or of scores that the run no longer has; None: the run keeps none."""
        if self.run != record.fingerprint:
            raise UsageError(f"{named} was chosen for run {self.run}, not for {record.fingerprint}; name its own")
        if normal_scores is not None and normal_scores != self.normal_scores_sha256:
            raise UsageError(f"{named} was chosen before the run was made again; choose it again: bench threshold")
