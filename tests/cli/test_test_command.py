"""`bench test --run` gives the figures of the run again, or says why the checkpoint cannot."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from fake_data import write_category


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of a finished run that the test may damage."""
    folder = tmp_path / "runs" / Path(*finished.parts[-3:])
    shutil.copytree(finished, folder)
    return folder


class Malicious:
    """A pickle that runs code where it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_a_repeated_test_gives_exactly_the_figures_of_the_record(bench, finished):
    outcome = bench("test", "--run", finished, "--json")
    assert outcome.status == 0, outcome.stderr
    record = json.loads((finished / "record.json").read_text())
    assert json.loads(outcome.stdout) == {key: record[key] for key in ("metrics", "metrics_by_defect")}
    assert outcome.stderr == ""


def test_a_repeated_test_says_that_nothing_differs(bench, finished):
    assert "the same figures as in the record" in bench("test", "--run", finished).stdout


def test_a_repeated_test_writes_nothing(bench, run):
    before = {path: path.read_bytes() for path in run.iterdir()}
    assert bench("test", "--run", run).status == 0
    assert {path: path.read_bytes() for path in run.iterdir()} == before


def test_the_data_of_the_run_may_have_moved(bench, run, data_root, tmp_path):
    shutil.copytree(data_root, tmp_path / "elsewhere")
    outcome = bench("test", "--run", run, "--data.root", tmp_path / "elsewhere")
    assert outcome.status == 0, outcome.stderr
    assert "the same figures as in the record" in outcome.stdout


def test_other_data_than_the_run_s_are_refused(refuse, run, tmp_path):
    write_category(tmp_path / "other", train=11)
    line = refuse("test", "--run", run, "--data.root", tmp_path / "other")
    assert "these are not the images" in line
    assert "--data.root" in line


def test_a_folder_without_a_record_is_named(refuse):
    assert "no record at nowhere" in refuse("test", "--run", "nowhere")


def test_a_missing_run_is_asked_for(refuse):
    assert "--run" in refuse("test")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', "\xff"])
def test_a_damaged_record_is_named(refuse, run, text):
    (run / "record.json").write_text(text, encoding="latin-1")
    assert f"{run / 'record.json'} is no record of this version" in refuse("test", "--run", run)


def test_a_run_without_its_checkpoint_is_named(refuse, run):
    (run / "model.ckpt").unlink()
    assert f"no checkpoint {run / 'model.ckpt'}" in refuse("test", "--run", run)


def test_a_truncated_checkpoint_is_refused_by_name(refuse, run):
    checkpoint = run / "model.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    line = refuse("test", "--run", run)
    assert f"{checkpoint} is damaged" in line


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"\x00" * 100])
def test_a_file_of_anything_else_is_refused_by_name(refuse, run, content):
    (run / "model.ckpt").write_bytes(content)
    assert str(run / "model.ckpt") in refuse("test", "--run", run)


def test_code_in_a_checkpoint_never_runs(refuse, run):
    content = torch.load(run / "model.ckpt", weights_only=True)
    torch.save({**content, "harm": Malicious()}, run / "model.ckpt")
    assert f"{run / 'model.ckpt'} holds pickled code, which is never run" in refuse("test", "--run", run)
    assert not Path("harmed").exists()


def test_a_checkpoint_of_something_else_is_refused(refuse, run):
    torch.save({"state_dict": {}}, run / "model.ckpt")
    assert f"{run / 'model.ckpt'} is no checkpoint of bench" in refuse("test", "--run", run)


@pytest.mark.parametrize(
    "other", [("--model", "vae"), ("--model.latent_dim", "5"), ("--seed", "1")], ids=["model", "setting", "seed"]
)
def test_the_checkpoint_of_another_run_is_refused(bench, refuse, quick, run, other):
    assert bench("fit", *quick, *other, "--runs", "others").status == 0
    (checkpoint,) = Path("others").rglob("model.ckpt")
    shutil.copy(checkpoint, run / "model.ckpt")
    line = refuse("test", "--run", run)
    assert str(run / "model.ckpt") in line
    assert "another" in line
