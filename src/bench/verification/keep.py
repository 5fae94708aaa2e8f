"""Where a verification is kept: a record among the records of runs, and its figures under all protocols beside it."""

import json
from pathlib import Path

from bench.config.tracks import TRACKS
from bench.errors import UsageError
from bench.records.record import RECORD, Record
from bench.verification.report import REPORT, as_dict
from bench.verification.verify import Verification
from bench.writing import write_atomically, writing_to


def keep(found: Verification, runs: Path) -> Path:
    """Write the verification into `runs`/NAME/CATEGORY/FINGERPRINT; the folder.

    A UsageError where other maps of this name, category and seed lie there: a table could not tell the two apart.
    """
    record = found.record
    folder = runs / record.model / record.category / record.fingerprint
    for file in sorted(folder.parent.glob(f"*/{RECORD}")):
        _check_other(file, record)
    with writing_to(runs):
        folder.mkdir(parents=True, exist_ok=True)
        found.write(folder)
        report = json.dumps(as_dict(found, folder), indent=2, allow_nan=False, ensure_ascii=False)
        write_atomically(folder / REPORT, report + "\n")
    return folder


def _check_other(file: Path, record: Record) -> None:
    other = Record.read(file)
    of_maps = not TRACKS[other.track].has_runs and other.status == record.status
    if of_maps and other.fingerprint != record.fingerprint and other.seed == record.seed:
        raise UsageError(
            f"{file.parent} holds other maps of {record.model} on {record.category}, seed {record.seed}; give these "
            "another --name or --seed, or remove that folder"
        )
