"""The server's rules: the official names and counts pass, and each deviation is found."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from bench.data.datasets import mvtec_ad_2_facts as facts
from bench.submission.rules import expected_files, find_mistakes


def write(folder: Path) -> Path:
    for name in expected_files():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.suffix == ".tiff":
            tifffile.imwrite(file, np.arange(4, dtype=np.float16).reshape(2, 2))
        else:
            Image.fromarray(np.array([[0, 255]], np.uint8)).save(file)
    return folder


@pytest.mark.slow
def test_the_official_names_and_counts_pass(tmp_path):
    assert len(expected_files()) == 8180  # 2,045 images in each of two sets, as maps and as verdicts
    assert find_mistakes(write(tmp_path)) == []


@pytest.fixture
def submission(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(facts, "PRIVATE_IMAGES", {"can": 3, "vial": 2})
    return write(tmp_path / "submission")


MAP, VERDICTS = "anomaly_images/can/test_private/000_regular.tiff", "anomaly_images_thresholded/vial/test_private_mixed"


@pytest.mark.parametrize(
    ("spoil", "mistake"),
    [
        (lambda folder: (folder / MAP).unlink(), "anomaly_images/can/test_private: missing: 000_regular.tiff"),
        (
            lambda folder: shutil.rmtree(folder / VERDICTS),
            f"{VERDICTS}: missing: 000_mixed.png, 001_mixed.png",
        ),
        (
            lambda folder: (folder / VERDICTS / "002_mixed.png").write_bytes(b""),
            f"{VERDICTS}: superfluous: 002_mixed.png",
        ),
        (lambda folder: (folder / "notes.txt").write_text("mine"), ".: superfluous: notes.txt"),
        (lambda folder: (folder / "more").mkdir(), "more: superfluous, an empty folder"),
        (
            lambda folder: tifffile.imwrite(folder / MAP, np.ones((2, 2), np.float32)),
            f"{MAP}: is of float32, not float16",
        ),
        (
            lambda folder: tifffile.imwrite(folder / MAP, np.ones((2, 2, 2), np.float16)),
            f"{MAP}: has 3 dimensions, not 2",
        ),
        (
            lambda folder: tifffile.imwrite(folder / MAP, np.full((2, 2), np.inf, np.float16)),
            f"{MAP}: holds values that are no finite numbers",
        ),
        (
            lambda folder: Image.fromarray(np.array([[0, 1, 255]], np.uint8)).save(folder / VERDICTS / "000_mixed.png"),
            f"{VERDICTS}/000_mixed.png: holds 1 beside 0 and 255",
        ),
        (
            lambda folder: Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(folder / VERDICTS / "000_mixed.png"),
            f"{VERDICTS}/000_mixed.png: has 3 dimensions, not 2",
        ),
        (lambda folder: (folder / MAP).write_bytes(b"no map"), f"{MAP}: cannot be read"),
    ],
)
def test_each_deviation_is_found(submission, spoil, mistake):
    assert find_mistakes(submission) == []
    spoil(submission)
    (found,) = find_mistakes(submission)
    assert found.startswith(mistake)


def test_bench_submit_check_prints_each_mistake_and_ends_with_status_1(bench, submission):
    (submission / MAP).unlink()
    (submission / "notes.txt").write_text("mine")
    outcome = bench("submit", "--check", submission)
    assert outcome.status == 1
    assert len(outcome.stdout.splitlines()) == 2
    assert outcome.stderr == f"bench: the server would refuse {submission}: 2 mistakes\n"


def test_a_folder_that_is_not_there_is_named(refuse):
    assert "no folder nowhere" in refuse("submit", "--check", "nowhere")
