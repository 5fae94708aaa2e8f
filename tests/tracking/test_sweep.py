"""A sweep in W&B: one group, and one line for all its offline runs."""

import re
from pathlib import Path

from offline_runs import read_offline_run

SMALL = ("--models", "autoencoder_l2", "--categories", "screw", "--seeds", "0,1", "--data.image_size", "32")
QUICK = (*SMALL, "--data.samples_per_epoch", "null", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")


def test_the_runs_of_a_sweep_are_one_group_and_are_sent_by_one_line(bench, data_root, own_folder):
    here = ("--launcher.workers", "0", "--data.root", data_root)
    outcome = bench("sweep", *QUICK, *here, "--wandb", "offline", "--group", "mine")
    assert outcome.status == 0, outcome.stderr
    lines = [line for line in outcome.stderr.splitlines() if "wandb sync" in line]
    assert len(lines) == 1
    assert lines[0].startswith("2 W&B runs kept offline; send them with: wandb sync ")
    found = sorted(Path().glob(lines[0].split()[-1]))
    assert found == sorted(path.parent for path in Path("runs").rglob("*.wandb"))
    stored = [read_offline_run(folder) for folder in found]
    assert [run.run.run_group for run in stored] == ["mine", "mine"]
    assert {run.run.display_name for run in stored} == {"autoencoder_l2-screw-s0", "autoencoder_l2-screw-s1"}


def test_cells_that_were_finished_before_are_not_told_of_again(bench, data_root, own_folder):
    here = ("--launcher.workers", "0", "--data.root", data_root, "--seeds", "0")
    first = bench("sweep", *QUICK, *here, "--wandb", "offline")
    assert len(re.findall("W&B run kept offline; send it with: wandb sync", first.stderr)) == 1
    again = bench("sweep", *QUICK, *here, "--wandb", "offline")
    assert "wandb sync" not in again.stderr
