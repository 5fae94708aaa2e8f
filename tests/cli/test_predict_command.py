"""`bench predict`: scores and heat maps of images that a run never saw, in files that are whole or not there."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from bench.metrics.image import image_metrics
from bench.metrics.pixel import PixelMetrics
from conftest import Outcome, files_below
from csv_rows import csv_rows
from fake_data import DEFECTS, save, weave, write_category
from runs.test_supervised import QUICK

SUPERVISED = (*QUICK, "--data.fold", "0")
IMAGES = 5 + sum(DEFECTS.values())


def fit(bench, folder: Path, *options: object) -> Path:
    """The folder of a run that is finished there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = bench("fit", *options, "--runs", folder / "runs")
    assert outcome.status == 0, outcome.stderr
    return next((folder / "runs").rglob("record.json")).parent


@pytest.fixture(scope="module")
def run(bench, quick_padim, tmp_path_factory) -> Path:
    return fit(bench, tmp_path_factory.mktemp("padim"), *quick_padim)


@pytest.fixture(scope="module")
def labelled(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    write_category(root, train=14, good=5, defects={"blob": 9, "scratch": 7})
    return root


@pytest.fixture(scope="module")
def classifier(bench, labelled, tmp_path_factory) -> Path:
    return fit(bench, tmp_path_factory.mktemp("classifier"), *QUICK, "--data.root", labelled)


@pytest.fixture
def images(tmp_path) -> Path:
    """A folder of six images: a space, Chinese characters, two folders, two suffixes."""
    folder = tmp_path / "新 图片"
    for name in ("b 2.png", "a.png", "螺丝.JPG", "深/a.png", "深/a.bmp", "z.tif"):
        save(weave(60, name), folder / name)
    return folder


def rows_of(table: Path) -> list[dict[str, str]]:
    return csv_rows(table)


def record_of(run: Path) -> dict:
    return json.loads((run / "record.json").read_text(encoding="utf-8"))


def lines_of(outcome: Outcome) -> list[dict]:
    return [json.loads(line) for line in outcome.stdout.splitlines()]


def test_the_run_s_own_test_images_get_the_scores_of_its_test(bench, run, data_root):
    outcome = bench("predict", "--run", run, data_root / "screw" / "test")
    assert (outcome.status, outcome.stderr) == (0, "")
    found, expected = rows_of(Path("predictions/predictions.csv")), rows_of(run / "predictions.csv")
    assert [row["path"] for row in found] == [str(data_root / row["path"]) for row in expected]
    scores = [[float(row["score"]) for row in rows] for rows in (found, expected)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    threshold = record_of(run)["metrics"]["threshold"]
    assert {float(row["threshold"]) for row in found} == {threshold}
    assert [row["anomalous"] for row in found] == [str(score > threshold).lower() for score in scores[0]]


def test_neither_the_data_of_the_run_nor_its_cache_are_needed(bench, run, images):
    moved = shutil.copytree(run, Path("elsewhere"))
    record = record_of(run)
    record["config"]["data"]["root"] = "/nowhere"
    (moved / "record.json").write_text(json.dumps(record))
    assert bench("predict", "--run", moved, images).status == 0


def test_a_folder_is_searched_in_order_and_other_files_are_left_alone(bench, run, images):
    (images / "notes.txt").write_text("no image")
    save(weave(60, "hidden"), images / ".hidden.png")
    save(weave(60, "hidden"), images / ".trash" / "old.png")
    bench("predict", "--run", run, images)
    names = [row["path"] for row in rows_of(Path("predictions/predictions.csv"))]
    assert names == [str(images / name) for name in ("a.png", "b 2.png", "z.tif", "深/a.bmp", "深/a.png", "螺丝.JPG")]


@pytest.mark.parametrize(("name", "anomalous"), [("good", 0), ("blob", 1)])
def test_a_single_image_is_counted_in_numbers(name, anomalous, bench, run, data_root):
    outcome = bench("predict", "--run", run, data_root / "screw" / "test" / name / "000.png")
    assert f"1 image: {anomalous} anomalous" in outcome.stdout + outcome.stderr


def test_an_image_that_is_named_twice_is_scored_once(bench, run, images):
    outcome = bench("predict", "--run", run, "--stdout", images / "a.png", images, images / ".." / images.name)
    assert len(lines_of(outcome)) == 6


def test_the_masks_of_a_dataset_are_no_images(bench, run, data_root):
    outcome = bench("predict", "--run", run, "--stdout", data_root)
    assert len(lines_of(outcome)) == IMAGES + 12
    assert "left out" in outcome.stderr
    assert str(data_root / "screw" / "ground_truth") in outcome.stderr


def test_lines_on_stdout_are_json_and_nothing_else_and_leave_no_folder(bench, run, images, own_folder):
    (images / "c.png").write_bytes(b"no image")
    before = files_below(own_folder)
    outcome = bench("predict", "--run", run, "--stdout", images)
    assert outcome.status == 1
    lines = lines_of(outcome)
    assert [Path(line["path"]).name for line in lines][-1] == "螺丝.JPG"
    assert all(line.keys() == {"path", "score", "threshold", "anomalous"} for line in lines)
    assert "螺丝" in outcome.stdout, "names stay readable"
    assert files_below(own_folder) == before


def test_the_table_may_be_json_lines(bench, run, images):
    bench("predict", "--run", run, images, "--out", "as lines", "--format", "jsonl")
    bench("predict", "--run", run, images, "--out", "as csv")
    lines = [json.loads(line) for line in Path("as lines/predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [str(line["score"]) for line in lines] == [row["score"] for row in rows_of(Path("as csv/predictions.csv"))]
    assert {path.name for path in Path("as lines").iterdir()} == {"predictions.jsonl"}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_name_that_is_no_unicode_comes_back_as_it_was(bench, run, tmp_path, form):
    raw = b"caf\xe9.png"
    folder = tmp_path / "bytes"
    try:
        save(weave(48, "x"), folder / "x.png").rename(folder / raw.decode("utf-8", "surrogateescape"))
    except OSError:
        pytest.skip("this file system takes no such names")
    assert bench("predict", "--run", run, folder, "--format", form).status == 0
    content = Path(f"predictions/predictions.{form}").read_bytes()
    assert (raw if form == "csv" else b"caf\\udce9.png") in content


def test_nothing_is_overwritten(refuse, run, images):
    Path("predictions").mkdir()
    Path("predictions/mine.txt").write_text("mine")
    assert "predictions is there already; name another folder with --out" in refuse("predict", "--run", run, images)


def test_an_empty_folder_may_be_filled(bench, run, images):
    Path("results").mkdir()
    assert bench("predict", "--run", run, images, "--out", "results").status == 0
    assert Path("results/predictions.csv").is_file()


def test_a_broken_image_is_named_and_skipped_and_the_others_are_scored(bench, run, images):
    whole = (images / "a.png").read_bytes()
    (images / "m 断.png").write_bytes(whole[: len(whole) // 2])
    (images / "n.png").write_bytes(b"")
    outcome = bench("predict", "--run", run, images, "--maps", "--overlays")
    assert outcome.status == 1
    skipped = [line for line in outcome.stderr.splitlines() if "skipped: " in line]
    assert [str(images / name) in line for name, line in zip(("m 断.png", "n.png"), skipped, strict=True)] == [True] * 2
    assert outcome.stderr.splitlines()[-1] == "bench: 2 of 8 images were skipped"
    assert len(rows_of(Path("predictions/predictions.csv"))) == 6


def test_a_strict_call_stops_at_a_broken_image_and_leaves_nothing(bench, run, images, own_folder):
    (images / "m.png").write_bytes(b"no image")
    before = files_below(own_folder)
    outcome = bench("predict", "--run", run, images, "--strict", "--maps")
    assert outcome.status == 2
    assert outcome.stderr == f"bench: {images / 'm.png'} is no readable image; copy it again or remove it\n"
    assert files_below(own_folder) == before
    assert not list(own_folder.glob(".predictions*"))


def test_an_interrupted_call_leaves_nothing(bench, run, images, own_folder, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = files_below(own_folder)
    monkeypatch.setattr("bench.runs.scoring.output.describe", interrupt)
    assert bench("predict", "--run", run, images, "--maps").status == 130
    assert files_below(own_folder) == before


def test_a_call_without_a_readable_image_leaves_nothing(bench, run, own_folder):
    Path("broken.png").write_bytes(b"")
    outcome = bench("predict", "--run", run, "broken.png")
    assert outcome.status == 1
    assert "none of 1 images could be read" in outcome.stderr
    assert not Path("predictions").exists()


def test_maps_of_a_dataset_lie_where_mvtec_s_evaluation_looks_for_them(bench, run, data_root):
    bench("predict", "--run", run, data_root / "screw" / "test", "--maps")
    found = {path.as_posix() for path in files_below(Path("predictions/anomaly_images"))}
    expected = {f"screw/test/{kind}/{i:03}.tiff" for kind, n in {"good": 5, **DEFECTS}.items() for i in range(n)}
    assert found == expected
    assert {row["map"].removeprefix("anomaly_images/") for row in rows_of(Path("predictions/predictions.csv"))} == found


def test_maps_are_read_back_exactly_by_tifffile_and_by_pillow(bench, run, data_root):
    bench("predict", "--run", run, data_root / "screw" / "test" / "blob", "--maps")
    for path in Path("predictions").rglob("*.tiff"):
        values, image = tifffile.imread(path), Image.open(path)
        assert (values.dtype, values.shape, image.mode) == (np.float32, (48, 48), "F")
        assert np.array_equal(values, np.asarray(image))


@pytest.mark.slow
def test_maps_give_the_pixel_figures_of_a_run_at_full_resolution(bench, quick_padim, data_root, tmp_path):
    run = fit(bench, tmp_path, *quick_padim, "--protocol", "full")
    bench("predict", "--run", run, data_root / "screw" / "test", "--maps")
    metrics, types = PixelMetrics(), ["good", *sorted(DEFECTS)]
    for path in sorted(Path("predictions/anomaly_images").rglob("*.tiff")):
        kind = path.parent.name
        mask = data_root / "screw" / "ground_truth" / kind / f"{path.stem}_mask.png"
        values = torch.from_numpy(tifffile.imread(path))
        truth = torch.from_numpy(np.asarray(Image.open(mask)) > 0) if kind != "good" else torch.zeros(48, 48) > 0
        metrics.update(values[None], truth[None], torch.tensor([types.index(kind)]))
    expected = {k: v for k, v in record_of(run)["metrics"].items() if k.startswith(("pixel", "aupro"))}
    assert metrics.compute().overall == pytest.approx(expected, abs=1e-6)


def test_files_mirror_the_folders_that_were_named_and_never_meet(bench, run, tmp_path):
    for folder in ("one/part", "two/part"):
        for name in ("a.png", "a.jpg", "b.png"):
            save(weave(48, folder + name), tmp_path / folder / name)
    bench("predict", "--run", run, "one/part", "two/part", "--maps", "--overlays")
    names = {f"{folder}/part/{name}" for folder in ("one", "two") for name in ("a.png", "a.jpg", "b.png")}
    assert {path.as_posix() for path in files_below(Path("predictions/anomaly_images"))} == {f"{n}.tiff" for n in names}
    assert {path.as_posix() for path in files_below(Path("predictions/overlays"))} == {f"{n}.png" for n in names}
    for row in rows_of(Path("predictions/predictions.csv")):
        assert (Path("predictions") / row["map"]).is_file()
        assert row["overlay"] == f"overlays/{row['path']}.png"


def test_a_map_has_its_image_s_size_whatever_its_shape(bench, run, tmp_path):
    save(weave(48, "wide").repeat(2, axis=0).repeat(6, axis=1), tmp_path / "wide.png")
    bench("predict", "--run", run, "wide.png", "--maps", "--overlays")
    assert tifffile.imread("predictions/anomaly_images/wide.tiff").shape == (96, 288)
    with Image.open("predictions/overlays/wide.png") as picture:
        assert picture.size[0] > 480


@pytest.mark.slow
def test_beyond_the_crop_of_a_run_a_map_holds_its_lowest_value(bench, quick_padim, images, tmp_path):
    run = fit(bench, tmp_path, *quick_padim, "--data.image_size", "40", "--data.crop", "32")
    outcome = bench("predict", "--run", run, images / "a.png", "--maps")
    assert "the middle 32 of 40 pixels" in outcome.stderr
    values = tifffile.imread("predictions/anomaly_images/a.tiff")  # of 60 pixels, 6 on each side were not seen
    seen = np.zeros((60, 60), dtype=bool)
    seen[6:54, 6:54] = True
    assert np.all(values[~seen] == values.min())
    assert np.mean(values[seen] == values.min()) < 0.01


def test_overlays_have_one_scale_that_the_record_holds(bench, run, images):
    low, high = record_of(run)["map_range"]
    assert low < high
    bench("predict", "--run", run, images / "a.png", images / "z.tif", "--overlays")
    first, second = (Image.open(f"predictions/overlays/{name}.png") for name in ("a", "z"))
    assert first.mode == "RGB"
    assert first.size == second.size
    bars = [np.asarray(picture)[22:, 480 + 12 : 480 + 12 + 18] for picture in (first, second)]
    assert np.array_equal(*bars), "the colour bar"
    (red, green, blue), foot = bars[0][0][9].tolist(), bars[0][478 - 2][9]
    assert min(red, green) > 2 * blue, "yellow at the top"
    assert np.ptp(foot.astype(int)) < 5, "no colour at the foot"


def test_the_range_of_colours_is_that_of_the_test_s_maps(bench, run, data_root):
    bench("predict", "--run", run, data_root / "screw" / "test", "--maps")
    maps = {p: tifffile.imread(p) for p in Path("predictions/anomaly_images").rglob("*.tiff")}
    low, high = record_of(run)["map_range"]
    assert low == pytest.approx(np.median([np.median(m) for m in maps.values()]), rel=0.05), "of enlarged maps"
    assert high == pytest.approx(np.median([m.max() for p, m in maps.items() if p.parent.name != "good"]), rel=0.05)


def test_a_run_whose_record_has_no_range_of_colours_gives_maps_but_no_overlays(bench, refuse, run, images):
    earlier = shutil.copytree(run, Path("earlier"))
    (earlier / "record.json").write_text(json.dumps(record_of(run) | {"map_range": None}))
    assert "run the cell again, or leave out --overlays" in refuse("predict", "--run", earlier, images, "--overlays")
    assert bench("predict", "--run", earlier, images, "--maps").status == 0
    assert len(list(Path("predictions").rglob("*.tiff"))) == 6


def test_a_picture_is_not_drawn_into_a_folder_that_is_searched_for_images(refuse, run, images):
    line = refuse("predict", "--run", run, images, "--overlays", "--out", images / "heat")
    assert "would be images next time" in line


@pytest.mark.parametrize("option", ["--maps", "--overlays"])
def test_a_classifier_has_no_maps(refuse, classifier, images, option):
    assert "has no anomaly maps" in refuse("predict", "--run", classifier, images, option)


def test_the_classifiers_of_all_folds_decide_together_and_images_that_they_learned_from_are_counted(
    bench, classifier, labelled, tmp_path
):
    save(weave(60, "new"), tmp_path / "new.png")
    outcome = bench("predict", "--run", classifier, "--stdout", labelled / "screw" / "test", "new.png")
    lines = lines_of(outcome)
    assert "21 of these are images that the run learned from" in outcome.stderr
    assert all(line.keys() == {"path", "score", "class", "probability", "anomalous"} for line in lines)
    assert {line["class"] for line in lines} <= {"good", "blob", "scratch"}
    assert all(line["anomalous"] == (line["class"] != "good") for line in lines)
    assert all(1 / 3 <= line["probability"] <= 1 for line in lines)


@pytest.mark.slow
def test_the_classifier_of_one_fold_gives_the_scores_of_its_test(bench, labelled, tmp_path):
    run = fit(bench, tmp_path, *SUPERVISED, "--data.root", labelled)
    expected = rows_of(run / "predictions.csv")
    outcome = bench("predict", "--run", run, "--stdout", *[labelled / row["path"] for row in expected])
    scores = [line["score"] for line in lines_of(outcome)]
    assert scores == pytest.approx([float(row["score"]) for row in expected], rel=1e-5, abs=1e-5)


@pytest.mark.slow
def test_a_method_without_maps_still_scores(bench, quick, images, tmp_path):
    run = fit(
        bench, tmp_path, *quick, "--model", "deep_svdd", "--trainer.max_epochs", "1", "--model.pretrain_epochs", "0"
    )
    outcome = bench("predict", "--run", run, "--stdout", images)
    assert len(lines_of(outcome)) == 6
    assert record_of(run)["map_range"] is None


@pytest.mark.slow
def test_grey_runs_take_coloured_files_of_grey_images_and_refuse_colours(bench, quick_padim, tmp_path):
    folder = write_category(tmp_path / "grey data")
    for path in folder.rglob("*.png"):
        if "ground_truth" not in path.parts:
            Image.open(path).convert("L").save(path)
    run = fit(bench, tmp_path, *quick_padim, "--data.root", tmp_path / "grey data")
    own = sorted((folder / "test" / "good").iterdir())[0]
    Image.open(own).convert("RGB").save("same.png")
    save(weave(48, "x"), Path("coloured.png"))
    outcome = bench("predict", "--run", run, "--stdout", own, "same.png", "coloured.png")
    first, second = lines_of(outcome)
    assert first["score"] == second["score"]
    assert "coloured.png is in colour, but the run learned from grey images" in outcome.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nothing.png",), "no image and no folder at nothing.png"),
        (("empty",), "no images below empty"),
        ((), "PATH"),
        (("empty", "--stdout", "--format", "csv"), "leave out --format csv"),
        (("empty", "--stdout", "--out", "x"), "--stdout writes no folder"),
        (("empty", "--overlay"), "did you mean '--overlays'?"),
    ],
)
def test_a_mistake_is_told_in_one_line(refuse, run, arguments, words):
    Path("empty").mkdir()
    assert words in refuse("predict", "--run", run, *arguments)


def test_a_checkpoint_that_does_not_say_how_it_is_built_is_refused(refuse, run, images):
    moved = shutil.copytree(run, Path("runs/moved"))
    content = torch.load(moved / "model.ckpt", weights_only=True)
    del content["spec"]
    torch.save(content, moved / "model.ckpt")
    assert "fit it again" in refuse("predict", "--run", moved, images)


def test_an_interrupted_run_has_nothing_to_predict_with(refuse, run, images):
    moved = shutil.copytree(run, Path("runs/moved"))
    (moved / "record.json").write_text(json.dumps(record_of(run) | {"status": "interrupted"}))
    assert "was interrupted" in refuse("predict", "--run", moved, images)


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(bench, run, data_root, mount_disk):
    disk = mount_disk("32k")
    outcome = bench("predict", "--run", run, data_root / "screw" / "test", "--maps", "--out", disk / "out")
    assert outcome.status == 2
    assert outcome.stderr.count("\n") == 1
    assert "full" in outcome.stderr
    assert "--out FOLDER" in outcome.stderr
    assert list(disk.iterdir()) == []


def test_predictions_give_the_figures_of_the_record(bench, run, data_root):
    outcome = bench("predict", "--run", run, "--stdout", data_root / "screw" / "test")
    lines = lines_of(outcome)
    scores = [line["score"] for line in lines]
    labels = ["/good/" not in line["path"] for line in lines]
    expected = record_of(run)["metrics"]
    found = image_metrics(scores, labels, lines[0]["threshold"])
    assert found == pytest.approx({name: expected[name] for name in found}, abs=1e-6)


@pytest.mark.slow
def test_five_thousand_images_are_scored_within_bounded_memory(run, tmp_path):
    """In a process of its own, whose peak is its alone: ten times the images, the same memory."""
    import os
    import subprocess
    import sys

    folder = tmp_path / "五千 images"
    first = save(weave(24, "0"), folder / "0000.png")
    for index in range(1, 5000):
        (folder / f"{index:04}.png").hardlink_to(first)
    code = (
        "import resource, sys; from bench.cli.main import main; status = main(sys.argv[1:]);"
        "print(status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
    )
    peaks = []
    for count, out in ((500, "few"), (5000, "all")):
        paths = [folder] if count == 5000 else sorted(folder.iterdir())[:count]
        command = [sys.executable, "-c", code, "predict", "--run", run, "--out", out, *paths]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        status, peak = done.stderr.split()
        assert status == "0", done.stderr
        assert len(rows_of(Path(out) / "predictions.csv")) == count
        peaks.append(int(peak))
    assert peaks[1] < peaks[0] + 40, f"{peaks} MiB"
