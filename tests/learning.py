"""Statistics without a run: what the framework does with a method's passes, on images in memory."""

from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import Tensor

from bench.models.accumulators import State
from bench.models.base import Detector

Learner = TypeVar("Learner", bound=Detector)


@torch.no_grad()
def learn(model: Learner, batches: Iterable[Tensor], images: int | None = None) -> Learner:
    """Run all passes over these batches (B, C, H, W), of this process; `images` where other processes have more."""
    own = list(batches)
    count = sum(len(batch) for batch in own) if images is None else images
    for each in model.passes():
        state = State(each.accumulators, count, torch.device("cpu"))
        state.fill(own, each.accumulate)
        each.finish(state)
    return model


@torch.no_grad()
def fit(part: torch.nn.Module, batches: Iterable[Tensor], images: int) -> None:
    """Let a part of a method, such as a Gaussian, learn from batches of features of so many images of all processes."""
    state = State(part.accumulators(), images, torch.device("cpu"))
    state.fill(batches, part.accumulate)
    part.finish(state)
