"""Runs that are stopped and resumed, and what their checkpoints hold."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor


def checkpoint(folder: str) -> dict[str, Tensor]:
    """The state of the one finished model below a folder."""
    (path,) = Path(folder).rglob("model.ckpt")
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def expect_the_same_bits_after_a_stop(bench, cell: Sequence[str], monkeypatch: pytest.MonkeyPatch, epoch: int) -> None:
    """A run stopped at the start of an epoch and resumed ends with the figures and the bits of one that was not."""

    def interrupt(self, trainer, _):
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    undisturbed = bench("fit", *cell, "--runs", "undisturbed", "--json")
    assert undisturbed.status == 0, undisturbed.stderr
    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.callbacks.EpochSeed.on_train_epoch_start", interrupt)
        assert bench("fit", *cell, "--runs", "stopped").status == 130
    (run,) = Path("stopped").glob("*/*/*")
    resumed = bench("fit", "--resume", run, "--json")
    assert resumed.status == 0, resumed.stderr
    assert json.loads(resumed.stdout)["metrics"] == json.loads(undisturbed.stdout)["metrics"]
    before, after = checkpoint("undisturbed"), checkpoint("stopped")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
