import json

import torch

from bench.models.padim import PaDiM
from bench.records.record import Record


def test_the_checkpoint_gives_the_figures_of_the_record_to_the_bit(finished, bench, monkeypatch):
    record = Record.read(finished)
    outcome = bench("test", "--run", finished, "--json")
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["metrics"] == record.metrics


def test_a_checkpoint_of_padim_needs_no_weights_to_be_tested(quick_padim, bench, own_folder):
    assert bench("fit", *quick_padim).status == 0
    folder = next(own_folder.rglob("record.json")).parent
    outcome = bench("test", "--run", folder)
    assert outcome.status == 0, outcome.stderr
    assert "the same figures as in the record" in outcome.stdout


def test_the_checkpoint_holds_tensors_and_plain_values_only(finished):
    content = torch.load(finished / "model.ckpt", weights_only=True)
    assert set(content) == {"pytorch-lightning_version", "state_dict", "spec", "bench"}


def test_lightning_loads_the_checkpoint_itself(quick_padim, bench, own_folder):
    from bench.data.datamodule import DataSpec

    bench("fit", *quick_padim)
    folder = next(own_folder.rglob("record.json")).parent
    model = PaDiM.load_from_checkpoint(
        folder / "model.ckpt", spec=DataSpec(32, 1, 12), weights="none", channels=8, weights_only=True
    )
    assert torch.isfinite(model.threshold)


def test_other_images_than_those_of_the_run_are_refused(finished, bench, own_category):
    outcome = bench("test", "--run", finished, "--data.root", own_category.parent)
    assert outcome.status in (0, 2)
    (own_category / "test" / "good" / "000.png").write_bytes((own_category / "train" / "good" / "001.png").read_bytes())
    outcome = bench("test", "--run", finished, "--data.root", own_category.parent)
    assert outcome.status == 2
    assert "not the images" in outcome.stderr
