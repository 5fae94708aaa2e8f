"""A cell that fails, or takes its process with it, spoils no other; a full disk ends the sweep."""

import json
import os
import shlex
import signal
from pathlib import Path

import pytest

from sweep_processes import figures, files_below, finish, kill_group, records, start, wait_for

HERE = ("--launcher.workers", "0")
TWO_WORKERS = ("--launcher.workers", "2", "--launcher.threads", "1")


@pytest.fixture
def two(small) -> tuple[str, ...]:
    """Two cells."""
    return (*small, "--seeds", "0")


def without_sets(cells: tuple[str, ...]) -> tuple[str, ...]:
    place = cells.index("--set")
    return cells[:place] + cells[place + 2 :]


def test_a_failed_cell_says_why_in_its_record_and_the_next_one_is_as_if_it_had_not_been(bench, two):
    rates = ("--set", "model.learning_rate=1e30,0.001")
    outcome = bench("sweep", *two, *rates, *HERE, "--runs", "both")
    assert outcome.status == 1
    assert "2 of 4 cells failed" in outcome.stderr
    assert "2 failed" in outcome.stderr.splitlines()[-3]
    failed = [record for record in records(Path("both")).values() if record["status"] == "failed"]
    assert len(failed) == 2
    assert all("learning rate" in record["error"] or "finite" in record["error"] for record in failed)
    finished = [record["metrics"] for record in records(Path("both")).values() if record["status"] == "finished"]
    assert len(finished) == 2
    preset_rate = bench("sweep", *two, "--model.learning_rate", "0.001", *HERE, "--runs", "right")
    assert preset_rate.status == 0
    assert {str(each) for each in finished} == {str(r["metrics"]) for r in records(Path("right")).values()}


def test_a_cell_that_is_refused_before_its_run_begins_has_a_record_as_well(bench, two):
    outcome = bench("sweep", *without_sets(two), "--set", "data.validation_share=0.25,0.0", *HERE, "--runs", "other")
    assert outcome.status == 1
    errors = {record["status"]: record["error"] for record in records(Path("other")).values()}
    assert errors["finished"] is None
    assert "--data.validation_share above 0" in errors["failed"]
    (failed,) = [record for record in records(Path("other")).values() if record["status"] == "failed"]
    assert "--data.validation_share 0.0" in failed["command"]
    assert failed["data"]["counts"]["train/good"] == 12


def test_only_failed_cells_are_run_again_where_that_is_asked_for(bench, two, monkeypatch):
    from bench.sweep import run_cell

    real, calls = run_cell.fit, []

    def fit(config, options):
        calls.append(config.settings["model"]["latent_dim"])
        if config.settings["model"]["latent_dim"] == 2 and len(calls) == 1:
            raise OSError("a passing trouble")
        return real(config, options)

    monkeypatch.setattr(run_cell, "fit", fit)
    first = bench("sweep", *two, *HERE)
    assert (first.status, calls) == (1, [2, 4])
    assert "latent_dim=2, screw, seed 0: failed: a passing trouble" in first.stdout
    again = bench("sweep", *two, "--seeds", "0,1", "--rerun", "failed", *HERE)
    assert again.status == 0, again.stderr
    assert calls == [2, 4, 2]
    assert again.stdout.count("not run") == 2
    assert bench("sweep", *two, *HERE).status == 0
    assert calls == [2, 4, 2]


def test_a_cell_is_tried_again_as_often_as_asked(bench, two, monkeypatch):
    from bench.sweep import run_cell

    real, calls = run_cell.fit, []

    def fit(config, options):
        calls.append(config.settings["model"]["latent_dim"])
        if len(calls) < 3:
            raise OSError("a passing trouble")
        return real(config, options)

    monkeypatch.setattr(run_cell, "fit", fit)
    outcome = bench("sweep", *two, "--retry", "2", *HERE)
    assert (outcome.status, calls) == (0, [2, 2, 2, 4])


def test_the_plan_says_what_is_done_what_is_to_do_and_how_long_it_may_take(bench, two):
    assert bench("sweep", *two, *HERE).status == 0
    lines = bench("sweep", *two, "--seeds", "0,1", "--dry-run").stdout.splitlines()
    assert [line.partition(": ")[2].split(", about")[0] for line in lines[:-1]] == ["finished before", "to do"] * 2
    assert lines[-1].startswith("4 cells, 2 done, 2 to do, about ")


