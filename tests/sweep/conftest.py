"""What all sweeps of the tests share: quick cells, and the figures of a sweep that nothing disturbs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweep_processes import figures


@pytest.fixture
def small(data_root: Path) -> tuple[str, ...]:
    """Options of a sweep of six cells that take a second each: a model, a category, two sizes, three seeds."""
    return (
        *("--models", "autoencoder_l2", "--categories", "screw", "--seeds", "0,1,2", "--set", "model.latent_dim=2,4"),
        *("--trainer.max_epochs", "1", "--trainer.accelerator", "cpu", "--data.root", str(data_root)),
        *("--data.image_size", "32", "--data.samples_per_epoch", "null"),
    )


@pytest.fixture
def undisturbed(bench, tmp_path) -> Callable[..., dict[str, Any]]:
    """The figures of a sweep that nothing disturbs, one cell after the other in this process."""

    def run(*arguments: object) -> dict[str, Any]:
        outcome = bench("sweep", *arguments, "--launcher.workers", "0", "--runs", tmp_path / "undisturbed")
        assert outcome.status == 0, outcome.stderr
        return figures(tmp_path / "undisturbed")

    return run
