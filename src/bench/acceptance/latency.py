"""How long a photo takes from its pixels to the verdict on this machine, one photo at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bench.data.layout import Sample
from bench.phases import phase
from bench.runs.environment import describe_environment
from bench.runs.scoring.scorer import FinishedRun

_WARM_UP = 3
_MOST, _FEWEST, _SECONDS = 200, 20, 15.0
_PHOTOS = 8  # different ones, so that no cache of the processor flatters


@dataclass(frozen=True)
class Latency:
    """Quantiles over repetitions, in milliseconds, and what computed."""

    median: float
    p99: float
    repetitions: int
    machine: str
    threads: int


def measure_latency(run: FinishedRun, samples: Sequence[Sample]) -> Latency:
    """Resize, score and compare decoded photos, 200 times or as often as 15 seconds allow; decoding is not in it."""
    photos = [sample.read_image() for sample in samples[:_PHOTOS]]
    taken: list[float] = []
    with phase("time of a photo", _MOST, "photos") as counted:
        for number in range(_WARM_UP + _MOST):
            photo = photos[number % len(photos)]
            start = time.perf_counter()
            pixels = np.stack([run.pixels(photo)])
            bool(run.score(pixels, run.content([photo.size])).score[0] > (run.threshold or 0.0))
            if number >= _WARM_UP:
                taken.append(time.perf_counter() - start)
                counted.advance()
            if len(taken) >= _FEWEST and sum(taken) > _SECONDS:
                break
    found = describe_environment(run.device)
    machine = str(found.get("gpu") or found.get("processor") or run.device.type)
    milliseconds = 1000 * np.array(taken)
    return Latency(
        float(np.median(milliseconds)),
        float(np.quantile(milliseconds, 0.99, method="higher")),
        len(taken),
        machine,
        torch.get_num_threads(),
    )
