"""Some 1,400 bad inputs over all commands: each ends with one line that says what is wrong, and leaves nothing behind.

To add one, write a line into a table: of what is typed wrongly in `bad_words`, of things of the wrong kind in
`bad_things`, of contents that are wrong in `bad_contents`. In a command `{run}` is a finished run, `{own}` a copy of it
that was damaged, `{data}` the root of a category, `{broken}` that of a damaged one, `{image}` an image, and
`{thing.yaml}` a bad thing under a name with this suffix.
"""

import re
import shlex
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bad_contents import CHECKPOINTS, FILES, IMAGES, MASKS, PREDICTIONS, RECORDS, SETTINGS_OF_A_RECORD
from bad_things import (
    NO_ARCHIVE,
    NO_FILE,
    NO_FOLDER,
    NO_IMAGE,
    NO_PLACE,
    NO_YAML,
    Make,
)
from bad_words import FIT, SWEEP, TYPED
from bench.data.download.licence import LICENCE
from conftest import files_below, run_bench

LONGEST = 15  # seconds; nearly all take milliseconds, and one that waits for a pipe would wait for ever

EXPORT = "data export --format coco --category screw --data.root {data}"
DESCRIBE = "data describe --category screw --data.root {data}"
DOWNLOAD = "data download --data.root new --accept-licence"
PREDICT = "predict {image} --run {run} --device cpu"

# A bad thing in the place of a file that is read, of a folder that is read, of a folder that is written to.
PLACES: dict[str, dict[str, Make]] = {
    f"{FIT} --config {{thing.yaml}}": NO_FILE | NO_YAML,
    f"{FIT} --model ./{{thing.yaml}}": NO_FILE | NO_YAML,
    f"{FIT} --data ./{{thing.yaml}}": NO_FILE,
    "sweep {thing.yaml} --data.root {data}": NO_FILE | NO_YAML,
    f"{SWEEP} --config {{thing.yaml}}": NO_FILE,
    f"{SWEEP} --launcher ./{{thing.yaml}}": NO_FILE | NO_YAML,
    "study {thing.yaml} {run}": NO_FILE | NO_YAML,
    "predict {thing.png} --run {run} --strict --device cpu": NO_FILE | NO_IMAGE,
    f"{PREDICT} --model ./{{thing.yaml}}": NO_FILE,
    f"{PREDICT} --data ./{{thing.yaml}}": NO_FILE,
    f"{EXPORT} --prompts {{thing.yaml}}": NO_FILE | NO_YAML,
    f"{DESCRIBE} --data ./{{thing.yaml}}": NO_FILE | NO_YAML,
    "data check --archive {thing.tar}": NO_FILE,
    f"{DOWNLOAD} --from {{thing.zip}}": NO_FILE | NO_ARCHIVE,
    "compare {run} {thing.json}": NO_FILE | NO_YAML,
    "leaderboard {thing.json}": NO_FILE,
    "test --run {thing}": NO_FOLDER,
    "report {thing}": NO_FOLDER,
    f"{FIT} --resume {{thing}}": NO_FOLDER,
    "predict {image} --run {thing}": NO_FOLDER,
    f"{FIT} --data.root {{thing}}": NO_FOLDER,
    "data describe --category screw --data.root {thing}": NO_FOLDER,
    "data check --data.root {thing}": NO_FOLDER,
    "data export --format coco --category screw --data.root {thing}": NO_FOLDER,
    f"{FIT} --runs {{thing}}": NO_PLACE,
    f"{FIT} --data.cache {{thing}}": NO_PLACE,
    f"{SWEEP} --runs {{thing}}": NO_PLACE,
    f"{PREDICT} --out {{thing}}": NO_PLACE,
    "report {run} --no-maps --out {thing}": NO_PLACE,
    "leaderboard {run} --no-bootstrap --out {thing}": NO_PLACE,
    f"{DESCRIBE} --out {{thing}}": NO_PLACE,
    f"{EXPORT} --out {{thing}}": NO_PLACE,
    "data download --from {data} --accept-licence --data.root {thing}": NO_PLACE,
    "data cache --data.cache {thing}": NO_PLACE | {name: NO_FOLDER[name] for name in ("a file", "a pipe", "a socket")},
}


@pytest.fixture
def names(finished, data_root, tmp_path) -> dict[str, str]:
    """What the names in braces stand for."""
    return {"run": str(finished), "data": str(data_root), "image": str(data_root / "screw/test/good/000.png")}


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    def stop(*_: object) -> None:
        pytest.fail(f"it goes on after {seconds} s")  # no Exception, which a command might catch

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def left_below(folder: Path) -> set[Path]:
    """All that lies there but for decoded images, which every run may keep."""
    return {path for path in files_below(folder) if path.parts[0] != "cache"}


