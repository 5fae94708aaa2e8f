"""The runs that are put under stress: each with its checkpoint and the test images that it was tested on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.config.tracks import TRACKS
from bench.data.datamodule import DefectData
from bench.data.geometry import Geometry
from bench.data.loading import TestDataset
from bench.data.one_class import OneClassSplit
from bench.errors import UsageError
from bench.evaluation.passes import Machine
from bench.models.base import Detector
from bench.records.finished import read_finished
from bench.records.predictions import Predicted, parse_predictions
from bench.records.record import PREDICTIONS, Record
from bench.runs.run_data import data_of_run
from bench.runs.scoring.scorer import Device, FinishedRun, load_run


@dataclass(frozen=True)
class TestedRun:
    """A finished one-class run, its data, and what it predicted."""

    __test__ = False  # not a test case, as pytest would conclude from its name

    name: str
    run: FinishedRun
    data: DefectData
    predicted: Sequence[Predicted]

    @property
    def record(self) -> Record:
        """The run's record."""
        return self.run.record

    @property
    def model(self) -> Detector:
        """The method, filled from its checkpoint."""
        return self.run.models[0]

    @property
    def machine(self) -> Machine:
        """The device that scores."""
        return Machine(self.run.device)

    @property
    def threshold(self) -> float:
        """The run's operating threshold."""
        assert self.run.threshold is not None, "`read_finished` refuses a one-class run without one"
        return self.run.threshold

    def test_dataset(self, *, defects: bool = False) -> TestDataset:
        """The run's test, unchanged; with `defects` those are told apart, where the run's were."""
        assert isinstance(self.data.split, OneClassSplit), "classifiers are refused"
        return self.data.split.test_dataset(defects=defects)

    @property
    def input(self) -> tuple[Geometry, int]:
        """Geometry and channels: runs that share them see the same pixels."""
        return self.data.geometry, self.data.category.channels


def read_runs(
    folders: Sequence[Path],
    *,
    model: str | None = None,
    data: str | None = None,
    root: str | None = None,
    device: Device = "auto",
) -> list[TestedRun]:
    """Read runs that can be compared; a UsageError names the first that cannot."""
    records = [_check(folder) for folder in folders]
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise UsageError("the same run is named twice; name each once")
    names = _names(records)
    found: list[TestedRun] = []
    for folder, record, name in zip(folders, records, names, strict=True):
        own = data_of_run(folder, record, model=model, data=data, root=root)
        if not own.category.test:
            raise UsageError(f"{folder} has no test images: nothing can be put under stress")
        table = folder / PREDICTIONS
        if not table.is_file():
            raise UsageError(f"{table} is gone; without it nothing says that the run is scored as then: fit it again")
        predicted = parse_predictions(table.read_bytes(), table)
        found.append(TestedRun(name, load_run(folder, model=model, data=data, device=device), own, predicted))
        if _test_of(found[0].data) != _test_of(own):
            raise UsageError(
                f"{folder} was tested on other images than {folders[0]}, so they cannot stand side by side; "
                "give each a command of its own"
            )
    return found


def _check(folder: Path) -> Record:
    """The record of a run that the command can score; a UsageError for any other."""
    record = read_finished(folder)
    if TRACKS[record.track].learns_from_defects:
        raise UsageError(f"{folder} is a classifier, which has no threshold; name one-class runs")
    if record.config.get("data", {}).get("random_pose"):
        raise UsageError(
            f"{folder} turns and crops its test images at random, so a defect may leave them by that alone; "
            "name runs without --data.random_pose"
        )
    if record.data.region is not None:
        raise UsageError(f"{folder} judges a region of interest, which cannot follow a shift; name runs without one")
    return record


def _names(records: Sequence[Record]) -> list[str]:
    """A short name for each run, with its seed or fingerprint where it takes that to tell them apart."""
    for words in (
        [record.model for record in records],
        [f"{record.model}, seed {record.seed}" for record in records],
    ):
        if len(set(words)) == len(words):
            return words
    return [f"{record.model} {record.fingerprint[:8]}" for record in records]


def _test_of(data: DefectData) -> list[tuple[str, str, str | None, int]]:
    """What decides the photos of a test and their labels."""
    hashes = data.full_category.hashes
    return [
        (sample.defect_type, hashes[sample.path], sample.mask_key(hashes), sample.reading.bits)
        for sample in data.category.test
    ]
