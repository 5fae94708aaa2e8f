"""The output of `bench predict`: a folder that is written whole or not at all, or lines on stdout."""

import csv
import json
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self, TextIO

from bench.escaping import csv_cell, json_line, visible
from bench.processes import available_cores
from bench.runs.scoring.maps import fit_map, write_map
from bench.runs.scoring.overlay import draw_overlay
from bench.runs.scoring.scorer import FinishedRun
from bench.runs.scoring.stream import BrokenImage, ScoredImage
from bench.writing import check_free, encode, whole_folder, writing_to

Format = Literal["csv", "jsonl"]
Row = dict[str, str | float | bool]

MAPS = "anomaly_images"  # the name in MVTec's own evaluation
OVERLAYS = "overlays"
_MOST_WAITING = 16  # images whose pictures are not yet written: their maps and pictures stay in memory


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A folder that becomes `out` once everything is in it; after an error, nothing is left."""
    with writing_to(out, "--out FOLDER"), whole_folder(out) as folder:
        yield folder
        check_free(out)  # `out` may have been filled while scoring ran


class Table:
    """Rows as CSV or as JSON lines, each written as soon as it is known."""

    def __init__(self, stream: TextIO, form: Format) -> None:
        self.stream = stream
        self.form = form
        self._writer: csv.DictWriter[str] | None = None

    def write(self, row: Row) -> None:
        """Write a row; all rows have the same columns."""
        if self.form == "jsonl":
            # A name that is no Unicode holds lone surrogates, and one that is may hold invisible characters.
            line = json.dumps(row, ensure_ascii=False, allow_nan=False)
            self.stream.write(json_line(line) + "\n")
            return
        if self._writer is None:
            self._writer = csv.DictWriter(self.stream, list(row), lineterminator="\n")
            self._writer.writeheader()
        self._writer.writerow({key: _text(value) for key, value in row.items()})


@contextmanager
def open_table(folder: Path, form: Format) -> Iterator[Table]:
    """The table in the folder of results; names that are no Unicode keep their bytes in a CSV."""
    path = folder / f"predictions.{form}"
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as stream:
        yield Table(stream, form)


def describe(run: FinishedRun, scored: ScoredImage, files: Mapping[str, str]) -> Row:
    """The row of an image; `files` are the paths of the files made from it, by column."""
    path = str(scored.image.found.path)
    # `./` gives the same path, but no formula in a spreadsheet.
    row: Row = {"path": path if csv_cell(path) == visible(path) else f"./{path}", "score": scored.score}
    if scored.named is not None:
        row |= {"class": csv_cell(scored.named[0]), "probability": scored.named[1]}
    elif run.threshold is not None:
        row["threshold"] = run.threshold
    return row | {"anomalous": scored.anomalous} | dict(files)


class PictureWriter:
    """Writes the pictures of scored images on threads of its own, while the next images are read and scored.

    Without a folder, maps and overlays it writes nothing.
    """

    def __init__(self, run: FinishedRun, folder: Path | None, *, maps: bool, overlays: bool) -> None:
        self._run, self._folder = run, folder
        self._maps, self._overlays = maps, overlays
        self._pool = ThreadPoolExecutor(available_cores())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def written(
        self, results: Iterable[ScoredImage | BrokenImage]
    ) -> Iterator[tuple[ScoredImage | BrokenImage, dict[str, str]]]:
        """The results in their order, each with the paths of its pictures, which then are written."""
        if self._folder is None or not (self._maps or self._overlays):
            yield from ((result, {}) for result in results)
            return
        waiting: deque[tuple[ScoredImage | BrokenImage, Future[dict[str, str]]]] = deque()
        for result in results:
            waiting.append((result, self._pool.submit(self._write, result)))
            while waiting and (len(waiting) > _MOST_WAITING or waiting[0][1].done()):
                found, future = waiting.popleft()
                yield found, future.result()
        for found, future in waiting:
            yield found, future.result()

    def _write(self, result: ScoredImage | BrokenImage) -> dict[str, str]:
        if isinstance(result, BrokenImage):
            return {}
        assert self._folder is not None
        return write_pictures(self._run, result, self._folder, maps=self._maps, overlays=self._overlays)


def write_pictures(
    run: FinishedRun, scored: ScoredImage, folder: Path, *, maps: bool, overlays: bool
) -> dict[str, str]:
    """Write the raw map and the overlay of an image, if requested; return their paths below the folder, by column."""
    image = scored.image
    if scored.anomaly_map is None or not (maps or overlays):
        return {}
    written = {}
    if maps:
        values, _ = fit_map(scored.anomaly_map, run.geometry, image.size)
        written["map"] = f"{MAPS}/{image.found.name}.tiff"
        write_map(values, _make_room(folder / written["map"]))
    if overlays and image.picture is not None and run.record.map_range is not None:
        values, _ = fit_map(scored.anomaly_map, run.geometry, image.picture.size)
        verdict = "anomalous" if scored.anomalous else "good"
        caption = f"score {scored.score:.4g}, threshold {run.threshold:.4g}: {verdict}"
        written["overlay"] = f"{OVERLAYS}/{image.found.name}.png"
        picture = draw_overlay(image.picture, values, *run.record.map_range, caption)
        _make_room(folder / written["overlay"]).write_bytes(encode(picture, "PNG"))
    return written


def _make_room(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _text(value: str | float | bool) -> str:
    """A value as JSON writes it: a float's digits read back to the same number; booleans are `true` and `false`."""
    return value if isinstance(value, str) else json.dumps(value)
