"""`bench stress`: a run's verdicts on its test images, unchanged and under changes."""

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from cli.test_predict_command import fit
from fake_data import save, weave, write_category
from fake_records import change_record
from runs.test_supervised import QUICK

CONDITIONS = 25  # the unchanged images, two ways of light and contrast, four other changes, in three strengths each


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A category whose first blob touches the left border and is two pixels wide."""
    root = tmp_path_factory.mktemp("data")
    folder = write_category(root, side=128, contrast=0.5)
    picture, mask = weave(128, "edge"), np.zeros((128, 128), np.uint8)
    picture[40:80, :2], mask[40:80, :2] = 255, 255
    save(picture, folder / "test" / "blob" / "000.png")
    save(mask, folder / "ground_truth" / "blob" / "000_mask.png")
    return root


@pytest.fixture(scope="module")
def padim(bench, quick_padim, root, tmp_path_factory) -> Path:
    return fit(bench, tmp_path_factory.mktemp("padim"), *quick_padim, "--data.root", root)


@pytest.fixture(scope="module")
def autoencoder(bench, quick, root, tmp_path_factory) -> Path:
    return fit(bench, tmp_path_factory.mktemp("autoencoder"), *quick, "--data.root", root)


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def both(bench, padim, autoencoder, pages) -> dict:
    """Two runs side by side, as JSON; their page lies in `pages`."""
    outcome = bench("stress", padim, autoencoder, "--json", "--out", pages)
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def record_of(run: Path) -> dict:
    return json.loads((run / "record.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_unchanged_row_is_the_record_to_the_bit(both, padim, autoencoder):
    for found, run in zip(both["runs"], (padim, autoencoder), strict=True):
        unchanged, metrics = found["conditions"][0], record_of(run)["metrics"]
        assert unchanged["image_auroc"] == metrics["image_auroc"]
        assert unchanged["pixels"] == {name: metrics[name] for name in ("pixel_auroc", "aupro_0.30")}
        assert 1 - unchanged["misses"] / unchanged["defective"] == pytest.approx(metrics["image_recall"])
        assert unchanged["flips"] == 0
        assert found["threshold"] == metrics["threshold"]


@pytest.mark.slow
def test_every_change_has_a_row_for_every_run(both):
    for found in both["runs"]:
        rows = found["conditions"]
        assert len(rows) == CONDITIONS
        assert len({row["label"] for row in rows}) == CONDITIONS
        assert all(row["good"] == 5 for row in rows)
        assert all(row["flips"] == row["to_anomalous"] + row["to_good"] for row in rows)


@pytest.mark.slow
def test_light_changes_verdicts(both):
    worst = [row for row in both["runs"][0]["conditions"] if row["change"] == "light"][-1]
    assert worst["flips"] > 0
    assert worst["false_alarms"] > 0


@pytest.mark.slow
def test_only_under_a_shift_may_a_defect_leave_the_frame_and_it_is_not_counted(both):
    for row in both["runs"][0]["conditions"]:
        assert row["defective"] + row["left_frame"] == 8
        assert row["left_frame"] == 0 or row["change"] == "shift"


@pytest.mark.slow
def test_the_page_holds_every_run_and_change(both, pages):
    text = (pages / "stress.html").read_text(encoding="utf-8")
    HTMLParser().feed(text)
    assert "padim" in text
    assert "autoencoder_l2" in text
    assert text.count("<svg") == 6 * 4  # AUROC, false alarms, misses, flips of each change
    assert "reflected at its border" in text
    assert '<th scope="col">pixel AUROC</th>' in text
    assert re.search(r"<td>\d+ of 5 \(0\.\d{3} to [01]\.\d{3}\)</td>", text), "Wilson's interval stands beside a share"


def test_masks_move_with_the_pixels_and_a_defect_may_leave(padim, root):
    from bench.stress.changes import all_changes
    from bench.stress.measure import ChangedTest
    from bench.stress.tested_runs import read_runs

    (run,) = read_runs([padim])
    change = all_changes()[-1]  # four pixels of 128
    samples = run.data.category.test
    edge = next(i for i, one in enumerate(samples) if one.defect_type == "blob")
    left = {}
    for seed in range(20):
        keys = [(seed, number) for number in range(len(samples))]
        dataset = ChangedTest(run, Path("unused.npy"), change, keys)
        left[seed] = bool(dataset.left_frame()[edge])
        assert (dataset.mask(edge) is None) == left[seed]
        for index, sample in enumerate(samples):
            if sample.defect_type == "scratch":
                photo = np.asarray(sample.read_image())
                moved = dataset.moved(index)
                assert np.array_equal(moved, change.apply(sample.read_mask().astype(np.uint8), keys[index]) > 0)
                bright = change.apply(photo, keys[index]).mean(axis=2)
                assert bright[moved].mean() > bright[~moved].mean() + 30
    assert {*left.values()} == {True, False}


@pytest.mark.slow
def test_the_seed_decides_noise_and_shift_alone(bench, padim, tmp_path):
    found = []
    for seed in (0, 0, 5):
        outcome = bench("stress", padim, "--json", "--no-pixels", "--seed", seed, "--out", tmp_path)
        found.append(json.loads(outcome.stdout)["runs"][0]["conditions"])
    assert found[0] == found[1]
    differing = {a["change"] for a, b in zip(found[0], found[2], strict=True) if a != b}
    assert differing <= {"noise", "shift"}
    assert all(row["pixels"] == {} for row in found[0])


@pytest.mark.slow
def test_the_table_has_a_row_for_each_change_and_the_page_lies_beside_the_run(bench, padim, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    own = shutil.copytree(padim, tmp_path / "run")
    outcome = bench("stress", own, "--no-pixels")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines()[-1] == str(own / "stress.html")
    rows = [line.split() for line in outcome.stdout.splitlines()]
    for words in ("unchanged", "light -5 %", "JPEG quality 50", "shift 8 px of 256"):
        (row,) = [row for row in rows if row[: len(words.split())] == words.split()]
        assert re.fullmatch(r"[01]\.\d{4} \d+ of \d+ \d+ of \d+ \d+", " ".join(row[len(words.split()) :]))


@pytest.mark.slow
def test_defects_without_masks_are_counted_under_a_shift_and_that_is_said(bench, quick_padim, root, tmp_path):
    shutil.copytree(root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "screw" / "ground_truth")
    run = fit(bench, tmp_path / "runs", *quick_padim, "--data.root", tmp_path / "data")
    outcome = bench("stress", run)
    assert outcome.status == 0
    assert "8 defect images without a mask: counted under a shift too" in outcome.stdout


@pytest.mark.slow
def test_a_run_that_is_not_scored_as_in_its_record_ends_the_command(bench, padim, tmp_path):
    run = shutil.copytree(padim, tmp_path / "run")
    lines = (run / "predictions.csv").read_text(encoding="utf-8").splitlines()
    fields = lines[3].split(",")
    fields[4] = "7.5"
    lines[3] = ",".join(fields)
    (run / "predictions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    outcome = bench("stress", run)
    assert outcome.status == 1
    assert "differs from its record in 1 of 13 scores" in outcome.stderr
    assert not (run / "stress.html").exists()


def test_a_run_without_a_threshold_is_refused(refuse, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    change_record(run, metrics={})
    assert "holds no threshold" in refuse("stress", run)


def test_an_unfinished_run_is_refused(refuse, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    change_record(run, status="interrupted")
    assert "was interrupted" in refuse("stress", run)


def test_a_run_with_a_region_of_interest_is_refused(refuse, finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    change_record(run, data=record_of(run)["data"] | {"region": "0" * 64})
    assert "judges a region of interest, which cannot follow a shift" in refuse("stress", run)


def test_a_folder_without_a_run_is_refused(refuse, tmp_path):
    assert "nothing" in refuse("stress", tmp_path / "nothing")


def test_the_same_run_twice_is_refused(refuse, finished):
    assert "named twice" in refuse("stress", finished, finished)


def test_a_run_whose_images_are_others_now_is_refused(refuse, padim, tmp_path):
    write_category(tmp_path / "data", side=128, contrast=0.4)
    assert "these are not the images" in refuse("stress", padim, "--data.root", tmp_path / "data")


def test_a_run_whose_data_are_gone_is_refused(refuse, padim, tmp_path):
    assert str(tmp_path / "gone") in refuse("stress", padim, "--data.root", tmp_path / "gone")


def test_runs_of_different_test_images_are_refused(refuse, padim, finished):
    assert "was tested on other images" in refuse("stress", padim, finished)


@pytest.mark.slow
def test_a_classifier_is_refused(bench, refuse, tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled")
    write_category(root, train=14, good=5, defects={"blob": 9, "scratch": 7})
    run = fit(bench, tmp_path_factory.mktemp("classifier"), *QUICK, "--data.root", root)
    assert "is a classifier" in refuse("stress", run)
