"""The scores of normal images that a run took its threshold from, and their file; another threshold needs no image.

An image that the finished method did not learn from is `held-out`; it is `nearly-learned` where the method learned from
a near-duplicate of it. Methods that learn from all images have scores of models that are not quite the finished one:
`left-out`, as if each image alone were missing, or `out-of-fold`, of refits without a part of the images.
"""

import csv
import hashlib
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bench.errors import UsageError
from bench.escaping import csv_field, plain_field
from bench.metrics.false_alarm_bound import largest_of_groups
from bench.records.predictions import csv_line
from bench.records.record import RECORD, Record
from bench.writing import write_atomically

NORMAL_SCORES = "normal_scores.csv"
Obtained = Literal["held-out", "nearly-learned", "left-out", "out-of-fold"]
_COLUMNS = ("path", "sha256", "obtained", "group", "score", "map_maximum")


class NormalScore(NamedTuple):
    """The score of one normal image, by a model that did not learn from it."""

    path: str  # below the data root
    sha256: str
    obtained: Obtained
    group: str  # path of the first training image that it is a near-duplicate of, or its own
    score: float
    map_maximum: float | None  # of its anomaly map; None without one


class KeptScores(NamedTuple):
    """The scores that a run keeps, and the SHA-256 of their file."""

    rows: Sequence[NormalScore]
    sha256: str

    @property
    def obtained(self) -> Obtained:
        """How the scores that count were obtained."""
        return next((row.obtained for row in self.rows if row.obtained != "nearly-learned"), "nearly-learned")

    @property
    def counted(self) -> list[NormalScore]:
        """The rows that a threshold counts: the image that is nearly learned has a score that no new image has."""
        return [row for row in self.rows if row.obtained != "nearly-learned"]

    def scores(self) -> NDArray[np.float64]:
        """The scores that count, ascending: of near-duplicates the largest."""
        return largest_of_groups([row.score for row in self.counted], [row.group for row in self.counted])

    def map_maxima(self) -> NDArray[np.float64] | None:
        """The same of the largest values of maps; None where an image has none."""
        maxima = [row.map_maximum for row in self.counted if row.map_maximum is not None]
        if len(maxima) < len(self.counted):
            return None
        return largest_of_groups(maxima, [row.group for row in self.counted])


def quantile_of(scores: ArrayLike, quantile: float) -> float:
    """The lowest observed score with enough normal images at or below it; never a value between two scores."""
    return float(np.quantile(np.asarray(scores, dtype=np.float64), quantile, method="higher"))


def write_normal_scores(folder: Path, rows: Iterable[NormalScore]) -> Path:
    """Write `normal_scores.csv` in `folder`, whole or not at all."""
    text = "".join(csv_line(line) for line in (_COLUMNS, *map(_fields, rows)))
    return write_atomically(folder / NORMAL_SCORES, text)


def read_normal_scores(folder: Path, record: Record) -> KeptScores:
    """The normal scores of a finished run; a UsageError where it kept none, or they are not those of its record."""
    file = folder / NORMAL_SCORES
    if not file.is_file():
        raise UsageError(
            f"no {file}: an earlier version made the run and kept no normal scores, or the file is gone; run it again "
            "with --force, or take a threshold of your own: bench predict --threshold NUMBER"
        )
    content = file.read_bytes()
    try:
        rows = _parse(content)
    except (ValueError, csv.Error) as error:
        raise UsageError(f"{file} is no file of normal scores ({error}); run the cell again") from error
    quantile, threshold = record.config.get("threshold_quantile"), record.metrics.get("threshold")
    if not isinstance(quantile, int | float) or threshold is None or not 0 <= quantile <= 1:
        raise UsageError(f"{folder / RECORD} does not say how its threshold was chosen; run the cell again")
    if quantile_of([row.score for row in rows], quantile) != threshold:
        raise UsageError(f"{file} was changed: the threshold of {RECORD} is not that of its scores; run the cell again")
    return KeptScores(rows, hashlib.sha256(content).hexdigest())


def _fields(row: NormalScore) -> list[str]:
    """The fields of a row; doubles are written by `repr`, which reads back to exactly the same number."""
    maximum = "" if row.map_maximum is None else repr(row.map_maximum)
    return [csv_field(row.path), row.sha256, row.obtained, csv_field(row.group), repr(row.score), maximum]


def _parse(content: bytes) -> list[NormalScore]:
    reader = csv.reader(io.StringIO(content.decode(), newline=""), strict=True)
    if tuple(next(reader, ())) != _COLUMNS:
        raise ValueError(f"its columns are not {', '.join(_COLUMNS)}")
    rows = [_row(words, reader.line_num) for words in reader if words]
    if not rows:
        raise ValueError("it holds no score")
    kinds = {row.obtained for row in rows}
    if len(kinds) > 1 and kinds != {"held-out", "nearly-learned"}:
        raise ValueError(f"its scores are {' and '.join(sorted(kinds))}")
    return rows


def _row(words: list[str], line: int) -> NormalScore:
    try:
        if len(words) != len(_COLUMNS):
            raise ValueError(f"it has {len(words)} fields, not {len(_COLUMNS)}")
        path, sha256, obtained, group, score, maximum = words
        if obtained not in get_args(Obtained):
            raise ValueError(f"'{obtained[:20]}' is no way to obtain a score")
        values = float(score), float(maximum) if maximum else None
        if not all(value is None or math.isfinite(value) for value in values):
            raise ValueError("its score or the largest value of its map is no finite number")
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error
    return NormalScore(plain_field(path), sha256, obtained, plain_field(group), *values)  # type: ignore[arg-type]
