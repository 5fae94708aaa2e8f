"""`bench sweep`: a file stands for cells, each of which runs once and alone."""

import pytest
import yaml

from bench.config.presets import preset_names
from bench.sweep.plan import plan, read_sweep

SWEEP = {
    "models": ["autoencoder_l2"],
    "categories": ["screw"],
    "seeds": [0, 1],
    "settings": {"trainer": {"max_epochs": 1, "accelerator": "cpu"}},
    "variants": {"small": {"model": {"latent_dim": 2}}, "large": {"model": {"latent_dim": 4}}},
}


@pytest.fixture
def sweep(tmp_path, data_root):
    """Writes the sweep with changes and gives the command that runs it."""

    def write(**changes) -> tuple[str, ...]:
        path = tmp_path / "own.yaml"
        path.write_text(yaml.safe_dump(SWEEP | changes, sort_keys=False), encoding="utf-8")
        data = ("--data.root", str(data_root), "--data.image_size", "32", "--data.samples_per_epoch", "null")
        return ("sweep", str(path), *data, "--launcher.workers", "0")

    return write


def test_a_dry_run_names_every_cell_and_writes_nothing(bench, sweep, tmp_path):
    outcome = bench(*sweep(), "--dry-run")
    assert outcome.stdout.splitlines() == [
        *(f"autoencoder_l2, {variant}, screw, seed {seed}: to do" for variant in ("small", "large") for seed in (0, 1)),
        "4 cells, 0 done, 4 to do",
    ]
    assert not (tmp_path / "runs").exists()


def test_every_cell_leaves_a_record_and_runs_once(bench, sweep, tmp_path):
    first = bench(*sweep())
    records = sorted((tmp_path / "runs").rglob("record.json"))
    written = [path.stat().st_mtime_ns for path in records]
    again = bench(*sweep())
    assert (first.status, again.status) == (0, 0), first.stderr
    assert len(records) == 4
    assert [path.stat().st_mtime_ns for path in records] == written
    assert again.stdout == first.stdout


def test_a_cell_that_fails_is_named_and_stops_no_other(bench, sweep, tmp_path):
    variants = {"wrong": {"model": {"learning_rate": 1e30}}, "right": {"model": {"latent_dim": 2}}}
    outcome = bench(*sweep(variants=variants, seeds=[0]))
    assert outcome.status == 1
    assert "wrong, screw, seed 0: failed: the score of a normal image is no finite number" in outcome.stdout
    assert "right, screw, seed 0: image AUROC" in outcome.stdout
    assert "1 of 2 cells failed" in outcome.stderr


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"models": ["autoencoder_l3"]}, "'autoencoder_l2'"),
        ({"variants": {"x": {"model": {"latent_dmi": 2}}}}, "latent_dmi"),
        ({"modles": ["vae"]}, "modles"),
        ({"seeds": []}, "seeds"),
    ],
)
def test_a_mistake_anywhere_is_found_before_anything_runs(refuse, sweep, changes, word):
    assert word in refuse(*sweep(**changes))


def test_a_seed_typed_beside_the_files_own_is_refused(refuse, sweep):
    assert "'seeds'" in refuse(*sweep(), "--seed", "3")


@pytest.mark.parametrize("name", preset_names("sweep"))
def test_every_sweep_file_of_ours_can_be_planned(name):
    assert plan(read_sweep(name, {}), {})
