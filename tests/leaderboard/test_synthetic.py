"""The whole way on made-up data: a sweep, its records, the tables, and the check that a later hand runs."""

from pathlib import Path

import pytest

SWEEP = """\
models: [padim, autoencoder_l2]
categories: [screw, carpet]
data: synthetic
"""


@pytest.mark.slow
def test_a_sweep_over_synthetic_categories_gives_a_leaderboard_that_checks(bench, own_folder):
    Path("one.yaml").write_text(SWEEP.replace("padim, autoencoder_l2", "padim"))
    Path("two.yaml").write_text(SWEEP.replace("padim, ", ""))
    shared = ("--data.image_size", "32", "--trainer.accelerator", "cpu", "--wandb", "disabled")
    padim = ("--model.weights", "none", "--model.channels", "50")
    quick = ("--trainer.max_epochs", "1", "--data.samples_per_epoch", "null", "--data.texture_patch", "null")
    assert bench("sweep", "one.yaml", *shared, *padim).status == 0
    assert bench("sweep", "two.yaml", *shared, *quick).status == 0
    assert bench("leaderboard", "runs", "--publish").status == 0
    text = Path("leaderboards/synthetic-one-class.md").read_text()
    assert "### Ranking by image AUROC over 2 categories: carpet, screw" in text
    assert text.count("| best |") == 2
    outcome = bench("leaderboard", "leaderboards/records", "--check")
    assert (outcome.status, outcome.stderr) == (0, "")
    record = next(Path("leaderboards/records").rglob("record.json"))
    record.write_text(record.read_text().replace('"image_auroc": 0.', '"image_auroc": 0.0', 1))
    assert bench("leaderboard", "leaderboards/records", "--check").status == 1
