"""Every command that writes, on a disk that is full or may only be read: one line, and no half of a file."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import writing
from bench.writing import whole_folder, write_together
from conftest import files_below
from fake_records import make_record, write_record

SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}
SWEEP = ("--models", "autoencoder_l2", "--categories", "screw", "--launcher.workers", "0", "--data.image_size", "32")
EXPORT = ("data", "export", "--category", "screw", "--format")
RUNS, OUT, ROOT = "--runs FOLDER", "--out FOLDER", "--data.root"

# What is typed, and the option that names another place; {…} are folders.
COMMANDS = {
    "fit": ("fit {quick} --runs {disk}/runs", RUNS),
    "fit --data synthetic": ("fit --model padim --category screw --data synthetic --data.root {disk}/made", ROOT),
    "sweep": ("sweep {sweep} --data.root {data} --runs {disk}/runs", RUNS),
    "predict": ("predict {data}/screw/test --run {run} --out {disk}/out", OUT),
    "predict --maps": ("predict {data}/screw/test/blob --run {run} --out {disk}/out --maps --overlays", OUT),
    "predict to stdout": ("predict {data}/screw/test/good --run {run} --out {disk}/out --stdout --maps", OUT),
    "report": ("report {run} --no-maps --out {disk}/report.html", "--out FILE"),
    "leaderboard": ("leaderboard {records} --no-bootstrap --out {disk}/tables", OUT),
    "leaderboard --publish": ("leaderboard {records} --no-bootstrap --publish --out {disk}/tables", OUT),
    "data describe": ("data describe --category screw --data.root {data} --out {disk}/out", OUT),
    "data export coco": ("data export --category screw --format coco --data.root {data} --out {disk}/out", OUT),
    "data export yolo": ("data export --category screw --format yolo --data.root {data} --out {disk}/out", OUT),
    "data export masks": ("data export --category screw --format masks --data.root {data} --out {disk}/out", OUT),
    "data export links": (
        "data export --category screw --format coco --images link --data.root {data} --out {disk}/out",
        OUT,
    ),
    "data import": ("data import {data}/screw --name part --copy --out {disk}/out", OUT),
    "data download": ("data download --from {data} --accept-licence --data.root {disk}/mine", ROOT),
}


@pytest.fixture
def typed(data_root, finished, quick, tmp_path) -> Callable[[str, Path], list[str]]:
    """The words of a command whose results go to a disk."""
    write_record(tmp_path / "records", make_record("one"), SCORES)
    more = ("--data.samples_per_epoch", "null", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
    lists = {"{quick}": quick, "{sweep}": (*SWEEP, *more)}

    def words(command: str, disk: Path) -> list[str]:
        places = {"disk": disk, "data": data_root, "run": finished, "records": tmp_path / "records"}
        return [
            each.format(**places)
            for word in COMMANDS[command][0].split()
            for each in lists.get(word, [word])  # type: ignore[list-item]
        ]

    return words


@pytest.fixture(params=["full", "almost full", "read-only"])
def disk(request, mount_disk) -> Path:
    """A disk that refuses at once, or after some kilobytes."""
    folder = mount_disk("96k")
    if request.param == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
        return folder
    with pytest.raises(OSError, match="No space left"), (folder / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(4096))
    if request.param == "almost full":
        os.truncate(folder / "filling", (folder / "filling").stat().st_size - 8192)
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_disk_that_refuses_is_named_with_the_remedy_and_gets_no_half_of_anything(bench, typed, disk, command):
    before = files_below(disk)
    outcome = bench(*typed(command, disk))
    if command == "predict" and outcome.status == 0:
        return  # its few lines found room
    assert outcome.status == 2, outcome
    (line,) = [line for line in outcome.stderr.splitlines() if line.startswith("bench: ") and str(disk) in line]
    assert COMMANDS[command][1] in line or "make room there" in line
    assert "full" in line or "No space left" in line or "Read-only" in line or "make room" in line
    assert "Traceback" not in outcome.stderr
    # A run that began says in its record how it ended, where that still finds room; what is published is a pair.
    left = {path for path in files_below(disk) - before if path.name not in ("record.json", "config.yaml")}
    pairs = {
        path for path in left if path.name == "predictions.csv" and (disk / path).with_name("record.json").is_file()
    }
    assert not {path for path in left - pairs if path.suffix != ".lock"}
    assert not list(disk.rglob("*.partial"))


def test_a_report_beside_its_run_on_a_full_disk_leaves_the_old_one(bench, finished, mount_disk):
    folder = mount_disk("4m")
    subprocess.run(["cp", "-r", finished, folder / "run"], check=True)
    (folder / "run" / "report.html").write_text("old")
    with pytest.raises(OSError, match="No space left"):
        (folder / "filling").write_bytes(bytes(2**23))
    outcome = bench("report", folder / "run", "--no-maps")
    assert outcome.status == 2
    assert f"the disk of {folder / 'run'} is full" in outcome.stderr
    assert (folder / "run" / "report.html").read_text() == "old"


def test_the_files_of_a_leaderboard_are_all_old_where_one_finds_no_room(bench, own_folder, mount_disk):
    write_record(own_folder / "records", make_record("one"), SCORES)
    folder = mount_disk("512k")
    assert bench("leaderboard", "records", "--no-bootstrap", "--out", folder).status == 0
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OSError, match="No space left"):
        (folder / "filling").write_bytes(bytes(2**20))
    os.truncate(folder / "filling", (folder / "filling").stat().st_size - 12288)  # for the first of three
    write_record(own_folder / "records", make_record("other"), SCORES)
    outcome = bench("leaderboard", "records", "--no-bootstrap", "--out", folder)
    assert outcome.status == 2, outcome
    assert {path: path.read_bytes() for path in folder.iterdir() if path.name != "filling"} == before


def test_files_that_belong_together_are_all_as_before_where_one_cannot_take_its_place(tmp_path):
    (tmp_path / "first").write_text("old")
    (tmp_path / "third").mkdir()
    contents = {tmp_path / "first": "new", tmp_path / "second": "new", tmp_path / "third": "new"}
    with pytest.raises(IsADirectoryError):
        write_together(contents)
    assert (tmp_path / "first").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "third"]


def test_files_that_belong_together_are_replaced_where_no_hard_links_are_known(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(Path, "hardlink_to", refused)
    (tmp_path / "first").write_text("old")
    write_together({tmp_path / "first": "new", tmp_path / "second": b"new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"first": "new", "second": "new"}


def test_what_a_folder_holds_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(writing.os, "fsync", lambda number: synced.append(Path(f"/proc/self/fd/{number}").readlink()))
    with whole_folder(tmp_path / "out") as folder:
        (folder / "one").write_text("1")
        assert not (tmp_path / "out").exists()
    assert [path.name for path in synced] == ["one"]
    assert (tmp_path / "out" / "one").read_text() == "1"


def test_what_cannot_be_read_is_not_taken_for_the_disk_that_is_written_to(bench, data_root, tmp_path, monkeypatch):
    """The remedy would be the wrong one."""

    def refused(source: Path, _: Path) -> None:
        raise PermissionError(13, "Permission denied", str(source))

    monkeypatch.setattr("bench.writing.shutil.copyfile", refused)
    outcome = bench(*EXPORT, "coco", "--data.root", data_root, "--out", tmp_path / "out")
    assert outcome.status == 2
    assert outcome.stderr.startswith(f"bench: Permission denied: {data_root}")
    assert not (tmp_path / "out").exists()


def test_a_full_disk_that_no_command_foresaw_is_status_2_with_a_remedy(refuse, monkeypatch):
    def full(**_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.cli.commands.models.run.callback", full)
    assert "No space left on device; free some space" in refuse("models")