def test_a_record_says_the_fit_command_of_its_cell_which_gives_the_same_run(bench, two):
    assert bench("sweep", *two, *HERE, "--runs", "swept").status == 0
    record = next(iter(records(Path("swept")).values()))
    assert record["command"].startswith("bench fit --model autoencoder_l2 --category screw")
    words = shlex.split(record["command"])[1:]
    assert bench(*words, "--runs", "fitted").status == 0
    (alone,) = records(Path("fitted")).values()
    assert alone["fingerprint"] == record["fingerprint"]
    assert alone["metrics"] == record["metrics"]


@pytest.mark.slow
def test_a_worker_that_dies_costs_its_cell_only(small, undisturbed, tmp_path):
    cells = (*small, "--seeds", "0", "--trainer.max_epochs", "60", "--data.batch_size", "4")
    expected = undisturbed(*cells)
    for retry, ends in ((0, 1), (1, 0)):
        runs = tmp_path / f"retry{retry}"
        sweep = start("sweep", *cells, *TWO_WORKERS, "--retry", retry, "--runs", runs)
        try:
            checkpoint = wait_for(lambda runs=runs: next(iter(files_below(runs, "last.ckpt")), None))
            (claim,) = checkpoint.parent.parent.glob(f"{checkpoint.parent.name}.*.claim/*")
            os.kill(json.loads(claim.read_text())["pid"], signal.SIGKILL)
            status, stdout, stderr = finish(sweep)
        finally:
            kill_group(sweep)
        assert status == ends, stderr
        assert stdout.count("its process died (killed by SIGKILL)") == 1 - retry
        found = records(runs)
        assert len(found) == 2
        assert sorted(record["status"] for record in found.values()) == (
            ["failed", "finished"] if ends else ["finished", "finished"]
        )
        for name, content in figures(runs).items():
            if found[name]["status"] == "finished":
                assert content == expected[name]
            else:
                assert found[name]["error"] == "its process died (killed by SIGKILL)"


@pytest.mark.slow
def test_an_interrupted_sweep_leaves_records_that_say_so_and_goes_on(small, undisturbed, tmp_path):
    # So many epochs that both cells are under way at one moment, though their workers do not begin together.
    cells = (*small, "--seeds", "0", "--trainer.max_epochs", "200", "--data.batch_size", "4")
    expected = undisturbed(*cells)
    runs = tmp_path / "runs"
    sweep = start("sweep", *cells, *TWO_WORKERS, "--runs", runs)
    wait_for(lambda: len(files_below(runs, "last.ckpt")) == 2)
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does
    status, _, stderr = finish(sweep)
    assert status == 130
    assert stderr.splitlines()[-1] == "bench: interrupted"
    assert "Traceback" not in stderr
    assert [record["status"] for record in records(runs).values()] == ["interrupted"] * 2
    assert not files_below(runs, "*.claim")
    assert finish(start("sweep", *cells, *TWO_WORKERS, "--runs", runs))[0] == 0
    assert figures(runs) == expected


@pytest.mark.slow
def test_a_cell_of_two_processes_has_a_command_of_its_own(two, tmp_path):
    settings = ("--trainer.devices", "2", "--data.validation_share", "0.25", "--launcher.workers", "1")
    status, _, stderr = finish(start("sweep", *without_sets(two), *settings, "--runs", tmp_path / "runs"))
    assert status == 0, stderr
    (record,) = records(tmp_path / "runs").values()
    assert record["cost"]["processes"] == 2
    assert record["command"].startswith("bench fit --model autoencoder_l2")


@pytest.fixture
def small_disk(mount_disk) -> Path:
    """A file system of its own with room for a run or two."""
    return mount_disk("15m")


def test_a_full_disk_ends_the_sweep_with_its_finished_records_whole(bench, small, small_disk, undisturbed):
    expected = undisturbed(*small)
    outcome = bench("sweep", *small, *HERE, "--runs", small_disk)
    assert outcome.status == 2
    last = outcome.stderr.splitlines()[-1]
    assert last.startswith(f"bench: the disk of {small_disk}")
    assert "is full" in last
    found = records(small_disk)  # reads every one of them
    finished = {name for name, record in found.items() if record["status"] == "finished"}
    assert 0 < len(finished) < len(expected)
    assert len(found) <= len(finished) + 1, "cells were tried after the disk was full"
    assert {name: content for name, content in figures(small_disk).items() if name in finished} == {
        name: expected[name] for name in finished
    }
    assert not files_below(small_disk, "*.partial")
    assert not files_below(small_disk, "*.claim")
