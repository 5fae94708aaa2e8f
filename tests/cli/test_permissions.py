"""What may not be read is named: a folder or file is never taken for one in which nothing lies."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from fake_records import make_record, write_record


@pytest.fixture
def shut(monkeypatch):
    """Make a folder or file one that may not be read; root may read them all."""
    closed: set[Path] = set()

    def guard(function):
        def guarded(path, *arguments, **options):
            if isinstance(path, str | os.PathLike) and Path(path).resolve() in closed:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return function(path, *arguments, **options)

        return guarded

    monkeypatch.setattr(os, "scandir", guard(os.scandir))
    monkeypatch.setattr(Path, "read_bytes", guard(Path.read_bytes))
    return lambda path: closed.add(path.resolve())


def test_images_in_a_folder_that_may_not_be_read_are_no_images_that_are_not_there(
    refuse, finished, data_root, tmp_path, shut
):
    shutil.copytree(data_root / "screw/test", tmp_path / "photos")
    shut(tmp_path / "photos/blob")
    line = refuse("predict", tmp_path / "photos", "--run", finished, "--stdout", "--device", "cpu")
    assert "Permission denied" in line
    assert "photos/blob" in line


@pytest.mark.parametrize("what", [".", "record.json", "predictions.csv"])
def test_a_run_that_may_not_be_read_is_left_out_of_a_leaderboard_and_named(bench, tmp_path, shut, what):
    write_record(tmp_path / "runs", make_record("one"), {"good": [0.1, 0.2], "bent": [0.5]})
    other = write_record(tmp_path / "runs", make_record("other"), {"good": [0.1, 0.2], "bent": [0.5]})
    shut(other / what)
    outcome = bench("leaderboard", tmp_path / "runs", "--no-bootstrap", "--out", tmp_path / "tables")
    assert outcome.status == 1
    first, last = outcome.stderr.splitlines()
    assert "cannot be read: Permission denied" in first
    assert str((other / what).resolve()) in first
    assert "1 record(s) left out" in last
    table = (tmp_path / "tables/mvtec_ad-one-class.md").read_text()
    assert "| one" in table
    assert "| other" not in table


def test_a_record_that_may_not_be_read_is_not_called_damaged(refuse, finished, tmp_path, shut):
    own = Path(shutil.copytree(finished, tmp_path / "own"))
    shut(own / "record.json")
    assert refuse("test", "--run", own).endswith("own/record.json cannot be read: Permission denied")
