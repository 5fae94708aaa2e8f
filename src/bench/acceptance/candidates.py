"""The methods of an acceptance, each fitted with every seed on the same photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.config.settings import Config
from bench.errors import UsageError
from bench.phases import within
from bench.records.predictions import Predicted, check_predictions, parse_predictions
from bench.records.record import PREDICTIONS, Record
from bench.runs.run import Options, fit


@dataclass(frozen=True)
class FittedRun:
    """A finished run, with its predictions in the order of its test."""

    folder: Path
    record: Record
    rows: Sequence[Predicted]

    @property
    def auroc(self) -> float | None:
        """Image AUROC; None without bad or without good photos."""
        return self.record.metrics.get("image_auroc")


@dataclass(frozen=True)
class Candidate:
    """A method with its runs, one for each seed."""

    name: str
    runs: Sequence[FittedRun]

    @property
    def first(self) -> FittedRun:
        """The run whose model is judged and may go to the line: that of the first seed, whatever the others reached."""
        return self.runs[0]

    @property
    def auroc(self) -> float | None:
        """Image AUROC, the mean over seeds; None where it is not defined."""
        found = [run.auroc for run in self.runs]
        return float(np.mean([each for each in found if each is not None])) if None not in found else None

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores (N, seeds) of the test photos."""
        return np.array([[row.score for row in run.rows] for run in self.runs], dtype=np.float64).T

    @property
    def defect_types(self) -> NDArray[np.str_]:
        """The defect type (N,) of each test photo."""
        return np.array([row.defect_type for row in self.first.rows], dtype=np.str_)


def fit_candidates(configs: Sequence[Config], runs: Path, *, force: bool = False) -> list[Candidate]:
    """Fit the cells that are not finished; a candidate for each method, in the order in which they are named."""
    found: dict[str, list[FittedRun]] = {}
    for number, config in enumerate(configs, 1):
        what = f"{config.model.name}, seed {config.settings['seed']} ({number} of {len(configs)})"
        with within(what):
            found.setdefault(config.model.name, []).append(fit_one(config, runs, force=force))
    candidates = [Candidate(name, own) for name, own in found.items()]
    _check_same_photos(candidates)
    return candidates


def fit_one(config: Config, runs: Path, *, force: bool = False) -> FittedRun:
    """Fit one cell, or find its finished run."""
    record, folder, _ = fit(config, Options(runs, force, wandb="disabled", tell_offline=False))
    if record.status != "finished":
        raise UsageError(f"{folder} is not finished ({record.error}); run it alone to see why: {record.command}")
    file = folder / PREDICTIONS
    if not file.is_file():
        raise UsageError(f"no {file}, which a page is made from; run again with --force")
    check_predictions(record, file)
    return FittedRun(folder, record, parse_predictions(file.read_bytes(), file))


def _check_same_photos(candidates: Sequence[Candidate]) -> None:
    """Refuse methods that were tested on different photos, as settings of one of them may have it."""
    first = candidates[0].first
    for run in (run for candidate in candidates for run in candidate.runs):
        if [row.sha256 for row in run.rows] != [row.sha256 for row in first.rows]:
            raise UsageError(
                f"{run.record.model} and {first.record.model} were tested on different photos; leave out what differs"
            )
