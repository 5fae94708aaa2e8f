"""Records, predictions and checkpoints that are damaged, or that another wrote: one line that names the file."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from conftest import files_below
from fake_records import change_record, make_record, write_record

Change = Callable[[Path], object]
SCORES = {"good": (0.1, 0.2, 0.3), "scratch": (0.25, 0.6, 0.7)}


def field(name: str, value: object) -> Change:
    """Put a value in the place of a field of the record, such as `data.digest`."""

    def change(run: Path) -> None:
        section, _, key = name.partition(".")
        record = json.loads((run / "record.json").read_text())
        change_record(run, **{section: record[section] | {key: value} if key else value})

    return change


def predictions(old: str, new: str) -> Change:
    def change(run: Path) -> None:
        text = (run / "predictions.csv").read_text()
        assert old in text
        (run / "predictions.csv").write_text(text.replace(old, new, 1))
        field("data.predictions_sha256", None)(run)

    return change


RECORDS: dict[str, Change] = {
    "nested 10,000 deep": lambda run: (run / "record.json").write_text("[" * 10_000),
    "a setting nested 10,000 deep": lambda run: (run / "record.json").write_text(
        (run / "record.json")
        .read_text()
        .replace('"config": {', '"config": {"x": ' + "[" * 10_000 + "]" * 10_000 + ",", 1)
    ),
    "5,000 digits": lambda run: (run / "record.json").write_text(
        (run / "record.json").read_text().replace('"config": {', '"config": {"x": ' + "9" * 5000 + ",", 1)
    ),
    "NaN among the settings": field("config.extra", float("nan")),
    "an infinite metric": field("metrics.pixel_auroc", float("inf")),
    "a metric that overflows": field("metrics.pixel_auroc", 1e300),
    "a negative cost": lambda run: change_record(
        run, cost=json.loads((run / "record.json").read_text())["cost"] | {"fit_seconds": -1.0}
    ),
    "a seed below zero": field("seed", -1),
    "a fingerprint that is a path": field("fingerprint", "../../../escaped"),
    "no source of the weights": field("weights", {}),
    "a confusion matrix without its classes": field("confusion", {"classes": ["good"], "counts": [[1]]}),
}
NAMES = ["../../X", "/tmp/X", "a/b", "a\\b", ".", "..", ".hidden", "", "a\nb", "a\0b", "\x1b[2J", "x" * 201, "\u2028"]
RECORDS |= {f"{kind} {name!r}": field(kind, name) for kind in ("model", "dataset", "category") for name in NAMES}

PREDICTIONS: dict[str, Change] = {
    "a field of 200 kB": predictions("scratch/000.png", "x" * 200_000),
    "text for a score": predictions("0.25,", "high,"),
    "an infinite score": predictions("0.25,", "inf,"),
    "text for a label": predictions(",1,", ",yes,"),
    "text for a logit": predictions("0.25,", "0.25,1 two"),
    "logits in one row only": predictions("0.25,", "0.25,1 2"),
    "a field too many": predictions("0.25,", "0.25,,"),
    "a field too few": predictions("0.25,", "0.25"),
    "a column too few": predictions("label,", ""),
    "a quote that does not end": predictions("0.25,", '"0.25,'),
    "no text": lambda run: (run / "predictions.csv").write_bytes(b"\xff\xfe\x00"),
    "nothing": lambda run: (run / "predictions.csv").write_bytes(b""),
}


@pytest.fixture
def two(own_folder) -> Path:
    """The folder of one of two runs, each with predictions."""
    write_record(Path("runs"), make_record("good", seed=1), SCORES)
    return write_record(Path("runs"), make_record("other", seed=2), SCORES)


@pytest.mark.parametrize("change", [*RECORDS.values(), *PREDICTIONS.values()], ids=[*RECORDS, *PREDICTIONS])
def test_a_bad_record_is_left_out_of_a_leaderboard_that_holds_the_others(bench, two, tmp_path, change):
    change(two)
    before = files_below(tmp_path)
    outcome = bench("leaderboard", "runs", "--out", "tables", "--publish", "--no-bootstrap")
    assert outcome.status == 1
    lines = outcome.stderr.splitlines()
    assert len(lines) == 2, lines
    assert two.name in lines[0]
    assert lines[1] == "bench: 1 record(s) left out, named above; the tables hold the others"
    assert "| good |" in Path("tables/mvtec_ad-one-class.md").read_text()
    assert {path.parts[0] for path in files_below(tmp_path) - before} == {"tables"}


@pytest.mark.parametrize("change", [*RECORDS.values(), *PREDICTIONS.values()], ids=[*RECORDS, *PREDICTIONS])
def test_a_bad_record_is_refused_by_its_file_in_every_command_that_reads_one(refuse, two, change):
    change(two)
    for command in (("compare", two, two), ("report", two, "--no-maps")):
        assert two.name in refuse(*command)


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A finished run, to be damaged."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def without_threshold(run: Path) -> None:
    metrics = json.loads((run / "record.json").read_text())["metrics"]
    change_record(run, metrics={key: value for key, value in metrics.items() if key != "threshold"})


def test_a_record_without_a_threshold_is_named_by_what_needs_one(refuse, run, data_root):
    without_threshold(run)
    image = data_root / "screw/test/good/000.png"
    for command in (("predict", image, "--run", run), ("report", run)):
        assert f"{run / 'record.json'} holds no threshold" in refuse(*command)


def saved(key: str, value: Any) -> Change:
    """Put a value in the place of an entry of the checkpoint, or into one where the value is a function."""

    def change(run: Path) -> None:
        content = torch.load(run / "model.ckpt", weights_only=True)
        content[key] = value(content[key]) if callable(value) else value
        torch.save(content, run / "model.ckpt")

    return change


def spoil_first_weight(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    name = next(name for name, tensor in tensors.items() if tensor.ndim > 1)
    tensors[name].view(-1)[0] = torch.nan
    return tensors


CHECKPOINTS: dict[str, Change] = {
    "bench is a list": saved("bench", [1]),
    "bench is text": saved("bench", "x"),
    "its seconds are text": saved("bench", lambda about: {**about, "fit_seconds": "long"}),
    "state_dict is a list": saved("state_dict", [torch.zeros(1)]),
    "a weight is a number": saved("state_dict", lambda tensors: {**tensors, "threshold": 1.0}),
    "a weight has another shape": saved("state_dict", lambda tensors: {**tensors, "threshold": torch.zeros(3)}),
    "a weight is missing": saved("state_dict", lambda tensors: dict(list(tensors.items())[1:])),
    "a weight is no number": saved("state_dict", spoil_first_weight),
}
SPECS: dict[str, Change] = {
    "spec is a list": saved("spec", [1]),
    "spec is null": saved("spec", None),
    "spec lacks a field": saved("spec", {"size": 32}),
    "spec has a field too many": saved("spec", lambda spec: {**spec, "more": 1}),
    "its size is text": saved("spec", lambda spec: {**spec, "size": "32"}),
    "its size is negative": saved("spec", lambda spec: {**spec, "size": -32}),
    "it has two channels": saved("spec", lambda spec: {**spec, "channels": 2}),
}


@pytest.mark.parametrize("change", CHECKPOINTS.values(), ids=CHECKPOINTS.keys())
def test_a_damaged_checkpoint_is_refused_by_its_path(refuse, run, data_root, change):
    change(run)
    image = data_root / "screw/test/good/000.png"
    for command in (("predict", image, "--run", run), ("test", "--run", run)):
        assert str(run / "model.ckpt") in refuse(*command)


@pytest.mark.parametrize("change", SPECS.values(), ids=SPECS.keys())
def test_a_checkpoint_that_says_oddly_how_it_was_built_is_refused_by_its_path(refuse, run, data_root, change):
    change(run)
    assert str(run / "model.ckpt") in refuse("predict", data_root / "screw/test/good/000.png", "--run", run)


@pytest.mark.parametrize(("key", "value"), [("image_size", 48), ("image_size", -32), ("batch_size", 0)])
def test_a_record_whose_sizes_are_not_its_checkpoint_s_scores_nothing(
    refuse, finished, data_root, tmp_path, key, value
):
    run = shutil.copytree(finished, tmp_path / "run")
    settings = json.loads((run / "record.json").read_text())["config"]
    change_record(run, config=settings | {"data": settings["data"] | {key: value}})
    line = refuse("predict", "--run", run, data_root / "screw" / "test", "--stdout")
    assert f"{run / 'record.json'} does not fit {run / 'model.ckpt'}, which was made for images of 32 pixels" in line
