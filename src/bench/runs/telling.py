"""What a run tells while it lasts: what it is, its data, and how far it has come. Only the first process tells.

Nothing heavy is imported here, so that the first line is there before torch is.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from bench.config.settings import Layers
from bench.console import in_notebook, is_main_process, is_quiet, say
from bench.phases import Watcher, phase, renamed, watched

if TYPE_CHECKING:
    from bench.data.datamodule import DefectData


@contextmanager
def announced(run: Layers, options: Mapping[str, str]) -> Iterator[None]:
    """Say which run begins, then show that torch and the method are being imported within the context."""
    if not is_quiet():
        say(f"bench: {run.describe(options.get('seed'))}")
    with telling(run.title, progress=True), phase("loading torch and the method"):
        yield


@contextmanager
def telling(title: str, *, progress: bool) -> Iterator[None]:
    """Show the phases of a run on stderr: with a bar on a terminal and in a notebook, with lines anywhere else.

    Without `progress` they are left to whoever watches this process already, such as the sweep that the run is part of.
    """
    if progress and is_main_process() and not is_quiet():
        with watched(_watcher(), title):
            yield
    else:
        with renamed(title):
            yield


def announce_data(title: str, data: "DefectData", folds: int, devices: str, folder: Path) -> None:
    """Say which images a run learns from and is tested on, where it computes and where its record will lie."""
    if is_quiet():
        return
    if folds > 1:
        counts = f"{sum((data.class_counts or {}).values())} images in {folds} folds"
    else:
        parts = {"training": data.training_indices, "validation": data.validation_indices, "test": data.category.test}
        counts = ", ".join(f"{len(part)} {name}" for name, part in parts.items() if part or name != "validation")
        counts += " images"
    say(f"{title}: {counts}, {devices}, {folder}")


def _watcher() -> Watcher:
    if sys.stderr.isatty() or (in_notebook() and find_spec("ipywidgets")):  # without these rich only warns
        from bench.progress import RunBar

        return RunBar()
    from bench.progress_lines import ProgressLines

    return ProgressLines()
