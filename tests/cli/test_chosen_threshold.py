"""A threshold that was chosen after the fit: by the cost of mistakes on bad photos, and by whom it is used."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bench as interface
from csv_rows import csv_rows
from fake_data import save, weave, write_category
from fake_records import keep_run


def chosen(bench, *words: object) -> dict:
    outcome = bench("threshold", *words, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("threshold data")
    write_category(folder, train=20)
    return folder


@pytest.fixture(scope="module")
def made(bench, root, tmp_path_factory) -> Path:
    """A run of PaDiM whose threshold comes from ten held-out images."""
    folder = tmp_path_factory.mktemp("threshold run")
    words = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = bench(
            *("fit", *words, "--category", "screw", "--data.root", root, "--data.image_size", "64"),
            *("--data.validation_share", "0.5", "--runs", folder / "runs"),
        )
    assert outcome.status == 0, outcome.stderr
    return next((folder / "runs").rglob("record.json")).parent


@pytest.fixture
def run(made, tmp_path) -> Path:
    return shutil.copytree(made, tmp_path / "run")


@pytest.fixture
def bad(root) -> Path:
    return root / "screw" / "test" / "blob"


def test_by_cost_the_threshold_lies_where_these_images_cost_least_and_says_that_it_is_flattered(bench, run, bad):
    words = ("--run", run, "--from", bad, "--cost-miss", "100", "--cost-alarm", "1")
    found = chosen(bench, *words)
    normal = [float(row["score"]) for row in csv_rows(run / "normal_scores.csv")]
    outcome = bench("predict", "--run", run, "--stdout", bad, "--threshold", run / "threshold.json")
    lines = [json.loads(line) for line in outcome.stdout.splitlines()]
    cost = found["cost"]
    assert cost["missed"] == sum(not line["anomalous"] for line in lines)
    assert cost["stopped"] == sum(score > found["threshold"] for score in normal)
    assert cost["bad_share"] == pytest.approx(4 / 14)
    assert cost["expected"] == pytest.approx((100 * cost["missed"] + cost["stopped"]) / 14)
    assert (found["with_bad_images"], found["false_alarms"], found["test"]) == (True, None, None)
    told = bench("threshold", *words).stdout
    assert "chosen with 4 bad images and 10 held-out normal scores" in told
    assert "28.6 % of parts are bad" in told
    assert "these figures flatter the threshold" in told
    assert "no bound of false alarms: the threshold was chosen by looking at these very scores" in told
    assert "on the run's test images" not in told


def test_the_share_of_bad_parts_at_the_line_moves_the_threshold(bench, run, tmp_path):
    """Good photos that are called bad, so that no threshold parts the two."""
    for index in range(6):
        save(weave(48, f"other/{index}"), tmp_path / "alike" / f"{index}.png")
    words = ("--run", run, "--from", "alike", "--cost-miss", "1", "--cost-alarm", "1")
    often, rarely = (chosen(bench, *words, "--bad-share", share) for share in ("0.99", "0.01"))
    assert often["cost"]["missed"] == 0
    assert rarely["cost"]["stopped"] == 0
    assert often["threshold"] < rarely["threshold"]


def test_a_good_image_of_the_run_is_no_bad_photo(refuse, run, root):
    line = refuse(
        "threshold", "--run", run, "--from", root / "screw" / "train", "--cost-miss", "1", "--cost-alarm", "1"
    )
    assert "a good image of the run; name photos of bad parts alone" in line


def test_a_bad_photo_that_cannot_be_read_is_named_and_nothing_is_chosen(refuse, run, bad, tmp_path):
    shutil.copytree(bad, tmp_path / "photos")
    (tmp_path / "photos" / "broken.png").write_bytes(b"no image")
    line = refuse("threshold", "--run", run, "--from", "photos", "--cost-miss", "1", "--cost-alarm", "1")
    assert "broken.png is no readable image" in line
    assert not (run / "threshold.json").exists()


def test_predict_takes_a_chosen_threshold_from_its_file_from_the_run_s_folder_or_as_a_number(bench, run, root):
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.5")
    record = json.loads((run / "record.json").read_text())
    assert found["threshold"] < record["metrics"]["threshold"]
    for given in (run / "threshold.json", run, repr(found["threshold"])):
        outcome = bench("predict", "--run", run, "--stdout", root / "screw" / "test", "--threshold", given)
        assert (outcome.status, outcome.stderr) == (0, "")
        lines = [json.loads(line) for line in outcome.stdout.splitlines()]
        assert {line["threshold"] for line in lines} == {found["threshold"]}
        assert all(line["anomalous"] == (line["score"] > found["threshold"]) for line in lines)


def test_the_threshold_that_decided_stands_in_the_table_and_in_the_last_line(bench, run, root):
    outcome = bench("predict", "--run", run, root / "screw" / "test", "--threshold", "0", "--overlays")
    assert "13 images: 13 anomalous, score above 0; predictions/predictions.csv" in outcome.stdout
    assert {row["threshold"] for row in csv_rows(Path("predictions/predictions.csv"))} == {"0.0"}


def test_the_caption_of_a_picture_tells_the_threshold_that_decided(bench, run, bad, monkeypatch):
    captions = []

    def draw(picture: Image.Image, *rest: object) -> Image.Image:
        captions.append(rest[-1])
        return picture

    monkeypatch.setattr("bench.runs.scoring.output.draw_overlay", draw)
    assert bench("predict", "--run", run, bad / "000.png", "--threshold", "1e9", "--overlays").status == 0
    assert [caption.partition(", ")[2] for caption in captions] == ["threshold 1e+09: good"]


def test_without_the_option_the_record_decides_and_says_so_where_another_was_chosen(bench, run, bad):
    before = bench("predict", "--run", run, "--stdout", bad)
    assert before.stderr == ""
    chosen(bench, "--run", run, "--max-false-alarms", "0.5")
    after = bench("predict", "--run", run, "--stdout", bad)
    assert after.stdout == before.stdout
    assert after.stderr == (
        "bench: the record's threshold decides, not the one chosen later; to take that: "
        f"--threshold {run / 'threshold.json'}\n"
    )
    (run / "threshold.json").unlink()
    assert bench("predict", "--run", run, "--stdout", bad).stderr == ""


def test_tables_go_on_to_use_the_record_s(bench, run):
    words = ("leaderboard", run, "--no-bootstrap", "--out")
    bench(*words, "before")
    chosen(bench, "--run", run, "--max-false-alarms", "0.5")
    bench(*words, "after")
    files = sorted(path.name for path in Path("before").iterdir())
    assert files
    for name in files:
        assert (Path("before") / name).read_bytes() == (Path("after") / name).read_bytes()


def test_a_threshold_of_another_run_or_of_scores_that_are_gone_is_refused(bench, refuse, run, bad):
    other = keep_run(range(1, 101))
    chosen(bench, "--run", other, "--max-false-alarms", "0.05")
    line = refuse("predict", "--run", run, bad, "--threshold", other / "threshold.json")
    assert f"was chosen for run {other.name}, not for" in line
    chosen(bench, "--run", run, "--max-false-alarms", "0.5")
    with (run / "normal_scores.csv").open("a") as file:
        file.write("\n")
    line = refuse("predict", "--run", run, bad, "--threshold", run / "threshold.json")
    assert "was chosen before the run was made again; choose it again" in line


@pytest.mark.parametrize(
    ("given", "about"),
    [
        ("nan", "--threshold nan is no finite number"),
        ("inf", "--threshold inf is no finite number"),
        ("0,5", "no chosen threshold at 0,5; 'bench threshold' writes one, or give a number"),
        ("notes.txt", "notes.txt is no chosen threshold (Invalid JSON"),
        ("newer.json", "was written by a newer bench (schema 2, known is 1); update bench"),
        ("newest.json", "was written by a newer bench (schema 3, known is 1); update bench"),
    ],
)
def test_what_is_no_threshold_is_refused_in_a_line(bench, refuse, run, bad, given, about):
    Path("notes.txt").write_text("3.5 or so")
    chosen(bench, "--run", run, "--max-false-alarms", "0.5")
    content = (run / "threshold.json").read_text()
    Path("newer.json").write_text(content.replace('"schema": 1', '"schema": 2'))
    Path("newest.json").write_text(content.replace('"schema": 1', '"schema": 3, "a new field": 1'))
    assert about in refuse("predict", "--run", run, bad, "--threshold", given)


def test_from_python_the_same_threshold_decides(bench, run, bad):
    found = chosen(bench, "--run", run, "--max-false-alarms", "0.5")
    loaded, image = interface.load(run), bad / "000.png"
    own = loaded.score(image)
    assert own.threshold == loaded.metrics["threshold"]
    for given in (run / "threshold.json", str(run), found["threshold"]):
        assert loaded.score(image, threshold=given).threshold == found["threshold"]
    assert loaded.score(image, threshold=own.score).verdict == "good"
    assert loaded.score(image, threshold=np.nextafter(own.score, -np.inf)).verdict == "anomalous"
    assert loaded.score([image], threshold=own.score + 1)[0].verdict == "good"
    assert loaded.score(image).threshold == loaded.metrics["threshold"], "and nothing is left of it"
