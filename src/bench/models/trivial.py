"""Trivial baselines: how far an image's mean, contrast or thumbnail lies from those of the training images."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.accumulators import Pass, Rows, State
from bench.models.base import Detector, Prediction

_GREY_LEVEL = 1 / 255  # the smallest standard deviation that is believed: finer than that, an image says nothing


class Trivial(Detector):
    """One to a few hundred plain numbers of an image, and how far they lie from the training images'.

    A method that is no better than this has not been shown to see defects on these images. The score is the root mean
    square of the numbers' distances from their means, in standard deviations. There is no map. Padding and what lies
    outside a region have one colour in all images, so that they say nothing of a defect.

    Args:
        spec: what the data are like.
        statistic: `mean`, the mean grey value; `contrast`, the standard deviation of the grey values; `thumbnail`, the
            image in `side` x `side` pixels, each the mean of its part, with its colours.
        side: of the thumbnail, in pixels.
    """

    mean: Tensor
    deviation: Tensor
    count: Tensor

    def __init__(
        self,
        spec: DataSpec,
        *,
        statistic: Literal["mean", "contrast", "thumbnail"] = "mean",
        side: int = 8,
    ) -> None:
        super().__init__(spec)
        if not 1 <= side <= spec.size:
            raise UsageError(f"--model.side {side} lies outside 1 to {spec.size}, the side of an image")
        self.statistic, self.side = statistic, side
        self.numbers = spec.channels * side**2 if statistic == "thumbnail" else 1
        self.register_buffer("mean", torch.zeros(self.numbers))
        self.register_buffer("deviation", torch.zeros(self.numbers))
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, image: Tensor) -> Prediction:
        """Score = root mean square distance in standard deviations."""
        return Prediction(self.distance(self._numbers(image)))

    def distance(self, numbers: Tensor) -> Tensor:
        """Root mean square distance (B,) of numbers (B, N) from those of the training images."""
        return _distance(numbers - self.mean, self.deviation)

    def passes(self) -> Sequence[Pass]:
        """One: the numbers of all images."""
        return [Pass("plain numbers of the images", {"rows": Rows(self.numbers)}, self.accumulate, self.finish)]

    def accumulate(self, state: State, image: Tensor) -> None:
        """Keep the numbers of training images."""
        state.rows[state.indices] = self._numbers(image)

    def finish(self, state: State) -> None:
        """Mean and standard deviation of each number, in double precision where the device has none as well."""
        rows = state.rows.cpu().double()
        self.mean.copy_(rows.mean(dim=0))
        self.deviation.copy_(rows.std(dim=0, correction=0))
        self.count.fill_(state.images)

    @property
    def supports_leave_one_out(self) -> bool:
        """In closed form: without one of n images, mean and standard deviation follow from its own distance."""
        return True

    def leave_one_out_score(self, image: Tensor) -> Tensor:
        """Exactly the score by mean and standard deviation of the other images."""
        count = float(self.count)
        away = self._numbers(image) - self.mean
        squares = count * self.deviation.square() - away.square() * count / (count - 1)
        deviation = (squares / (count - 1)).clamp_min(0).sqrt()
        return _distance(away * count / (count - 1), deviation)

    def _numbers(self, image: Tensor) -> Tensor:
        if self.statistic == "thumbnail":
            return torch.nn.functional.adaptive_avg_pool2d(image, self.side).flatten(1)
        grey = image.mean(dim=1).flatten(1)
        found = grey.mean(dim=1) if self.statistic == "mean" else grey.std(dim=1, correction=0)
        return found[:, None]


def _distance(away: Tensor, deviation: Tensor) -> Tensor:
    return (away / deviation.clamp_min(_GREY_LEVEL)).square().mean(dim=1).sqrt()
