"""Measuring a method's speed: how many passes it takes, and which of them count."""

from types import SimpleNamespace

import pytest
import torch

from bench.runs import measure_cost


class Slow:
    """Takes a time for each image, by a clock of its own; the first passes take more."""

    device = torch.device("cpu")

    def __init__(self, milliseconds: float, warming: tuple[float, ...] = ()) -> None:
        self.milliseconds, self.warming, self.passes, self.clock = milliseconds, list(warming), [], 0.0

    def eval(self) -> None:
        pass

    def predict(self, images: torch.Tensor) -> None:
        self.clock += (self.milliseconds * len(images) + (self.warming.pop(0) if self.warming else 0)) / 1000
        self.passes.append(len(images))


@pytest.fixture
def measured(monkeypatch):
    """The milliseconds of a pass, and how many there were."""

    def measure(model: Slow, images: int = 1) -> tuple[float, int]:
        monkeypatch.setattr(measure_cost, "time", SimpleNamespace(perf_counter=lambda: model.clock))
        seconds = measure_cost._seconds_per_pass(model, torch.zeros(images, 3, 8, 8))
        return 1000 * seconds, len(model.passes)

    return measure


@pytest.mark.parametrize(
    ("milliseconds", "passes"), [(1, 17), (10, 17), (30, 7), (90, 3), (150, 2), (250, 1), (4000, 1)]
)
def test_a_speed_takes_a_fifth_of_a_second_but_for_its_last_pass(milliseconds, passes, measured):
    assert measured(Slow(milliseconds)) == (pytest.approx(milliseconds), passes)


@pytest.mark.parametrize(("milliseconds", "counted"), [(2, 2), (60, 60), (150, 150)])
def test_the_first_two_passes_warm_up_where_others_follow(milliseconds, counted, measured):
    found, _ = measured(Slow(milliseconds, warming=(40, 20)))
    assert found == pytest.approx(counted if milliseconds < 100 else counted + 20)
