"""A service that does not answer, or ceases to: one line, seconds and not minutes, and a run that can still be sent."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import UsageError
from bench.records.record import Record
from bench.tracking import service_answer as answer
from bench.tracking.service import choose_mode
from offline_runs import read_offline_run
from wandb_service import Service, running_service

SMALL = ("--models", "autoencoder_l2", "--categories", "screw", "--data.image_size", "32")
QUICK = (*SMALL, "--data.samples_per_epoch", "null", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
SECONDS_AFTER_THE_RUN = 30


@pytest.fixture
def service(monkeypatch):
    """A service that answers until it is told otherwise, with a key for it."""
    import wandb

    wandb.teardown()
    with running_service() as stand_in:
        monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
        monkeypatch.setenv("WANDB_BASE_URL", stand_in.address)
        monkeypatch.delenv("WANDB_MODE")
        yield stand_in
        stand_in.lost.clear()
        wandb.teardown()


def the_run(folder: Path) -> Path:
    return next(folder.rglob("runs/**/record.json")).parent


def test_a_service_that_answers_is_not_silent(service):
    assert answer.silence() is None
    assert service.asked == 1


@pytest.mark.parametrize(
    ("mood", "words"),
    [
        ("error", "answers with status 503"),
        ("hang", "did not answer within 0.5 seconds"),
        ("close", "cannot be reached"),
        ("nonsense", "answers with something that is not W&B's"),
        ("page", "answers with something that is not W&B's"),
    ],
)
def test_a_service_that_does_not_answer_as_w_and_b_does_is_silent(service, monkeypatch, mood, words):
    monkeypatch.setattr(answer, "SECONDS_TO_ANSWER", 0.5)
    service.mood = mood
    service.lost.set()
    begin = time.monotonic()
    assert words in str(answer.silence())
    assert time.monotonic() - begin < 2


@pytest.mark.parametrize(
    "address", ["nonsense", "ftp://somewhere", "http://", "http://somewhere:port", "http://[", "//somewhere"]
)
def test_an_address_that_is_none_is_named_and_nothing_is_asked(monkeypatch, address):
    monkeypatch.setenv("WANDB_BASE_URL", address)
    assert f"WANDB_BASE_URL '{address}' is no address" in str(answer.silence())


def test_the_address_is_that_of_the_login_where_no_variable_names_one(monkeypatch, own_folder):
    monkeypatch.delenv("WANDB_BASE_URL", raising=False)
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(own_folder))
    assert answer.service_address() == "https://api.wandb.ai"
    (own_folder / "settings").write_text("[default]\nbase_url = http://ours:8080\n", encoding="utf-8")
    assert answer.service_address() == "http://ours:8080"


@pytest.mark.parametrize(
    ("named", "mode"),
    [("OFFLINE", "offline"), (" Disabled ", "disabled"), ("dryrun", "offline"), ("Online", "online"), ("", "online")],
)
def test_wandb_mode_is_read_in_whatever_case(monkeypatch, named, mode):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_MODE", named)
    assert choose_mode(None) == mode


def test_a_wandb_mode_that_is_none_is_refused(refuse, quick, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    with pytest.raises(UsageError, match="sometimes"):
        choose_mode(None)
    assert "WANDB_MODE 'sometimes' is no mode" in refuse("fit", *quick)


def test_a_run_with_an_address_that_is_none_and_a_mode_in_capitals_is_kept_offline(
    bench, quick, own_folder, monkeypatch
):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "not an address")
    monkeypatch.setenv("WANDB_MODE", "ONLINE")
    outcome = bench("fit", *quick)
    assert outcome.status == 0, outcome.stderr
    first, second = outcome.stderr.splitlines()
    assert "WANDB_BASE_URL 'not an address' is no address" in first
    assert second.startswith("W&B run kept offline; send it with: wandb sync ")
    stored = read_offline_run(the_run(own_folder))
    assert stored.exit_code == 0
    assert {"image_auroc", "status"} <= stored.summary.keys()


def test_a_service_that_is_gone_is_asked_once_for_a_whole_sweep(bench, data_root, own_folder, service):
    service.lost.set()
    outcome = bench("sweep", *QUICK, "--seeds", "0,1", "--launcher.workers", "0", "--data.root", data_root)
    assert outcome.status == 0, outcome.stderr
    assert service.asked == 1
    assert outcome.stderr.count("W&B cannot be reached") == 1
    assert outcome.stderr.count("wandb sync") == 1


def test_a_plan_and_a_sweep_without_anything_to_do_ask_nothing(bench, data_root, service, monkeypatch):
    here = ("--seeds", "0", "--launcher.workers", "0", "--data.root", data_root)
    assert bench("sweep", *QUICK, *here, "--wandb", "disabled").status == 0
    assert bench("sweep", *QUICK, *here).status == 0
    assert bench("sweep", *QUICK, *here, "--dry-run").status == 0
    assert service.asked == 0


@pytest.mark.slow
def test_a_service_that_goes_in_the_midst_of_a_sweep_is_missed_once(bench, data_root, own_folder, service, monkeypatch):
    service.lost_after = "CommitArtifact"
    outcome = bench("sweep", *QUICK, "--seeds", "0,1,2", "--launcher.workers", "0", "--data.root", data_root)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr.count("not sent in full") == 1
    assert outcome.stderr.count("W&B did not answer any more") == 1
    assert "2 W&B runs kept offline" in outcome.stderr
    asked = service.asked
    assert bench("sweep", *QUICK, "--seeds", "3,4", "--launcher.workers", "0", "--data.root", data_root).status == 0
    assert service.asked == asked + 1


@pytest.mark.slow
def test_two_workers_ask_once_as_well(data_root, own_folder, service):
    service.mood = "hang"
    service.lost.set()
    words = ("sweep", *QUICK, "--seeds", "0,1,2", "--launcher.workers", "2", "--data.root", str(data_root))
    done = subprocess.run([sys.executable, "-m", "bench", *words], capture_output=True, text=True, check=True)
    assert service.asked == 1
    assert done.stderr.count("W&B cannot be reached") == 1


@pytest.mark.slow
@pytest.mark.parametrize("mood", ["error", "hang", "close"])
@pytest.mark.parametrize("last", ["UpsertBucket", "CreateArtifact", "CommitArtifact"])
def test_a_service_that_goes_during_a_run_costs_a_line_and_half_a_minute_at_most(
    bench, quick, own_folder, service: Service, mood, last
):
    service.mood, service.lost_after = mood, last
    outcome = bench("fit", *quick)
    run = the_run(own_folder)
    after = time.time() - (run / "record.json").stat().st_mtime
    assert outcome.status == 0, outcome.stderr
    assert after < SECONDS_AFTER_THE_RUN
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("W&B run not sent in full (its service does not answer any more); send it with: wandb sync")
    stored = read_offline_run(run)
    record = Record.read(run)
    assert {key: stored.summary.get(key) for key in record.metrics} == record.metrics
    assert any("train/loss" in row for row in stored.history)
    assert stored.exit_code == 0


@pytest.mark.slow
def test_what_a_lost_service_missed_is_sent_by_the_command_that_is_printed(bench, quick, own_folder, service):
    service.lost_after = "UpsertBucket"
    outcome = bench("fit", *quick)
    words = shlex.split(outcome.stderr.partition("send it with: wandb ")[2])
    record = Record.read(the_run(own_folder))
    with running_service() as other:
        settings = os.environ | {"WANDB_BASE_URL": other.address, "WANDB_MODE": "online"}
        command = [sys.executable, "-m", "wandb", *words]
        done = subprocess.run(command, env=settings, check=False, capture_output=True, text=True)
        assert done.returncode == 0, done
    assert any("train/loss" in row for row in other.history)
    assert f'"image_auroc":{record.metrics["image_auroc"]}'.removesuffix(".0") in other.files[
        "wandb-summary.json"
    ].decode().replace(" ", "")
    assert other.files["record.json"] == (the_run(own_folder) / "record.json").read_bytes()


@pytest.mark.slow
def test_a_panic_of_wandbs_own_process_is_not_shown(quick, own_folder, service):
    service.mood, service.lost_after = "nonsense", "UpsertBucket"
    command = [sys.executable, "-m", "bench", "fit", *quick]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "panic" not in done.stderr
    assert "goroutine" not in done.stderr
    assert all(line.startswith("W&B ") for line in done.stderr.splitlines()), done.stderr
