"""What a leaderboard leaves out, and says so: records that are torn, foreign, changed, too new or contradictory."""

import json
from pathlib import Path

import pytest

from fake_records import change_record, make_record, write_record

SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}


@pytest.fixture
def runs(own_folder: Path) -> Path:
    """A folder with one good record."""
    write_record(own_folder / "runs", make_record("good", auroc=0.75))
    return own_folder / "runs"


@pytest.fixture
def fold(bench, runs):
    """Fold the records: the lines on stderr and the table that was written, with the status asserted."""

    def run(status: int) -> tuple[list[str], str]:
        outcome = bench("leaderboard", "runs")
        assert outcome.status == status, outcome
        return outcome.stderr.splitlines(), Path("leaderboards/mvtec_ad-one-class.md").read_text()

    return run


def spoil_by(how: str, folder: Path) -> None:
    record = folder / "record.json"
    predictions = folder / "predictions.csv"
    match how:
        case "torn":
            record.write_bytes(record.read_bytes()[:300])
        case "no text":
            record.write_bytes(b"\xff\xfe\x00")
        case "foreign":
            record.write_text(json.dumps({"id": 7, "results": []}))
        case "list":
            record.write_text("[]")
        case "newer":
            change_record(folder, schema=99, confidence=1)
        case "newer alike":
            change_record(folder, schema=2)
        case "setting":
            config = json.loads(record.read_text())["config"]
            change_record(folder, config=config | {"model": config["model"] | {"depth": 5}})
        case "digest":
            data = json.loads(record.read_text())["data"]
            change_record(folder, data=data | {"digest": "0" * 64})
        case "settings":
            change_record(folder, config={"protocol": "model"})
        case "predictions":
            predictions.write_text(predictions.read_text().replace("0.25", "0.65"))
        case "metric":
            metrics = json.loads(record.read_text())["metrics"]
            change_record(folder, metrics=metrics | {"image_auroc": 0.99})


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("torn", "is no record"),
        ("no text", "is no record"),
        ("foreign", "is no record"),
        ("list", "is no record"),
        ("newer", "was written by a newer bench (schema 99, known is 1)"),
        ("newer alike", "was written by a newer bench (schema 2, known is 1)"),
        ("setting", "was changed: its fingerprint"),
        ("digest", "was changed: its fingerprint"),
        ("settings", "has no complete settings"),
        ("predictions", "was changed: it is not the file that its record names"),
        ("metric", "was changed: its image AUROC is not that of its predictions"),
    ],
)
def test_a_record_that_cannot_be_trusted_is_named_and_left_out(how, words, fold, runs):
    spoil_by(how, folder := write_record(runs, make_record("bad"), SCORES))
    lines, table = fold(1)
    assert len(lines) == 2
    assert words in lines[0]
    assert str(folder) in lines[0]
    assert "1 record(s) left out" in lines[1]
    assert "| good |" in table
    assert "| bad |" not in table


def test_untouched_records_with_predictions_are_trusted(fold, runs):
    write_record(runs, make_record("fine"), SCORES)
    lines, table = fold(0)
    assert lines == []
    assert "| fine |" in table


def test_runs_that_failed_are_no_mistake(fold, runs):
    write_record(runs, make_record("failed", status="failed", error="no"))
    lines, table = fold(0)
    assert (lines, "| failed |" in table) == ([], False)


def test_nothing_but_bad_records_is_a_mistake(bench, own_folder):
    spoil_by("torn", write_record(own_folder / "runs", make_record()))
    outcome = bench("leaderboard", "runs")
    assert outcome.status == 2
    assert "no finished record in runs" in outcome.stderr.splitlines()[-1]
    assert not Path("leaderboards").exists()


def test_two_records_of_one_cell_that_disagree_are_shown_and_not_averaged(fold, runs):
    for place, auroc, day in (("first", 0.5, 1), ("second", 0.6, 2)):
        record = make_record("twice", auroc=auroc, started=f"2026-01-0{day}T00:00:00+00:00")
        write_record(runs / place, record)
    lines, table = fold(0)
    (line,) = lines
    assert f"2 records of twice on screw, seed 0 (`{record.fingerprint}`) disagree, by up to 0.1 in image_auroc" in line
    assert "the latest, of 2026-01-02T00:00:00+00:00, counts" in line
    assert f"Note: {line.removeprefix('bench: ')}" in table
    assert "| 0.6000 |" in table
    assert "0.5500" not in table


def test_copies_of_a_record_and_rounding_on_another_machine_are_no_disagreement(fold, runs):
    for place, auroc in (("first", 0.5), ("second", 0.5), ("third", 0.5 + 1e-9)):
        write_record(runs / place, make_record("twice", auroc=auroc))
    lines, table = fold(0)
    assert lines == []
    assert "Note" not in table


def test_the_copies_that_wandb_keeps_are_not_read(fold, runs):
    folder = write_record(runs, make_record("kept", auroc=0.5))
    inside = folder / "wandb" / "offline-run" / "files"
    inside.mkdir(parents=True)
    (inside / "record.json").write_text("{")
    assert fold(0)[0] == []


def test_records_of_an_earlier_protocol_have_a_table_of_their_own(fold, runs):
    write_record(runs, make_record("old", protocol_version=1))
    lines, table = fold(0)
    assert lines == []
    before, after = table.split("by version 1 of the protocol")
    assert ("| old |" in before, "| old |" in after) == (False, True)


def test_a_claim_that_ends_while_records_are_looked_for_is_no_problem(runs, fold, monkeypatch):
    import os

    claim = runs / "good" / "screw" / "0123456789abcdef.0.claim"
    claim.mkdir(parents=True)
    list_folder = os.scandir

    def list_unless_ended(folder):
        if str(folder).endswith(".claim"):
            claim.rmdir()
        return list_folder(folder)

    monkeypatch.setattr(os, "scandir", list_unless_ended)
    lines, table = fold(0)
    assert "good" in table
    assert not any("claim" in line for line in lines)
