"""The page of `bench predict --gallery`, and the names in its summary."""

import base64
import csv
import io
import re
import threading
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from PIL import Image

from bench.models.padim import PaDiM
from bench.runs.chosen_threshold import TakenThreshold
from bench.runs.scoring import gallery, output
from bench.runs.scoring.images import FoundImage
from bench.runs.scoring.maps import fit_map
from bench.runs.scoring.scorer import FinishedRun, load_run
from bench.runs.scoring.stream import ReadImage, ScoredImage
from cli.test_predict_command import fit
from fake_data import save, weave

PAGE, TABLE = Path("predictions/gallery.html"), Path("predictions/predictions.csv")


@pytest.fixture(scope="module")
def run(bench, quick_padim, tmp_path_factory) -> Path:
    return fit(bench, tmp_path_factory.mktemp("padim"), *quick_padim)


@pytest.fixture
def test_images(data_root) -> Path:
    return data_root / "screw" / "test"


def ranked() -> list[dict[str, str]]:
    with TABLE.open() as file:
        return sorted(csv.DictReader(file), key=lambda row: -float(row["score"]))


def captions(page: str) -> list[str]:
    return [re.sub(r"<.*?>", "", found) for found in re.findall(r"<figcaption>(.*?)</figcaption>", page)]


def test_the_page_has_the_most_anomalous_image_first_with_its_map_and_contour(bench, run, test_images):
    outcome = bench("predict", "--run", run, test_images, "--gallery")
    assert outcome.status == 0, outcome.stderr
    page, rows = PAGE.read_text(), ranked()
    expected = [
        f"{'anomalous' if row['anomalous'] == 'true' else 'good'}, score {float(row['score']):.4g}: {row['path']}"
        for row in rows
    ]
    assert captions(page) == expected
    for what in ("image", "anomaly map", "contour at the threshold"):
        assert page.count(f'title="{what}"') == len(rows)
    anomalous = sum(row["anomalous"] == "true" for row in rows)
    assert f"<h1>{len(rows)} images, {anomalous} anomalous</h1>" in page


def test_the_page_keeps_the_worst_of_many_images(bench, run, test_images, monkeypatch):
    monkeypatch.setattr("bench.runs.scoring.gallery._SHOWN", 3)
    outcome = bench("predict", "--run", run, test_images, "--gallery")
    assert outcome.status == 0, outcome.stderr
    page, rows = PAGE.read_text(), ranked()
    assert [caption.rpartition(": ")[2] for caption in captions(page)] == [row["path"] for row in rows[:3]]
    assert f"3 of {len(rows)}; the table beside this page has all." in page


def test_a_method_without_maps_shows_the_photos_alone(bench, quick_padim, test_images, tmp_path):
    words = [word for word in quick_padim if word not in ("--model.channels", "8")]
    words[words.index("padim")] = "knn"
    outcome = bench("predict", "--run", fit(bench, tmp_path, *words), test_images, "--gallery")
    assert outcome.status == 0, outcome.stderr
    page = PAGE.read_text()
    assert page.count('title="image"') == len(ranked())
    assert 'title="anomaly map"' not in page


def test_a_photo_keeps_its_shape(bench, run, tmp_path):
    pixels = weave(60, "wide")[:20]
    save(pixels, tmp_path / "wide.png")
    assert bench("predict", "--run", run, tmp_path / "wide.png", "--gallery").status == 0
    assert sizes_of(PAGE.read_text()) == [(60, 20)] * 3


def test_the_padding_of_a_photo_does_not_hide_its_contour(bench, quick_padim, tmp_path, monkeypatch):
    run = fit(bench, tmp_path, *quick_padim, "--data.aspect", "pad")
    save(weave(60, "wide")[:20], tmp_path / "wide.png")
    true = PaDiM.predict

    def loud_padding(self, image, content=None):
        found = true(self, image, content)
        found.map[:, 0, 0] = 1e6
        return found

    monkeypatch.setattr(PaDiM, "predict", loud_padding)
    assert bench("predict", "--run", run, tmp_path / "wide.png", "--gallery").status == 0
    assert 'title="contour at the threshold"' in PAGE.read_text()


