"""From records to rows: one per method, category and data, with mean and spread over seeds."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from bench.comparison import differences, published_figure
from bench.errors import UsageError
from bench.published import Figure
from bench.record import RECORD, Record, changed_settings


class TableKey(NamedTuple):
    """What is never mixed in one table."""

    dataset: str
    track: str
    protocol: str
    official: bool


class RowKey(NamedTuple):
    """What one line of a table is about."""

    model: str
    variant: str  # overrides and weights that differ from the preset's, '' for none
    category: str
    digest: str


@dataclass(frozen=True)
class Summary:
    """A figure over seeds; `spread` is the sample standard deviation, None for one seed."""

    mean: float
    spread: float | None
    count: int


@dataclass(frozen=True)
class Row:
    """The records of one method on one category, in the order of their seeds."""

    key: RowKey
    records: tuple[Record, ...]

    def summarise(self, metric: str) -> Summary | None:
        """Mean and spread of a metric; None where a record lacks it."""
        values = [value for record in self.records if (value := record.metrics.get(metric)) is not None]
        return _summary(values) if len(values) == len(self.records) else None

    def summarise_cost(self, name: str) -> Summary | None:
        """Mean and spread of a cost."""
        values = [float(getattr(record.cost, name)) for record in self.records if record.cost is not None]
        return _summary(values) if values else None

    def published_figure(self, metric: str) -> Figure | None:
        """What was published for the method and category."""
        return next((figure for record in self.records if (figure := published_figure(record, metric))), None)

    def differences(self) -> list[str]:
        """In what the protocol is not that of the published figures."""
        return list(dict.fromkeys(text for record in self.records for text in differences(record)))


def read_records(folders: Iterable[Path]) -> list[Record]:
    """All finished records below `folders`, each cell once, in an order that only their content decides."""
    found: dict[str, Record] = {}
    for folder in folders:
        if not folder.exists():
            raise UsageError(f"no folder of records {folder}")
        files = [folder] if folder.is_file() else folder.rglob(f"*{RECORD}")
        for record in (Record.read(file) for file in files):
            if record.status != "finished":
                continue
            known = found.get(record.fingerprint)
            if known is None or (record.started, record.model_dump_json()) < (known.started, known.model_dump_json()):
                found[record.fingerprint] = record
    return sorted(found.values(), key=lambda r: (r.model, r.category, r.seed, r.fingerprint))


def aggregate(records: Sequence[Record]) -> dict[TableKey, list[Row]]:
    """Rows of each table, ordered by category, then by mean image AUROC."""
    groups: dict[TableKey, dict[RowKey, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        table = TableKey(record.dataset, record.track, str(record.config["protocol"]), record.official)
        row = RowKey(record.model, describe_variant(record), record.category, record.data.digest)
        groups[table][row].append(record)
    tables = {}
    for table in sorted(groups):
        rows = [Row(key, tuple(sorted(found, key=lambda r: r.seed))) for key, found in groups[table].items()]
        tables[table] = sorted(rows, key=_order)
    return tables


def describe_variant(record: Record) -> str:
    """How a run's method differs from its preset: `channels=50, weights file.safetensors (1a2b3c4d)`."""
    parts = [
        f"{key.removeprefix('model.')}={value}"
        for key, value in changed_settings(record).items()
        if key != "protocol"  # another table
    ]
    if sha256 := record.weights.get("sha256"):
        parts.append(f"weights {record.weights['source']} ({sha256[:8]})")
    elif "model.weights" in record.overrides:
        parts.append(f"weights {record.weights['source']}")
    return ", ".join(parts)


def _summary(values: Sequence[float]) -> Summary:
    return Summary(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def _order(row: Row) -> tuple[str, str, float, str, str]:
    auroc = row.summarise("image_auroc")
    return row.key.category, row.key.digest, -(auroc.mean if auroc else 0.0), row.key.model, row.key.variant
