"""The predictions of a run and their file: written whole; read and checked, or refused with the line of the error."""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.config.tracks import TRACKS
from bench.errors import UsageError
from bench.escaping import csv_field, plain_field
from bench.metrics.image import image_metrics
from bench.records.record import PREDICTIONS, RECORD, ProductRecord, Record
from bench.writing import write_atomically

_COLUMNS = ("path", "sha256", "defect_type", "label", "score", "logits")
_PRODUCT = "product"  # a further column, of a model for several products


class Predicted(NamedTuple):
    """A run's prediction for one test image."""

    path: str  # below the data root
    sha256: str
    defect_type: str
    is_defect: bool
    score: float  # raw, larger = more anomalous
    logits: tuple[float, ...]  # one per class; empty except for classifiers
    product: str = ""  # what the image shows, where one model is for several products


def write_predictions(folder: Path, rows: Iterable[Predicted]) -> str:
    """Write `predictions.csv` in `folder`; return its SHA-256."""
    lines, columns = list(rows), list(_COLUMNS)
    fields = [_fields(row) for row in lines]
    if any(row.product for row in lines):
        columns.append(_PRODUCT)
        fields = [[*own, csv_field(row.product)] for own, row in zip(fields, lines, strict=True)]
    text = "".join(csv_line(line) for line in (columns, *fields))
    write_atomically(folder / PREDICTIONS, text)
    return hashlib.sha256(text.encode()).hexdigest()


def _fields(row: Predicted) -> list[str]:
    """The fields of a row; doubles are written by `repr`, which reads back to exactly the same number."""
    names = csv_field(row.path), row.sha256, csv_field(row.defect_type)
    return [*names, str(int(row.is_defect)), repr(row.score), " ".join(map(repr, row.logits))]


def csv_line(fields: Iterable[str]) -> str:
    """A row that ends with a newline; only a writer whose rows end with `\\r\\n` quotes a carriage return in a name."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(fields)
    return line.getvalue().removesuffix("\r\n") + "\n"


def parse_predictions(content: bytes, file: Path, record: Record | None = None) -> list[Predicted]:
    """The rows of `file`, whose bytes are `content`; a classifier's rows must be of the classes of its record."""
    try:
        reader = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
        columns = next(reader, [])
        indices = [columns.index(name) for name in (*_COLUMNS, *([_PRODUCT] if _PRODUCT in columns else []))]
        rows = [_row(words, indices, len(columns), reader.line_num) for words in reader if words]
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{file} is no file of predictions ({error}); run the cell again") from error
    counts = {len(row.logits) for row in rows}
    if (
        record is not None
        and record.data.classes is not None
        and (TRACKS[record.track].learns_from_defects or counts != {0})
    ):
        _check_classes(rows, list(record.data.classes), file)
    elif len(counts) > 1:
        raise UsageError(f"{file} is no file of predictions (rows of {counts} logits); run the cell again")
    return rows


def _row(words: list[str], indices: list[int], count: int, line: int) -> Predicted:
    try:
        if len(words) != count:
            raise ValueError(f"it has {len(words)} fields, not {count}")
        path, sha256, defect_type, label, score, logits, *product = [words[index] for index in indices]
        path, defect_type, product = plain_field(path), plain_field(defect_type), [*map(plain_field, product)]
        if label not in ("0", "1"):
            raise ValueError(f"its label is '{label[:20]}', not 0 or 1")
        values = float(score), tuple(map(float, logits.split()))
        row = Predicted(path, sha256, defect_type, label == "1", *values, *product)
        if not math.isfinite(row.score) or not all(map(math.isfinite, row.logits)):
            raise ValueError("its score or a logit is no finite number")
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error
    return row


def _check_classes(rows: list[Predicted], classes: list[str], file: Path) -> None:
    for number, row in enumerate(rows, 2):
        if row.defect_type not in classes or len(row.logits) != len(classes):
            problem = f"row {number} is not of the {len(classes)} classes of its record"
            raise UsageError(f"{file} is no file of predictions ({problem}); run the cell again")


def check_predictions(record: Record, file: Path) -> None:
    """Raise a UsageError where the file is not the one that the record names, or gives another image AUROC."""
    if not file.is_file():
        return
    content = file.read_bytes()
    rows = parse_predictions(content, file, record)
    if record.data.predictions_sha256 is None:
        return
    if hashlib.sha256(content).hexdigest() != record.data.predictions_sha256:
        raise UsageError(f"{file} was changed: it is not the file that its record names; run the cell again")
    if record.products is not None:
        _check_products(record.products, rows, file)
    auroc = record.metrics.get("image_auroc")
    if TRACKS[record.track].learns_from_defects or auroc is None:
        return
    own = image_metrics([row.score for row in rows], [row.is_defect for row in rows], None)["image_auroc"]
    if not math.isclose(own, auroc, abs_tol=1e-12):
        raise UsageError(f"{file.parent / RECORD} was changed: its image AUROC is not that of its predictions")


def _check_products(products: Mapping[str, ProductRecord], rows: Sequence[Predicted], file: Path) -> None:
    """Check that each product's figures of images are those of its predictions."""
    if {row.product for row in rows} - products.keys():
        raise UsageError(f"{file.parent / RECORD} was changed: its products are not those of {file.name}; run it again")
    for name, product in products.items():
        own = [row for row in rows if row.product == name]
        threshold = product.metrics.get("threshold")
        found = image_metrics([row.score for row in own], [row.is_defect for row in own], threshold)
        for metric, value in found.items():
            told = product.metrics.get(metric)
            if not (math.isnan(value) if told is None else math.isclose(value, told, abs_tol=1e-12)):
                raise UsageError(
                    f"{file.parent / RECORD} was changed: {metric} of {name} is not that of its predictions; run the "
                    "cell again"
                )
