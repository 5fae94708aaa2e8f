"""What differs between tracks is declared in one place."""

import re
from pathlib import Path

import pytest

import bench
from bench.config.tracks import TRACKS
from bench.errors import UsageError
from bench.models.base import Detector

SOURCE = Path(bench.__file__).parent
# The declarations themselves, and the types of the two fields that hold a track's name.
MAY_NAME_A_TRACK = {"config/tracks.py", "records/record.py", "models/base.py", "models/classifier.py"}


def test_code_asks_a_track_for_what_it_declares_not_for_its_name():
    named = re.compile("|".join(rf"""["']{name}["']""" for name in TRACKS))
    files = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if named.search(path.read_text())}
    assert files == MAY_NAME_A_TRACK


def test_a_method_of_an_unknown_track_is_refused_when_its_class_is_made():
    with pytest.raises(UsageError, match="Other is of no known track: 'few-shot'; name one-class or supervised"):
        type("Other", (Detector,), {"track": "few-shot"})
