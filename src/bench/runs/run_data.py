"""The data of a finished run, read again: the images that it was tested on, or none."""

from pathlib import Path

from bench.config.paths import with_data_of_now
from bench.config.settings import resolve
from bench.config.trusted_code import check_is_of_run
from bench.data.datamodule import DefectData
from bench.errors import UsageError
from bench.records.record import Record, settings_to_read
from bench.runs.run import prepare


def data_of_run(
    folder: Path, record: Record, *, model: str | None = None, data: str | None = None, root: str | None = None
) -> DefectData:
    """The run's data, below `root` if they lie elsewhere now; a UsageError where they are not those of its test.

    `model` and `data` are files of a user's own, if the run's are.
    """
    names = {"model": record.model, "data": record.dataset}
    check_is_of_run(folder, names, record.config, {"model": model, "data": data})
    typed, own = {"data.root": root} if root else {}, settings_to_read(record)
    files = [own if root else with_data_of_now(own)]
    config = resolve(model=model, data=data, category=None, files=files, options=typed)
    found, _ = prepare(config)
    if found.full_category.digest != record.data.digest:
        raise UsageError(f"these are not the images that {folder} was tested on; name them with --data.root")
    return found
