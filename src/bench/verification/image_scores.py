"""Scores of images that others computed: a CSV of paths and scores, as `bench predict` writes one."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.console import say
from bench.data.layout import Sample
from bench.errors import UsageError, counted
from bench.escaping import plain_field
from bench.verification.named_images import match, ordered

_COLUMNS = ("path", "score")


def read_scores(file: Path, samples: Sequence[Sample]) -> NDArray[np.float64]:
    """The score (B,) of each test image; a UsageError names the line that is none, and images without one."""
    if not file.is_file():
        raise UsageError(f"no file {file}; --scores names a CSV with the columns path and score")
    paths, scores = _read_rows(file)
    found = match(paths, samples, what="score", where=str(file))
    if found.of_others:
        what = counted(len(found.of_others), "score")
        say(f"bench: {what} of other categories in {file} left out, such as {found.of_others[0]}")
    return np.array([scores[place] for place in ordered(found.places)], dtype=np.float64)


def _read_rows(file: Path) -> tuple[list[str], list[float]]:
    paths: list[str] = []
    scores: list[float] = []
    try:
        text = file.read_bytes().decode("utf-8-sig", "surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        header = [name.strip().lower() for name in next(reader, [])]
        if missing := [name for name in _COLUMNS if name not in header]:
            raise UsageError(f"{file} has no column {missing[0]}; its first line names the columns: path,score")
        path_at, score_at = map(header.index, _COLUMNS)
        for words in reader:
            if not words:
                continue
            if len(words) <= max(path_at, score_at):
                raise UsageError(f"{file}, line {reader.line_num}: it has {counted(len(words), 'field')}")
            paths.append(_plain(words[path_at]))
            scores.append(_number(words[score_at], file, reader.line_num))
    except csv.Error as error:
        raise UsageError(f"{file} is no CSV ({error}); its first line names the columns: path,score") from error
    return paths, scores


def _plain(field: str) -> str:
    """A path as the data's readers spell it: bytes that are no UTF-8 are written as `\\xfc`."""
    return plain_field(field).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _number(word: str, file: Path, line: int) -> float:
    try:
        score = float(word)
    except ValueError as error:
        raise UsageError(f"{file}, line {line}: its score '{word[:20]}' is no number") from error
    if not math.isfinite(score):
        raise UsageError(f"{file}, line {line}: its score '{word[:20]}' is no finite number")
    return score