def scored(found: FinishedRun, score: float, peak: float) -> tuple[ScoredImage, np.ndarray]:
    """An image with one pixel of its map above 0, and the map in the size of a picture."""
    anomaly_map = np.zeros((found.geometry.output,) * 2, np.float32)
    anomaly_map[4, 4] = peak
    image = ReadImage(FoundImage(Path("a.png"), PurePosixPath("a")), np.zeros(0, np.uint8), (200, 200), None, False, "")
    values, _ = fit_map(anomaly_map, found.geometry, (200, 200))
    return ScoredImage(image, score, score > found.threshold, anomaly_map, None), values


def test_a_contour_is_drawn_though_resizing_averages_the_only_pixel_above_the_threshold_away(run):
    found = load_run(run, device="cpu")
    peak = found.threshold * 1.01
    image, values = scored(found, peak, peak)
    assert values.max() < found.threshold
    above = gallery._above_threshold(found, image, values)
    assert above.any()
    assert above.mean() < 0.02


def test_a_pixel_threshold_draws_the_contour_whatever_an_image_s_score_is(run):
    image, values = scored(load_run(run, device="cpu"), 1.0, 8.0)
    assert gallery._above_threshold(load_run(run, device="cpu"), image, values) is None
    taken = load_run(run, device="cpu", threshold=TakenThreshold(2.0, 5.0))
    assert np.array_equal(gallery._above_threshold(taken, image, values), values > 5)


def sizes_of(page: str) -> list[tuple[int, int]]:
    found = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(content))).size for content in found]


def test_the_page_is_no_table_and_needs_a_folder(bench, run, test_images):
    outcome = bench("predict", "--run", run, test_images, "--stdout", "--gallery")
    assert outcome.status == 0, outcome.stderr
    assert PAGE.is_file()
    assert not TABLE.exists()


def test_the_summary_names_the_anomalous_images_worst_first(bench, run, test_images):
    outcome = bench("predict", "--run", run, test_images)
    rows = [row for row in ranked() if row["anomalous"] == "true"]
    assert rows
    names = ", ".join(row["path"] for row in rows[:10])
    assert f"anomalous: {names}" in outcome.stdout


def test_the_summary_counts_those_that_it_does_not_name(bench, run, test_images, monkeypatch):
    monkeypatch.setattr("bench.cli.commands.predict._NAMED", 1)
    outcome = bench("predict", "--run", run, test_images, "--threshold", "0")
    others = len(ranked()) - 1
    assert f" and {others} others" in outcome.stdout


def test_without_anomalous_images_none_is_named(bench, run, test_images):
    outcome = bench("predict", "--run", run, test_images, "--threshold", "1e9")
    assert "0 anomalous" in outcome.stdout
    assert "anomalous:" not in outcome.stdout


def test_pictures_are_written_on_other_threads_in_the_order_of_the_images(bench, run, test_images, monkeypatch):
    threads, written = set(), output.write_pictures

    def watched(*arguments, **options):
        threads.add(threading.current_thread().name)
        return written(*arguments, **options)

    monkeypatch.setattr(output, "write_pictures", watched)
    assert bench("predict", "--run", run, test_images, "--maps", "--overlays").status == 0
    with TABLE.open() as file:
        rows = list(csv.DictReader(file))
    assert threading.main_thread().name not in threads
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    for row in rows:
        assert Path("predictions", row["overlay"]).is_file()
        assert Path(row["overlay"]).stem == Path(row["path"]).stem


def test_a_disk_that_is_full_while_pictures_are_written_leaves_nothing(bench, run, test_images, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(output, "write_pictures", full)
    outcome = bench("predict", "--run", run, test_images, "--overlays")
    assert outcome.status != 0
    assert "is full" in outcome.stderr
    assert not Path("predictions").exists()
