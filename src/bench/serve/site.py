"""What `bench serve` shows: an index, the leaderboards of the records, and a page for each run."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple

from bench.config.tracks import OF_METHODS, TRACKS
from bench.errors import UsageError
from bench.leaderboard.collect import Source, collect, record_files
from bench.leaderboard.curve_files import render_curves_page
from bench.leaderboard.curves import build_curves
from bench.leaderboard.leaderboard_page import render_page as render_leaderboard
from bench.leaderboard.paired import read_predictions
from bench.leaderboard.tables import build_tables
from bench.metrics.catalogue import title_of
from bench.records.record import PREDICTIONS, RECORD, Record
from bench.views.page_frame import render_page

REPORT = "report.html"
_HTML = "text/html; charset=utf-8"
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_TEXTS = {REPORT: _HTML, RECORD: "application/json", PREDICTIONS: "text/plain; charset=utf-8"}


class Page(NamedTuple):
    """Content that is sent from memory."""

    content: bytes
    kind: str = _HTML


class File(NamedTuple):
    """A file that is sent from disk, by its resolved path."""

    path: Path
    kind: str


@dataclass(frozen=True)
class Run:
    """A run and its folder."""

    record: Record
    folder: Path

    @property
    def headline(self) -> float | None:
        """The metric that its track ranks by."""
        return self.record.metrics.get(TRACKS[self.record.track].headline)

    def files(self) -> dict[str, File]:
        """The files of its folder that may be shown, by name: pictures, report, record, predictions; no links."""
        try:
            found = sorted(entry.name for entry in os.scandir(self.folder) if entry.is_file(follow_symlinks=False))
        except OSError:
            return {}
        kinds = {name: _TEXTS.get(name) or _PICTURES.get(Path(name).suffix.lower()) for name in found}
        return {name: File(self.folder / name, kind) for name, kind in kinds.items() if kind}

    def pictures(self) -> list[str]:
        """The names of its pictures."""
        return [name for name, file in self.files().items() if file.kind.startswith("image/")]


@dataclass
class Site:
    """Pages built from the records below `folders`, and rebuilt where these change."""

    folders: Sequence[Path]
    intervals: bool
    _seen: tuple[tuple[str, int, int], ...] | None = None
    _pages: dict[str, Page] = field(default_factory=dict)
    _runs: dict[str, Run] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock)

    def find(self, path: str) -> Page | File | None:
        """The content of a path such as `/`, `/mvtec_ad-one-class.html` or `/runs/FINGERPRINT/most_anomalous.png`.

        A path is looked up among known names; no part of it ever becomes a path on the disk.
        """
        parts = path.split("/")
        if len(parts) == 4 and parts[1] == "runs" and parts[3]:
            run = self._runs.get(parts[2])
            return run.files().get(parts[3]) if run else None
        self.refresh()
        if len(parts) == 4 and parts[1] == "runs":
            run = self._runs.get(parts[2])
            return Page(_run_page(run).encode()) if run else None
        return self._pages.get(path)

    def refresh(self) -> None:
        """Rebuild everything where a record was added, removed or changed."""
        with self._lock:
            files = sorted(set(record_files(self.folders, [])))  # the page lists what cannot be read
            seen = tuple((str(file), (now := file.stat()).st_mtime_ns, now.st_size) for file in files)
            if seen != self._seen:
                self._build(files)
                self._seen = seen

    def _build(self, files: Sequence[Path]) -> None:
        found = collect(self.folders)
        runs = {source.record.fingerprint: Run(source.record, source.folder) for source in found.sources}
        known = {run.folder for run in runs.values()}
        for file in files:
            if file.parent in known:
                continue
            try:
                record = Record.read(file)
            except UsageError:
                continue  # `collect` has reported it
            run, other = Run(record, file.parent), runs.get(record.fingerprint)
            # Of two copies of a run, the one with pictures is shown; so is a run that the tables leave out.
            if other is None or (run.pictures() and not other.pictures()):
                runs[record.fingerprint] = run
        read_predictions.cache_clear()  # the folders may have changed
        tables = build_tables(found.sources, intervals=self.intervals)
        pages = {
            f"/{name}.html": Page(render_leaderboard(name, table, Path("/"), _link_to_run).encode())
            for name, table in tables.items()
        }
        curves = build_curves(found.sources, found.failures)
        pages |= {f"/{name}.html": Page(render_curves_page(name, each).encode()) for name, each in curves.items()}
        self._runs = runs
        index = render_page(
            "index.html.j2",
            script="leaderboard.js",
            folders=[str(folder) for folder in self.folders],
            leaderboards=[*tables, *curves],
            headlines=" or ".join(title_of(track.headline) for track in reversed(OF_METHODS)),
            runs=sorted(runs.values(), key=lambda run: run.record.started, reverse=True),
            problems=found.problems,
            report=REPORT,
        )
        self._pages = {**pages, "/": Page(index.encode())}


def _link_to_run(source: Source) -> str:
    return f"runs/{source.record.fingerprint}/"


def _run_page(run: Run) -> str:
    files = run.files()
    return render_page(
        "gallery.html.j2",
        run=run,
        record=run.record,
        pictures=run.pictures(),
        report=REPORT if REPORT in files else "",
        others=[name for name in (RECORD, PREDICTIONS) if name in files],
    )
