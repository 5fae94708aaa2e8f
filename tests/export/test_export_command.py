"""`bench export`: a run as one ONNX file and a script, which give the run's verdicts or are not there."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from bench.export import check, graph, metadata
from bench.export.refusals import _PACKAGES, torch_is_too_old
from csv_rows import csv_rows
from fake_records import change_record

pytestmark = pytest.mark.skipif(torch_is_too_old(), reason="this torch's exporter cannot write all methods")

# Whoever imports one of these gets an ImportError, as where it is not installed.
WITHOUT_TORCH = """\
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "torchvision", "lightning", "timm", "bench"), None))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(scope="module")
def exported(bench, finished, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of an export, and what the command said of it."""
    out = tmp_path_factory.mktemp("exported") / "files"
    outcome = bench("export", "--run", finished, "--out", out, "--json")
    assert outcome.status == 0, outcome.stderr
    return out, json.loads(outcome.stdout)


def facts_of(file: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(file).metadata_props}


def record_of(run: Path) -> dict:
    return json.loads((run / "record.json").read_text(encoding="utf-8"))


def test_the_file_takes_any_number_of_images_of_bytes_and_gives_score_map_and_verdict(exported):
    session = onnxruntime.InferenceSession(exported[0] / "model.onnx")
    (taken,) = session.get_inputs()
    assert (taken.name, taken.type, taken.shape[1:]) == ("images", "tensor(uint8)", [32, 32, 3])
    assert isinstance(taken.shape[0], str)
    for count in (1, 5):
        found = session.run(["score", "map", "anomalous"], {"images": np.zeros((count, 32, 32, 3), np.uint8)})
        assert [(each.shape, each.dtype) for each in found] == [
            ((count,), np.float32), ((count, 32, 32), np.float32), ((count,), np.bool_),
        ]  # fmt: skip


def test_the_file_says_what_decides_and_where_it_comes_from(exported, finished):
    facts, record = facts_of(exported[0] / "model.onnx"), record_of(finished)
    assert float(facts["threshold"]) == record["metrics"]["threshold"]
    assert facts["fingerprint"] == record["fingerprint"]
    assert facts["run"] == f"autoencoder_l2/screw/{record['fingerprint']}"
    assert (facts["model"], facts["category"], facts["dataset"]) == ("autoencoder_l2", "screw", "mvtec_ad")
    assert facts.get("commit") == record["environment"]["commit"]
    assert json.loads(facts["versions"])["torch"] == torch.__version__.partition("+")[0]
    assert "does not know their licence" in facts["licence"]
    assert "uint8 (N, 32, 32, 3), RGB" in facts["input"]
    assert str(finished.parents[2]) not in json.dumps(facts), "no path of this machine"
    assert facts == exported[1]["metadata"]


def test_the_check_compares_all_test_images_with_torch(exported, finished):
    found = exported[1]["check"]
    assert found["images"] == len(csv_rows(finished / "predictions.csv"))
    assert found["verdicts_that_differ"] == 0
    assert found["largest_score_deviation"] < check.SCORES
    assert found["largest_map_deviation"] < check.MAPS
    assert min(found["torch_milliseconds_p50"], found["onnxruntime_milliseconds_p50"]) > 0


def test_the_script_gives_bench_s_verdicts_where_there_is_neither_torch_nor_bench(bench, exported, finished, data_root):
    photos = sorted((data_root / "screw" / "test").rglob("*.png"))
    command = [sys.executable, "-c", WITHOUT_TORCH, exported[0] / "predict.py", *photos]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    outcome = bench("predict", "--run", finished, "--stdout", *photos)
    expected = [json.loads(line) for line in outcome.stdout.splitlines()]
    assert [line["path"] for line in found] == [line["path"] for line in expected]
    assert [line["anomalous"] for line in found] == [line["anomalous"] for line in expected]
    assert {line["anomalous"] for line in found} == {True, False}
    assert [line["score"] for line in found] == pytest.approx([line["score"] for line in expected], rel=1e-4)


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_scored(exported, data_root, tmp_path):
    photo = min((data_root / "screw" / "test").rglob("*.png"))
    damaged, vector = tmp_path / "damaged.png", tmp_path / "vector.png"
    damaged.write_bytes(photo.read_bytes()[:200])
    vector.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    command = [sys.executable, exported[0] / "predict.py", damaged, photo, vector]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [json.loads(line)["path"] for line in done.stdout.splitlines()] == [str(photo)]
    told = done.stderr.splitlines()
    named = [f"predict.py: {path} is skipped: " for path in (damaged, vector)]
    assert [line[: len(start)] for line, start in zip(told, named, strict=True)] == named
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_threshold_that_is_given_decides_in_the_file(bench, finished):
    middle = float(np.median(scores_of(finished)))
    outcome = bench("export", "--run", finished, "--threshold", str(middle), "--json")
    assert outcome.status == 0, outcome.stderr
    facts = facts_of(Path("export/model.onnx"))
    assert (float(facts["threshold"]), facts["threshold_chosen"]) == (middle, "after the fit")
    assert json.loads(outcome.stdout)["check"]["verdicts_that_differ"] == 0


def test_a_threshold_of_another_run_is_refused(bench, refuse, finished):
    own = Path(shutil.copytree(finished, "own"))
    assert bench("threshold", "--run", own, "--max-false-alarms", "0.95").status == 0
    chosen = json.loads((own / "threshold.json").read_text())
    (own / "threshold.json").write_text(json.dumps(chosen | {"run": "0" * 16}))
    line = refuse("export", "--run", own, "--threshold", own / "threshold.json")
    assert f"was chosen for run {'0' * 16}" in line


@pytest.mark.slow
def test_a_chosen_threshold_that_is_not_taken_is_said(bench, finished):
    own = Path(shutil.copytree(finished, "own"))
    assert bench("threshold", "--run", own, "--max-false-alarms", "0.95").status == 0
    outcome = bench("export", "--run", own)
    assert outcome.status == 0
    assert f"to take that: --threshold {own / 'threshold.json'}" in outcome.stderr
    assert facts_of(Path("export/model.onnx"))["threshold_chosen"] == "in the fit"


def test_the_script_imports_only_what_a_line_has():
    text = Path(metadata.__file__).with_name("predict_script.py").read_text(encoding="utf-8")
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime", "PIL"}


def test_a_wrong_resize_is_found_and_leaves_nothing(bench, finished, monkeypatch, own_folder):
    true = metadata.preprocessing
    monkeypatch.setattr(metadata, "preprocessing", lambda run: true(run) | {"interpolation": "bicubic"})
    outcome = bench("export", "--run", finished)
    assert outcome.status == 1
    assert re.search(r"the exported file's pixels of \d+ of \d+ test images are not the run's", outcome.stderr)
    assert outcome.stderr.count("\n") == 1
    assert not any(own_folder.glob("*export*"))


@pytest.mark.slow
def test_another_threshold_is_found(bench, finished, monkeypatch, own_folder):
    monkeypatch.setattr(graph, "_at_most", lambda _: float(np.median(scores_of(finished))))
    outcome = bench("export", "--run", finished)
    assert outcome.status == 1
    assert "verdicts of" in outcome.stderr
    assert not any(own_folder.glob("*export*"))


def scores_of(run: Path) -> list[float]:
    return [float(row["score"]) for row in csv_rows(run / "predictions.csv")]


@pytest.mark.slow
@pytest.mark.parametrize(("output", "what"), [("score", "a score"), ("map", "a map")])
def test_scores_and_maps_that_deviate_are_found(bench, finished, monkeypatch, output, what):
    class Wrong(graph.ScoredPixels):
        def forward(self, images, box=None):
            found = dict(zip(("score", "map", "anomalous"), super().forward(images, box), strict=True))
            found[output] = found[output] * 1.01
            return tuple(found.values())

    monkeypatch.setattr(graph, "ScoredPixels", Wrong)
    outcome = bench("export", "--run", finished)
    assert outcome.status == 1
    assert f"deviation of {what} is" in outcome.stderr


@pytest.mark.slow
def test_a_file_in_half_precision_is_smaller_and_gives_the_same_verdicts(bench, finished, exported):
    outcome = bench("export", "--run", finished, "--half", "--json")
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["bytes"] < 0.6 * exported[1]["bytes"]
    assert found["check"]["verdicts_that_differ"] == 0
    assert found["check"]["largest_score_deviation"] > exported[1]["check"]["largest_score_deviation"]
    assert "half precision" in found["metadata"]["constants"]


@pytest.mark.slow
def test_without_the_run_s_images_the_check_must_be_left_out(bench, refuse, finished):
    moved = Path(shutil.copytree(finished, "moved"))
    record = record_of(moved)
    change_record(moved, config=record["config"] | {"data": record["config"]["data"] | {"root": "/nowhere"}})
    assert "--no-check" in refuse("export", "--run", moved)
    outcome = bench("export", "--run", moved, "--no-check")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert "not checked" in outcome.stdout
    assert "licence was not read" in facts_of(Path("export/model.onnx"))["licence"]


@pytest.mark.slow
def test_people_read_what_was_written_and_how_it_was_checked(bench, finished):
    outcome = bench("export", "--run", finished)
    assert outcome.stderr == ""
    assert "export/model.onnx: " in outcome.stdout
    assert "all verdicts the same" in outcome.stdout
    assert re.search(r"[\d.]+ ms by onnxruntime, [\d.]+ ms by torch", outcome.stdout)
    assert "Pillow" in outcome.stdout


def test_a_folder_that_is_there_is_not_overwritten(refuse, finished):
    Path("export").mkdir()
    Path("export/mine.txt").write_text("mine")
    assert "export is there already; name another folder with --out" in refuse("export", "--run", finished)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"class_path": "bench.models.spade.SPADE"}, "SPADE compares an image with the feature pyramids"),
        ({"class_path": "bench.models.f_anogan.FAnoGAN", "inversion": "search"}, "gradient descent"),
    ],
)
def test_a_method_that_no_file_can_hold_is_refused_before_any_work(refuse, finished, model, words):
    own = Path(shutil.copytree(finished, "own"))
    record = record_of(own)
    (own / "model.ckpt").unlink()
    change_record(own, config=record["config"] | {"model": record["config"]["model"] | model})
    assert words in refuse("export", "--run", own)


def test_a_run_of_a_region_is_refused(refuse, finished):
    own = Path(shutil.copytree(finished, "own"))
    change_record(own, data=record_of(own)["data"] | {"region": "0" * 64})
    assert "region of interest" in refuse("export", "--run", own)


def test_a_run_of_tiles_is_refused(refuse, finished):
    own = Path(shutil.copytree(finished, "own"))
    record = record_of(own)
    change_record(own, config=record["config"] | {"data": record["config"]["data"] | {"tile": 16}})
    assert "without --data.tile to export it" in refuse("export", "--run", own)


def test_a_run_in_half_precision_is_refused(refuse, finished):
    own = Path(shutil.copytree(finished, "own"))
    record = record_of(own)
    trainer = record["config"]["trainer"] | {"precision": "bf16-mixed"}
    change_record(own, config=record["config"] | {"trainer": trainer})
    assert "--trainer.precision 32-true" in refuse("export", "--run", own)


@pytest.mark.parametrize("package", _PACKAGES)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(refuse, finished, monkeypatch, package):
    monkeypatch.setattr("bench.export.refusals.find_spec", lambda name: None if name == package else name)
    line = refuse("export", "--run", finished)
    assert line == f"bench: bench export needs {package}; install it: pip install 'bench[export]'"


def test_a_torch_whose_exporter_is_too_old_is_named(refuse, finished, monkeypatch):
    monkeypatch.setattr("bench.export.refusals.version", lambda _: "2.6.0+cpu")
    assert "needs torch 2.9 or later, here is 2.6.0+cpu; update it" in refuse("export", "--run", finished)


def test_check_and_no_check_exclude_each_other(refuse, finished):
    assert "exclude each other" in refuse("export", "--run", finished, "--check", "--no-check")


@pytest.mark.slow
def test_a_file_beyond_two_gigabytes_is_refused(bench, finished, monkeypatch, own_folder):
    monkeypatch.setattr(graph, "_MOST_BYTES", 1000)
    outcome = bench("export", "--run", finished)
    assert (outcome.status, outcome.stderr.count("\n")) == (2, 1)
    assert "one ONNX file holds no more than" in outcome.stderr
    assert not any(own_folder.glob("*export*"))
