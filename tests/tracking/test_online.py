"""Online runs, sent by W&B's real client to a local stand-in; the service itself is never met."""

import json
from pathlib import Path

import pytest

from bench.records.record import Record
from fake_records import make_record, write_record
from wandb_service import Service, running_service


@pytest.fixture
def service(monkeypatch):
    import wandb

    wandb.teardown()
    with running_service() as stand_in:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.address)
        monkeypatch.setenv("WANDB_MODE", "online")
        yield stand_in
        stand_in.lost.clear()
        wandb.teardown()


def logged_keys(service: Service) -> set[str]:
    return {key for row in service.history for key in row}


@pytest.fixture(scope="module")
def arrived(bench, quick, tmp_path_factory):
    """What the service got of one run, the run's folder, and what was printed."""
    import wandb

    folder = tmp_path_factory.mktemp("arrived")
    wandb.teardown()  # the client's service of earlier tests
    with running_service() as stand_in, pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_API_KEY", "0" * 40)
        patch.setenv("WANDB_BASE_URL", stand_in.address)
        patch.delenv("WANDB_PROJECT", raising=False)
        patch.setenv("BENCH_QUIET", "1")
        outcome = bench("fit", *quick, "--runs", folder / "runs", "--wandb", "online", "--wandb_checkpoint")
        wandb.teardown()
    assert outcome.status == 0, outcome.stderr
    (run,) = (path.parent for path in folder.rglob("record.json") if "wandb" not in path.parts)
    return stand_in, run, outcome


def test_a_run_arrives_whole_and_nothing_is_said(arrived):
    service, folder, outcome = arrived
    assert outcome.stderr == ""
    record = Record.read(folder)
    first = service.mutations["UpsertBucket"][0]
    assert (first["name"], first["displayName"]) == (record.fingerprint, "autoencoder_l2-screw-s0")
    assert (first["project"], first["groupName"]) == ("bench", "autoencoder_l2")
    assert {"train/loss", "validation/loss", "train/learning_rate", "roc_table", "test_images"} <= logged_keys(service)
    summary = json.loads(service.files["wandb-summary.json"])
    assert {name: summary.get(name) for name in record.metrics} == record.metrics
    assert service.exit_code == 0
    assert record.wandb is not None
    assert record.wandb["url"] == f"{service.address}/someone/defects/runs/{record.fingerprint}"


def test_record_predictions_and_checkpoint_arrive_as_they_lie_on_disk(arrived):
    service, folder, _ = arrived
    for name in ("record.json", "predictions.csv", "model.ckpt"):
        assert service.files[name] == (folder / name).read_bytes(), name
    kinds = service.artifacts
    assert kinds[f"record-{folder.name}"] == "record"
    assert kinds[f"checkpoint-{folder.name}"] == "model"


def test_a_run_that_fails_arrives_as_failed(bench, quick, service):
    outcome = bench("fit", *quick, "--model.learning_rate", "1e30", "--trainer.max_epochs", "3")
    assert outcome.status == 1
    assert service.exit_code == 1
    assert json.loads(service.files["wandb-summary.json"])["status"] == "failed"


def test_the_tables_of_a_leaderboard_arrive_with_their_files(bench, own_folder, service):
    scores = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}
    write_record(own_folder / "runs", make_record("one"), scores)
    outcome = bench("leaderboard", "runs", "--to-wandb", "someone/defects")
    assert outcome.status == 0, outcome.stderr
    assert f"logged: {service.address}/someone/defects/runs/" in outcome.stderr
    first = service.mutations["UpsertBucket"][0]
    assert (first["entity"], first["project"], first["jobType"]) == ("someone", "defects", "leaderboard")
    assert "mvtec_ad-one-class-model-not-official-v2" in logged_keys(service)
    for path in Path("leaderboards").iterdir():
        if path.is_file():
            assert service.files[path.name] == path.read_bytes()
    assert service.exit_code == 0
