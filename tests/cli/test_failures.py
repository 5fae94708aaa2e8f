"""A run that fails says why in its record, and the next attempt begins anew."""

import json
import re
from pathlib import Path

DIVERGE = ("--model.learning_rate", "1e30", "--data.batch_size", "4")


def test_a_loss_that_is_no_number_ends_the_run_with_the_step_it_began_at(bench, quick):
    outcome = bench("fit", *quick, *DIVERGE)
    assert outcome.status == 1
    assert outcome.stdout == ""
    assert re.fullmatch(r"bench: the loss is no finite number since step \d+; .*\n", outcome.stderr)


def test_the_record_of_a_failed_run_holds_its_error_and_no_metrics(bench, quick):
    line = bench("fit", *quick, *DIVERGE).stderr
    (path,) = Path("runs").rglob("record.json")
    record = json.loads(path.read_text())
    assert record["status"] == "failed"
    assert f"bench: {record['error']}\n" == line
    assert record["metrics"] == {}
    assert record["data"]["predictions_sha256"] is None
    assert not path.with_name("predictions.csv").exists()


def test_a_failed_run_is_run_again_without_being_forced(bench, quick):
    assert bench("fit", *quick, *DIVERGE).status == 1
    again = bench("fit", *quick, *DIVERGE)
    assert again.status == 1
    assert "finished before" not in again.stderr


def test_an_error_of_a_method_s_own_is_one_line_that_names_the_traceback(bench, quick, monkeypatch):
    def break_off(*_: object) -> None:
        raise ValueError("something is odd\nand this is more of it")

    monkeypatch.setattr("bench.models.autoencoder.Autoencoder.forward", break_off)
    outcome = bench("fit", *quick)
    (traceback,) = Path("runs").rglob("traceback.txt")
    assert outcome.status == 1
    assert outcome.stderr == f"bench: the run failed: something is odd; see {traceback}\n"
    assert "ValueError: something is odd" in traceback.read_text()
    assert json.loads(traceback.with_name("record.json").read_text())["error"] == "something is odd"


def test_a_run_that_finishes_after_all_leaves_no_trace_of_its_failure(bench, quick, monkeypatch):
    def break_off(*_: object) -> None:
        raise ValueError("something is odd")

    with monkeypatch.context() as patch:
        patch.setattr("bench.models.autoencoder.Autoencoder.forward", break_off)
        assert bench("fit", *quick).status == 1
    assert bench("fit", *quick).status == 0
    assert not list(Path("runs").rglob("traceback.txt"))
