"""Image AUROC over the number of good photos that were learned from: whether more photos would help."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.acceptance.candidates import Candidate, fit_one
from bench.config.settings import Config
from bench.console import say
from bench.errors import UsageError
from bench.phases import within

_PARTS = (4, 2)  # a quarter and a half of the photos
_FEWEST = 2


@dataclass(frozen=True)
class Point:
    """A number of good photos, and the image AUROC of each seed that learned from so many."""

    photos: int
    aurocs: Sequence[float]

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(np.mean(self.aurocs))


def measure_curve(best: Candidate, configs: Sequence[Config], runs: Path, learned: int) -> list[Point]:
    """Fit the method on nested subsets of each seed; the last point is of all `learned` photos, fitted before."""
    points: list[Point] = []
    for part in _PARTS:
        shots = learned // part
        if shots < _FEWEST or (points and shots <= points[-1].photos):
            continue
        try:
            points.append(Point(shots, [_fitted(config, runs, shots) for config in configs]))
        except UsageError as error:  # the method takes more photos than that
            say(f"bench: the learning curve leaves out {shots} of {learned} photos: {error}")
    full = [run.auroc for run in best.runs if run.auroc is not None]
    return [*points, Point(learned, full)]


def _fitted(config: Config, runs: Path, shots: int) -> float:
    """Image AUROC after learning from so many photos, which the seed draws."""
    with within(f"learning curve, {shots} photos, seed {config.settings['seed']}"):
        found = fit_one(_with_shots(config, shots), runs).auroc
    assert found is not None, "there are good and bad test photos"
    return found


def _with_shots(config: Config, shots: int) -> Config:
    data = {**config.settings["data"], "shots": shots}
    settings = {**config.settings, "data": data}
    return replace(config, settings=settings, overrides=config.overrides | {"data.shots": shots})
