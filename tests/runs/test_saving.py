"""How often training is saved to go on from: by what a save costs, at the end of an epoch only."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bench.config.cell import Cell
from bench.config.settings import resolve
from bench.runs.checkpoint import ResumeCheckpoint


@pytest.fixture
def saves(monkeypatch, tmp_path) -> Callable[..., list[int]]:
    """The epochs that are saved, of `epochs` that take `seconds` each where a save takes `cost`."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr("bench.runs.checkpoint.time.perf_counter", lambda: clock.now)

    def run(
        epochs: int, seconds: float, cost: float, broadcast: Callable[[Any], Any] = lambda value: value
    ) -> list[int]:
        saved: list[int] = []

        def save(_: Any, trainer: Any, __: Any) -> None:
            saved.append(trainer.current_epoch)
            clock.now += cost

        monkeypatch.setattr("lightning.pytorch.callbacks.ModelCheckpoint.on_train_epoch_end", save)
        config = resolve(model="vae", data=None, category="screw", files=[], options={})
        callback = ResumeCheckpoint(Cell(config, "content", {"source": "none"}), tmp_path)
        strategy = SimpleNamespace(broadcast=broadcast)
        for epoch in range(epochs):
            clock.now += seconds
            callback.on_train_epoch_end(SimpleNamespace(strategy=strategy, current_epoch=epoch), None)
        return saved

    return run


def test_the_first_epoch_is_saved_whatever_it_took(saves):
    assert saves(1, 0.001, 30.0) == [0]


def test_each_epoch_is_saved_where_saving_is_cheap(saves):
    assert saves(5, 21.0, 1.0) == [0, 1, 2, 3, 4]


def test_saving_takes_a_twentieth_of_the_time_at_most(saves):
    assert saves(21, 5.0, 1.0) == [0, 4, 8, 12, 16, 20]


def test_a_few_minutes_are_lost_at_most_however_long_a_save_takes(saves):
    assert saves(5, 100.0, 60.0) == [0, 2, 4]


def test_all_processes_save_when_the_first_one_says_so(saves):
    assert saves(3, 100.0, 0.1, lambda _: False) == []
    assert saves(3, 0.001, 30.0, lambda _: True) == [0, 1, 2]


def test_a_run_goes_on_from_an_epoch_before_the_last_to_the_figures_of_an_undisturbed_one(bench, quick, monkeypatch):
    settings = (*quick, "--trainer.max_epochs", "4", "--data.augmentation", "symmetries")
    whole = json.loads(bench("fit", *settings, "--runs", "whole", "--json").stdout)

    def interrupt(self: Any, trainer: Any, _: Any) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.checkpoint._SHARE", 1e-9)  # only the first epoch is saved
        patch.setattr("bench.runs.callbacks.EpochSeed.on_train_epoch_start", interrupt)
        assert bench("fit", *settings).status == 130
    (run,) = Path("runs").glob("*/*/*")
    assert torch.load(run / "last.ckpt", weights_only=True)["epoch"] == 0
    record = json.loads(bench("fit", "--resume", run, "--json").stdout)
    assert record["metrics"] == whole["metrics"]
    assert record["cost"]["epochs"] == 4


def test_figures_do_not_depend_on_loader_processes(bench, quick):
    settings = (*quick, "--trainer.max_epochs", "2", "--data.augmentation", "symmetries", "--json")
    runs = [
        json.loads(bench("fit", *settings, "--data.num_workers", workers, "--runs", f"runs-{workers}").stdout)
        for workers in (0, 2)
    ]
    assert runs[0]["fingerprint"] == runs[1]["fingerprint"]
    assert runs[0]["metrics"] == runs[1]["metrics"]
