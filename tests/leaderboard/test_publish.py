"""`bench leaderboard --publish`: what leaves a machine with a record, and what does not."""

import csv
import hashlib
import json
import platform
import re
import sys
from pathlib import Path

import pytest

from fake_records import make_record, write_record

W_AND_B = ("--wandb_images", "off", "--wandb_checkpoint")


@pytest.fixture
def typed(bench, monkeypatch):
    """`bench` typed in a shell, so that the record knows the command."""

    def run(*arguments: object):
        monkeypatch.setattr(sys, "argv", ["bench", *map(str, arguments)])
        return bench(*arguments)

    return run


@pytest.fixture
def published(bench, typed, quick, own_folder) -> dict[str, Path]:
    """A run with everything that could give a person away, and its published copy."""
    run = typed("fit", *quick, "--seed=4", "--runs", "secret/runs", "--wandb", "disabled", *W_AND_B, "--json")
    assert run.status == 0, run.stderr
    outcome = bench("leaderboard", "secret/runs", "--publish")
    assert outcome.status == 0, outcome.stderr
    return {name: next(Path(name).rglob("record.json")) for name in ("secret/runs", "leaderboards/records")}


def test_no_host_user_or_folder_is_in_a_published_record(published, data_root, own_folder):
    text = published["leaderboards/records"].read_text()
    for private in (f'"{platform.node()}"', str(data_root), str(own_folder), "secret"):
        assert private not in text, private
    record = json.loads(text)
    assert record["config"]["data"]["root"] == record["overrides"]["data.root"] == "$BENCH_DATA"
    assert "host" not in record["environment"]
    assert record["environment"]["processor"]


def test_the_command_of_a_published_record_can_be_typed_again(published):
    command = json.loads(published["leaderboards/records"].read_text())["command"]
    assert command.startswith("bench fit --model autoencoder_l2 ")
    assert "--data.root $BENCH_DATA" in command
    assert "--seed 4" in command
    assert "--runs" not in command
    assert "wandb" not in command


def test_a_method_of_ones_own_is_named_without_its_folder(bench, typed, quick, own_folder):
    Path("private").mkdir()
    text = "class_path: bench.models.autoencoder.Autoencoder\nmodel: {residual: l2}\n"
    Path("private/mine.yaml").write_text(text)
    run = typed("fit", *quick[2:], "--model", own_folder / "private" / "mine.yaml", "--json")
    assert run.status == 0, run.stderr
    assert bench("leaderboard", "--publish").status == 0
    published = next(Path("leaderboards/records").rglob("record.json")).read_text()
    assert "private" not in published
    assert "--model mine.yaml" in json.loads(published)["command"]


def test_figures_and_predictions_are_those_of_the_run(published):
    own, copy = (json.loads(path.read_text()) for path in published.values())
    for key in ("metrics", "metrics_by_defect", "cost", "fingerprint", "data", "weights"):
        assert copy[key] == own[key]
    predictions = (published["leaderboards/records"].parent / "predictions.csv").read_bytes()
    assert hashlib.sha256(predictions).hexdigest() == copy["data"]["predictions_sha256"]
    assert len(list(csv.DictReader(predictions.decode().splitlines()))) == sum(
        count for name, count in copy["data"]["counts"].items() if name.startswith("test/")
    )


def test_tables_from_the_published_records_are_the_tables_of_the_runs(published, bench):
    """But for the way to the records: links where they lie below the tables, else fingerprints."""

    def tables() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in Path("leaderboards").glob("*.*")}

    first = tables()
    assert bench("leaderboard", "leaderboards/records").status == 0
    assert tables() == first
    assert bench("leaderboard", "secret/runs").status == 0
    second = tables()
    assert second["mvtec_ad-one-class.csv"] == first["mvtec_ad-one-class.csv"]
    fingerprint = published["secret/runs"].parent.name
    text = second["mvtec_ad-one-class.md"].decode()
    details = re.search(r"<details>.*?</details>\n", text, flags=re.DOTALL)[0]
    assert f"seed 4 `{fingerprint}`" in details
    link = f"[4](records/autoencoder_l2/screw/{fingerprint})"
    linked = first["mvtec_ad-one-class.md"].decode()
    assert text.replace(details, "").split() == linked.replace(link, "4").split()


def test_weights_are_named_without_their_folder(bench, typed, quick_padim, own_folder):
    import timm
    from safetensors.torch import save_file

    Path("private").mkdir()
    state = {k: v.contiguous() for k, v in timm.create_model("resnet18").state_dict().items()}
    save_file(state, "private/own.safetensors")
    run = typed("fit", *quick_padim, "--model.weights", "private/own.safetensors", "--json")
    assert run.status == 0, run.stderr
    assert bench("leaderboard", "--publish").status == 0
    text = next(Path("leaderboards/records").rglob("record.json")).read_text()
    assert "private" not in text
    assert json.loads(text)["config"]["model"]["weights"] == "own.safetensors"
    assert "--model.weights own.safetensors" in json.loads(text)["command"]


def test_a_record_that_cannot_be_trusted_is_named_and_the_others_are_published(bench, own_folder):
    write_record(Path("runs"), make_record("vae", "screw"), {"good": [0.1], "cut": [0.9]})
    torn = Path("runs/torn/record.json")
    torn.parent.mkdir()
    torn.write_text('{"schema": ')
    outcome = bench("leaderboard", "runs", "--publish")
    assert outcome.status == 1
    assert str(torn) in outcome.stderr
    assert [path.parts[2] for path in Path("leaderboards/records").rglob("record.json")] == ["vae"]


def test_a_folder_without_a_finished_run_is_refused(refuse, own_folder):
    Path("empty").mkdir()
    assert "no finished run in empty" in refuse("leaderboard", "empty", "--publish")


def test_the_committed_tables_are_those_of_the_committed_records(bench, own_folder):
    committed = Path(__file__).parents[2] / "leaderboards"
    outcome = bench("leaderboard", committed / "records", "--out", committed, "--check")
    assert (outcome.status, outcome.stderr) == (0, "")
