"""The record of a cell that failed before, or so that, its run could write one."""

import shlex
from datetime import UTC, datetime

from bench.environment import describe_environment
from bench.record import DataRecord, Record
from bench.run_folder import writing_to
from bench.sweep.fit_command import fit_arguments
from bench.sweep.tasks import Task, look


def write_failure(task: Task, error: str) -> None:
    """Say in the cell's folder why it has no figures; a finished record, or a newer one, is left as it is."""
    there = look(task.folder)
    if there.status == "finished" or there.stamp != task.found.stamp:
        return
    cell, config = task.cell, task.cell.config
    data = config.data.load_class()(
        config.category, config.settings["seed"], config.settings["protocol"], **config.section("data")
    )
    record = Record(
        status="failed",
        error=error,
        model=config.model.name,
        track=config.model.load_class().track,  # type: ignore[attr-defined] # a Detector: the plan has made sure
        dataset=config.data.name,
        official=data.official,
        category=config.category,
        seed=config.settings["seed"],
        fold=config.settings["data"]["fold"],
        fingerprint=cell.fingerprint,
        config=config.as_dict(),
        overrides=config.overrides,
        reference=config.model.reference,
        differs=config.model.differs,
        data=DataRecord(
            digest=cell.data_digest, counts=data.whole.counts, validation_images=0, differences=data.differences
        ),
        weights=cell.weights,
        environment=describe_environment(),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=shlex.join(["bench", *fit_arguments(config)]),
    )
    with writing_to(task.folder):
        task.folder.mkdir(parents=True, exist_ok=True)
        record.write(task.folder)
