"""Where wandb is not installed, a run goes on without it, unless it was asked for."""

import sys

import pytest

QUICK = ("--model", "autoencoder_l2", "--category", "screw", "--data.image_size", "32", "--trainer.max_epochs", "1")


@pytest.fixture
def no_wandb(monkeypatch):
    monkeypatch.delenv("WANDB_MODE", raising=False)
    for name in [name for name in sys.modules if name.partition(".")[0] == "wandb"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as Python marks a module that is not there


def test_a_run_is_tracked_nowhere_and_finishes(bench, no_wandb, data_root):
    options = ("--data.root", data_root, "--data.samples_per_epoch", "8", "--trainer.accelerator", "cpu")
    outcome = bench("fit", *QUICK, *options, "--json")
    assert outcome.status == 0, outcome.stderr
    assert '"wandb": null' in outcome.stdout


def test_what_was_asked_for_is_a_line(refuse, no_wandb, data_root):
    words = refuse("fit", *QUICK, "--data.root", data_root, "--wandb", "offline")
    assert "W&B's mode is offline, and wandb is not installed: pip install wandb, or --wandb disabled" in words
