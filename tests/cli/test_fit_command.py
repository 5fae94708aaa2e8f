"""`bench fit`: what it prints, what it leaves, and when it does nothing."""

import json
from pathlib import Path

import pytest
import yaml


def test_a_run_leaves_its_record_predictions_checkpoint_settings_and_pictures(bench, quick):
    outcome = bench("fit", *quick)
    assert outcome.status == 0, outcome.stderr
    (run,) = Path("runs").glob("*/*/*")
    assert run.parts[1:3] == ("autoencoder_l2", "screw")
    assert {path.name for path in run.iterdir()} == {
        "config.yaml",
        "least_anomalous.png",
        "model.ckpt",
        "most_anomalous.png",
        "normal_scores.csv",
        "predictions.csv",
        "record.json",
    }


def test_a_run_prints_its_figures_and_where_its_record_lies(bench, quick):
    outcome = bench("fit", *quick)
    (record,) = Path("runs").rglob("record.json")
    for words in ("autoencoder_l2 on screw", "image AUROC", "blob", "throughput", str(record)):
        assert words in outcome.stdout
    assert outcome.stderr == ""


def test_a_run_prints_published_figures_beside_its_own_and_why_they_cannot_be_subtracted(bench, quick):
    lines = [line.rstrip() for line in bench("fit", *quick).stdout.splitlines()]
    assert next(line for line in lines if "this run" in line).split()[-1] == "published"
    assert next(line for line in lines if line.startswith(" pixel AUROC")).endswith(" 0.960*")
    assert next(line for line in lines if line.startswith(" image AUROC")).endswith(" 0.754 (mean of 15)*")
    source = next(line for line in lines if line.startswith("published: Autoencoder, squared error; "))
    assert "arXiv 2007.01760" in source
    reasons = next(line for line in lines if line.startswith("* "))
    assert all(words in reasons for words in ("image_size=32", "max_epochs=1", "not MVTec's own data"))


def test_a_run_without_published_figures_has_no_column_for_them(bench, quick):
    shown = bench("fit", *quick, "--model", "vae").stdout
    assert "image AUROC" in shown
    assert "published" not in shown


@pytest.mark.parametrize("command", ["quick", "quick_padim"])
def test_json_is_the_record_and_the_only_thing_on_stdout(bench, request, command):
    outcome = bench("fit", *request.getfixturevalue(command), "--json")
    (record,) = Path("runs").rglob("record.json")
    assert json.loads(outcome.stdout) == json.loads(record.read_text())
    assert outcome.stderr == ""


def test_a_finished_cell_is_not_run_again(bench, quick):
    first = bench("fit", *quick, "--json")
    (run,) = Path("runs").glob("*/*/*")
    before = {path: path.stat().st_mtime_ns for path in run.iterdir()}
    again = bench("fit", *quick, "--json")
    assert again.status == 0
    assert again.stdout == first.stdout
    assert again.stderr.startswith("bench: finished before, on 20")
    assert "--force" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in run.iterdir()} == before


def test_force_runs_a_finished_cell_again_to_the_same_figures(bench, quick):
    first = json.loads(bench("fit", *quick, "--json").stdout)
    record = next(Path("runs").rglob("record.json"))
    written = record.stat().st_mtime_ns
    again = bench("fit", *quick, "--json", "--force")
    assert (again.status, again.stderr) == (0, "")
    assert record.stat().st_mtime_ns > written
    assert json.loads(again.stdout)["metrics"] == first["metrics"]


def test_the_folder_of_runs_can_be_named(bench, quick):
    assert bench("fit", *quick, "--runs", "elsewhere/runs").status == 0
    assert not Path("runs").exists()
    assert len(list(Path("elsewhere/runs").rglob("record.json"))) == 1


def test_printed_settings_are_complete_and_touch_nothing(bench, quick, tmp_path):
    outcome = bench("fit", *quick, "--print_config")
    assert (outcome.status, outcome.stderr) == (0, "")
    printed = yaml.safe_load(outcome.stdout)
    assert printed["category"] == "screw"
    assert printed["model"]["name"] == "autoencoder_l2"
    assert printed["data"]["image_size"] == 32
    assert printed["trainer"]["max_epochs"] == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["quick", "quick_padim"])
def test_printed_settings_read_again_are_the_same_settings(bench, request, command):
    options = (*request.getfixturevalue(command), "--seed", "3", "--threshold_quantile", "0.95", "--data.crop", "24")
    printed = bench("fit", *options, "--print_config").stdout
    Path("printed.yaml").write_text(printed, encoding="utf-8")
    assert bench("fit", "--config", "printed.yaml", "--print_config").stdout == printed


def test_a_run_of_printed_settings_is_the_run_they_were_printed_for(bench, quick):
    Path("printed.yaml").write_text(bench("fit", *quick, "--print_config").stdout, encoding="utf-8")
    assert bench("fit", *quick).status == 0
    again = bench("fit", "--config", "printed.yaml")
    assert "finished before" in again.stderr
    (run,) = Path("runs").glob("*/*/*")
    assert (run / "config.yaml").read_text() == Path("printed.yaml").read_text()


def test_the_record_lists_what_no_preset_made(bench, quick):
    overrides = json.loads(bench("fit", *quick, "--seed", "2", "--json").stdout)["overrides"]
    assert overrides.pop("data.root")
    data = {"data.image_size": 32, "data.batch_size": 16, "data.samples_per_epoch": None}
    assert overrides == {"seed": 2, **data, "trainer.max_epochs": 1, "trainer.accelerator": "cpu"}


def test_images_in_random_poses_are_a_dataset_of_their_own(bench, quick_padim):
    options = (*quick_padim, "--data", "rd_mvtec_ad")
    refused = bench("fit", *options, "--data.crop", "null")
    assert (refused.status, refused.stderr.count("\n")) == (2, 1)
    assert "--data.crop" in refused.stderr
    record = json.loads(bench("fit", *options, "--data.crop", "24", "--json").stdout)
    assert record["dataset"] == "rd_mvtec_ad"
    assert record["official"] is False
    assert "images rotated within 10 degrees and cropped at random" in record["data"]["differences"]
    assert record["metrics"]["pixel_auroc"] is not None