def line_of(command: str, names: Mapping[str, str]) -> str:
    """The one line by which a command is refused; nothing else is printed, and nothing new lies anywhere."""
    words = [re.sub(r"\{(\w+)\}", lambda found: names.get(found[1], found[0]), word) for word in shlex.split(command)]
    here, run = Path.cwd(), Path(names["run"])
    before = left_below(here), files_below(run), files_below(Path(names["data"]))
    with no_longer_than(LONGEST):
        outcome = run_bench(*words)
    assert outcome.status in (1, 2), outcome
    said = outcome.stderr.removeprefix(f"{LICENCE}\n")  # which is shown before anything is fetched or unpacked
    said = re.sub(r"^bench: .* is to the byte no archive of MVTec's; .*\n", "", said)
    assert outcome.stdout == ""
    assert said.startswith("bench: "), said
    assert said.count("\n") == 1, said
    line = said.removesuffix("\n")
    assert line.isprintable(), "a sign of the terminal's goes out"
    assert len(line) < 8000
    assert (left_below(here), files_below(run), files_below(Path(names["data"]))) == before
    return line


def rows(tables: Mapping[str, Mapping[str, Any]]) -> list[Any]:
    return [
        pytest.param(first, second, value, id=repr(f"{first.split(' {')[0][:40]} {second[:40]}"))
        for first, table in tables.items()
        for second, value in table.items()
    ]


@pytest.mark.parametrize(("command", "typed", "words"), rows(TYPED))
def test_what_is_typed_wrongly_is_named(names, command, typed, words):
    assert re.sub(r"\{image\}", names["image"], words) in line_of(f"{command} {typed}", names)


@pytest.mark.parametrize(("command", "what", "make"), rows(PLACES))
def test_a_bad_thing_in_the_place_of_a_good_one_is_named(names, command, what, make):
    suffix = re.search(r"\{thing(\.?\w*)\}", command)[1]
    thing = make(Path(f"thing{suffix}"))
    line_of(command.replace(f"{{thing{suffix}}}", shlex.quote(str(thing))), names)


@pytest.fixture
def own(finished, names) -> Path:
    """A copy of a finished run, to be damaged."""
    names["own"] = "own"
    return Path(shutil.copytree(finished, "own"))


def cases(table: Mapping[str, Any], *commands: str) -> Any:
    """Each row of a table with each of these commands."""
    both = [(command, *((key, value))) for command in commands for key, value in table.items()]
    return [pytest.param(command, value, id=repr(f"{command.split(' {')[0]} {key}")) for command, key, value in both]


READ_RECORDS = ("test --run {own}", "predict {image} --run {own}", "report {own} --no-maps", "compare {run} {own}")


@pytest.mark.parametrize(("command", "damage"), cases(RECORDS, *READ_RECORDS))
def test_a_record_that_is_none_is_named_by_its_file(names, own, command, damage):
    damage(own)
    assert "own/record.json" in line_of(command, names)


@pytest.mark.parametrize(("command", "damage"), cases(SETTINGS_OF_A_RECORD, *READ_RECORDS[:2], "report {own}"))
def test_settings_of_a_record_that_cannot_be_are_refused(names, own, command, damage):
    damage(own)
    line_of(command, names)


@pytest.mark.parametrize(("command", "make"), cases(CHECKPOINTS, *READ_RECORDS[:2], "report {own}"))
def test_a_checkpoint_that_is_none_is_named_by_its_file(names, own, command, make):
    make(own / "model.ckpt")
    assert "own/model.ckpt" in line_of(command, names)


@pytest.mark.parametrize(("command", "make"), cases(PREDICTIONS, *READ_RECORDS[2:]))
def test_predictions_that_are_none_are_named_by_their_file(names, own, command, make):
    make(own / "predictions.csv")
    assert "own/predictions.csv" in line_of(command, names)


def broken_category(names: dict[str, str]) -> Path:
    """A copy of the category, to be damaged."""
    names["broken"] = "broken"
    return Path(shutil.copytree(Path(names["data"], "screw"), "broken/screw"))


READ_IMAGES = tuple(command.replace("{data}", "{broken}") for command in (FIT, EXPORT, DESCRIBE))


@pytest.mark.parametrize(("command", "make"), cases(IMAGES, *READ_IMAGES))
def test_an_image_that_is_none_is_named(names, command, make):
    place = broken_category(names) / "train/good/003.png"
    place.unlink()
    make(place)
    assert "train/good/003.png" in line_of(command, names)


@pytest.mark.parametrize(("command", "make"), cases(MASKS, *READ_IMAGES))
def test_a_mask_that_is_none_is_named(names, command, make):
    place = broken_category(names) / "ground_truth/blob/001_mask.png"
    place.unlink()
    make(place)
    assert "blob/001_mask.png" in line_of(command, names)


@pytest.mark.parametrize(("command", "text", "words"), rows(FILES))
def test_a_file_that_says_what_cannot_be_is_refused(names, command, text, words):
    Path("file.yaml").write_text(text, encoding="utf-8")
    assert words in line_of(command, names)
