"""A folder that cannot be written and a disk that is full: one line, and nothing half-written."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(mount_disk) -> Path:
    """A file system of its own with room for the first files of a run only."""
    return mount_disk("64k")


@pytest.mark.parametrize("runs", ["taken", "taken/runs"])
def test_a_file_where_the_folder_of_runs_should_be_is_named(refuse, quick, runs):
    Path("taken").write_text("a file")
    line = refuse("fit", *quick, "--runs", runs)
    assert line == f"bench: cannot write to {runs} (Not a directory); name another folder: --runs FOLDER"
    assert Path("taken").read_text() == "a file"


def test_a_folder_of_runs_that_leads_nowhere_is_named(refuse, quick):
    Path("link").symlink_to("missing")
    line = refuse("fit", *quick, "--runs", "link")
    assert line == "bench: cannot write to link (Not a directory); name another folder: --runs FOLDER"


def test_a_folder_of_runs_that_no_file_system_holds_is_named(refuse, quick):
    assert "cannot write to /proc/runs/" in refuse("fit", *quick, "--runs", "/proc/runs")


def test_a_file_where_the_cache_should_be_is_named(refuse, quick, monkeypatch):
    Path("taken").write_text("a file")
    monkeypatch.setenv("BENCH_CACHE", "taken")
    line = refuse("fit", *quick)
    assert "cannot write the image cache in taken/images" in line
    assert "BENCH_CACHE" in line


def test_a_file_where_the_made_up_data_should_be_is_named(refuse, quick):
    Path("taken").write_text("a file")
    line = refuse("fit", *quick, "--data", "synthetic", "--data.root", "taken/here")
    assert "cannot write the synthetic images to taken/here" in line


@pytest.mark.parametrize("command", ["quick", "quick_padim"])
def test_a_disk_that_is_full_when_a_checkpoint_is_written_leaves_no_half_of_it(bench, request, small_disk, command):
    outcome = bench("fit", *request.getfixturevalue(command), "--runs", small_disk)
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"bench: the disk of {small_disk}")
    assert "is full" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    (run,) = small_disk.glob("*/*/*")
    assert {path.name for path in run.iterdir()} == {"config.yaml", "record.json"}
    assert json.loads((run / "record.json").read_text())["status"] == "failed"


def test_a_disk_that_is_full_from_the_start_gets_no_half_of_a_file(bench, quick, small_disk):
    filling = small_disk / "filling"
    with pytest.raises(OSError, match="No space left"):
        filling.write_bytes(bytes(2**20))
    outcome = bench("fit", *quick, "--runs", small_disk / "runs")
    assert outcome.status == 2
    assert "is full" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert [path for path in small_disk.rglob("*") if path.is_file()] == [filling]


def test_a_disk_that_is_full_when_images_are_cached_leaves_no_half_of_them(bench, quick, small_disk, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(small_disk))
    outcome = bench("fit", *quick)
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"bench: cannot write the image cache in {small_disk}")
    assert "No space left" in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert not Path("runs").exists()
    assert not list(small_disk.rglob("*.partial"))
