"""Collect the records that a leaderboard may trust: which are left out and why, which of several of a cell counts."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from bench.config.cell import PROTOCOL, encode_settings, hash_encoded
from bench.errors import UsageError
from bench.records.predictions import check_predictions
from bench.records.record import PREDICTIONS, RECORD, Metrics, Record

_NO_METHOD = ("category", "seed", "maps")  # settings that differ between the cells of one method
_SAME = 1e-6  # tolerance within which two runs of one cell agree, on any machines


@dataclass(frozen=True)
class Source:
    """A record, its folder (resolved), and the method and protocol version that its fingerprint was checked with."""

    record: Record
    folder: Path
    method: str  # a hash like the fingerprint, but without category, seed and data
    protocol_version: int
    note: str = ""  # a remark for the reader of the tables
    product: str = ""  # the one that the record is of, where the model is for several

    def link_from(self, out: Path) -> str | None:
        """The path of the record's folder relative to `out` (resolved), None where it does not lie below."""
        folder, start = self.folder.as_posix(), f"{out.as_posix()}/"
        return quote(folder.removeprefix(start)) if folder.startswith(start) else None


@dataclass(frozen=True)
class Collection:
    """Finished records, each cell once, in an order that depends on their content alone; and what was left out."""

    sources: list[Source]
    problems: list[str]  # one line each
    notes: list[str]
    failures: list[Record]  # of cells that failed, in the order of their fingerprints


def collect(folders: Iterable[Path], near: Path | None = None) -> Collection:
    """Read all records below `folders`; among copies of one record the one below `near` counts."""
    cells: dict[str, list[Source]] = {}
    problems: list[str] = []
    failures: dict[str, Record] = {}
    near = near.resolve() if near else None
    for file in record_files(folders, problems):
        try:
            source = _read(file, failures)
        except UsageError as error:
            problems.append(str(error))
            continue
        except OSError as error:  # for example, its predictions cannot be read
            problems.append(_unreadable(error))
            continue
        if source is not None:
            cells.setdefault(source.record.fingerprint, []).append(source)
    sources = [_choose(found, near) for found in cells.values()]
    sources.sort(key=lambda s: (s.record.model, s.record.category, s.record.seed, s.record.fingerprint))
    failed = [failures[key] for key in sorted(failures.keys() - cells.keys())]
    return Collection(sources, sorted(problems), [source.note for source in sources if source.note], failed)


def record_files(folders: Iterable[Path], problems: list[str] | None = None) -> Iterator[Path]:
    """Yield the resolved paths of all records below `folders`, except W&B's copies.

    A folder that cannot be read adds a line to `problems`; without `problems` it raises an OSError.
    """

    def tell(error: OSError) -> None:
        # No record lies below a pipe, for example; and a claim of a running sweep may be gone by now.
        if isinstance(error, NotADirectoryError | FileNotFoundError):
            return
        if problems is None:
            raise error
        problems.append(_unreadable(error))

    for folder in folders:
        if not folder.exists():
            raise UsageError(f"no folder of records {folder}")
        if folder.is_file():
            yield folder.resolve()
        for path, below, names in os.walk(folder.resolve(), onerror=tell):
            below[:] = [name for name in below if name != "wandb"]
            yield from (Path(path, name) for name in names if name.endswith(RECORD))


def _unreadable(error: OSError) -> str:
    return f"{error.filename} cannot be read: {error.strerror}"


def _read(file: Path, failures: dict[str, Record]) -> Source | None:
    """Read a record, None if it is not finished; a UsageError where it cannot be trusted."""
    record = Record.read(file)
    if record.status == "interrupted":
        return None
    try:
        settings = encode_settings(record.config, record.weights)
    except (KeyError, TypeError, AttributeError) as error:
        if record.status == "failed":
            return None
        raise UsageError(f"{file} has no complete settings; run the cell again") from error
    if record.status == "failed":
        failures[record.fingerprint] = record
        return None
    version = _protocol_version(record, settings)
    if version is None:
        raise UsageError(
            f"{file} was changed: its fingerprint is not that of its settings and data; run the cell again"
        )
    check_predictions(record, file.parent / PREDICTIONS)
    method = {key: value for key, value in settings.items() if key not in _NO_METHOD}
    return Source(record, file.parent, hash_encoded(method, "", version), version)


def _protocol_version(record: Record, settings: Mapping[str, str]) -> int | None:
    """The version of the protocol with which the settings hash to the record's fingerprint; None if there is none."""
    versions = range(PROTOCOL, 0, -1)
    return next((v for v in versions if hash_encoded(settings, record.data.digest, v) == record.fingerprint), None)


def _choose(found: Sequence[Source], near: Path | None) -> Source:
    """The latest of several records of one cell, with a note where their metrics disagree."""

    if len(found) == 1:
        return found[0]

    def preference(source: Source) -> tuple[str, bool, str]:
        below = near is not None and source.folder.is_relative_to(near)
        return source.record.started, below, source.record.model_dump_json()

    latest = max(found, key=preference)
    apart = [largest for s in found if (largest := _disagreement(latest.record.metrics, s.record.metrics))]
    if not apart:
        return latest
    record = latest.record
    metric, gap = max(apart, key=lambda pair: pair[1])
    note = (
        f"{len(apart) + 1} records of {record.model} on {record.category}, seed {record.seed} "
        f"(`{record.fingerprint}`) disagree, by up to {gap:.2g} in {metric}; the latest, of {record.started}, counts."
    )
    return Source(record, latest.folder, latest.method, latest.protocol_version, note)


def _disagreement(one: Metrics, other: Metrics) -> tuple[str, float] | None:
    """The metric that differs most, and by how much (infinity where only one has it); None where all agree."""
    gaps = {}
    for name in one.keys() | other.keys():
        a, b = one.get(name), other.get(name)
        if a is None or b is None:
            gaps[name] = 0.0 if a is b else math.inf
        else:
            gaps[name] = 0.0 if math.isclose(a, b, rel_tol=_SAME, abs_tol=_SAME) else abs(a - b)
    name = max(sorted(gaps), key=lambda key: gaps[key], default="")
    return (name, gaps[name]) if name and gaps[name] > 0 else None
