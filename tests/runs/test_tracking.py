import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.config import flatten
from bench.record import Record

BLOCK = 32 * 1024


def messages(content: bytes) -> Iterator[bytes]:
    """The messages of a .wandb file: LevelDB's log format (pieces within blocks of 32 KiB) behind seven bytes."""
    assert content[:4] == b":W&B"
    place, pieces = 7, b""
    while place + 7 <= len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        pieces += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last of several pieces
            yield pieces
            pieces = b""


def read_offline_run(folder: Path) -> dict:
    """What a real offline run file holds: configuration, summary, history, run."""
    from wandb.proto import wandb_internal_pb2

    found: dict = {"config": {}, "summary": {}, "history": [], "run": None}
    for data in messages(next(folder.rglob("*.wandb")).read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found["run"] = record.run
            found["config"] |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "summary":
            for item in record.summary.update:
                found["summary"]["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        elif kind == "history":
            found["history"].append({i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item})
    return found


@pytest.fixture(scope="module")
def tracked(quick, bench, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        outcome = bench("fit", *quick, "--runs", folder / "runs", "--wandb", "offline", "--trainer.max_epochs", "2")
    assert outcome.status == 0, outcome.stderr
    run = next((folder / "runs").rglob("record.json")).parent
    return run, Record.read(run), outcome, read_offline_run(run)


def test_the_run_is_named_tagged_and_grouped_by_its_cell(tracked):
    _, record, _, stored = tracked
    run = stored["run"]
    assert run.run_id == record.fingerprint
    assert run.display_name == "autoencoder_l2-screw-s0"
    assert (run.project, run.run_group) == ("bench", "autoencoder_l2")
    assert set(run.tags) == {"one-class", "mvtec_ad", "model"}


def test_the_configuration_is_flat_and_dotted(tracked):
    _, record, _, stored = tracked
    expected = flatten(record.config)
    assert {key: stored["config"].get(key) for key in expected} == expected


def test_record_and_predictions_go_with_the_run(tracked):
    """So that a leaderboard can be made from the project alone."""
    folder, _, _, _ = tracked
    for name in ("record.json", "predictions.csv"):
        (kept,) = (folder / "wandb").rglob(f"files/{name}")
        assert kept.read_bytes() == (folder / name).read_bytes()


def test_the_summary_holds_the_records_metrics_under_their_names(tracked):
    _, record, _, stored = tracked
    assert {key: stored["summary"].get(key) for key in record.metrics} == record.metrics


def test_the_loss_curves_have_a_point_per_epoch(tracked):
    _, _, _, stored = tracked
    assert sum("train/loss" in row for row in stored["history"]) == 2
    assert sum("validation/loss" in row for row in stored["history"]) == 2


def test_one_line_says_how_to_send_the_run_later(tracked):
    run, _, outcome, _ = tracked
    lines = [line for line in outcome.stderr.splitlines() if "wandb sync" in line]
    assert len(lines) == 1
    assert str(run / "wandb") in lines[0]


def test_without_a_service_an_online_run_goes_on_offline(quick, bench, own_folder, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("bench.tracking._SECONDS_TO_REACH_SERVICE", 3)
    outcome = bench("fit", *quick, "--wandb", "online")
    assert outcome.status == 0, outcome.stderr
    assert "goes on offline" in outcome.stderr
    assert next(own_folder.rglob("*.wandb"))


def test_online_without_a_key_is_refused_and_never_asks(quick, refuse, monkeypatch, tmp_path):
    monkeypatch.setenv("NETRC", str(tmp_path / "no_netrc"))
    assert "needs a key" in refuse("fit", *quick, "--wandb", "online")
