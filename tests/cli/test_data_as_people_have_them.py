"""Folders as people have them: each gives the figures of the plain one, figures without what is missing, or a line."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bench.data.geometry import Box
from bench.metrics.pixel import PixelMetrics
from bench.models.base import Detector
from csv_rows import csv_rows
from fake_data import save, write_category

SIZE = ("--data.image_size", "32", "--trainer.accelerator", "cpu")
PADIM = ("--model", "padim", "--model.weights", "none", "--model.channels", "8")
KNN = ("--model", "knn", "--model.weights", "none")
PIXELS = {"pixel_auroc", "pixel_ap", "pixel_f1max", "aupro_0.30", "aupro_0.05"}


def images(part: Path) -> list[Path]:
    return sorted([*part.glob("train/*/*.png"), *part.glob("test/*/*.png")])


def masks(part: Path) -> list[Path]:
    return sorted(part.glob("ground_truth/*/*.png"))


def store_as(path: Path, suffix: str, **options: object) -> None:
    Image.open(path).save(path.with_suffix(suffix), **options)
    path.unlink()


def notebook_folders(part: Path) -> None:
    for place in ("test", "test/good", "train/good", "ground_truth"):
        for name in (".ipynb_checkpoints", "@eaDir", "__MACOSX", "lost+found"):
            (part / place / name).mkdir()
            shutil.copy(part / "test/good/000.png", part / place / name / "000.png")
    (part / "test/good/Thumbs.db").write_bytes(b"thumbs")


def some_webp(part: Path) -> None:
    for path in images(part)[::2]:
        store_as(path, ".webp", lossless=True)


def some_opaque(part: Path) -> None:
    for path in images(part)[::2]:
        Image.open(path).convert("RGBA").save(path)


def masks_as(suffix: str) -> Callable[[Path], None]:
    def change(part: Path) -> None:
        for path in masks(part):
            Image.open(path).save(part / "mask.bmp")
            path.unlink()
            Image.open(part / "mask.bmp").save(path.with_suffix(suffix))
        (part / "mask.bmp").unlink()

    return change


def two_values(low: int, high: int) -> Callable[[Path], None]:
    def change(part: Path) -> None:
        for path in masks(part):
            save(np.where(np.asarray(Image.open(path)) > 0, high, low).astype(np.uint8), path)

    return change


def latin1_name(part: Path) -> None:
    (part / "test/good/000.png").rename(os.fsdecode(os.fsencode(part / "test/good") + b"/m\xfcller.png"))


AS_PLAIN: dict[str, Callable[[Path], None]] = {
    "system's folders": notebook_folders,
    "webp": some_webp,
    "an opaque alpha channel": some_opaque,
    "masks in capitals": masks_as(".PNG"),
    "masks as bitmaps": masks_as(".bmp"),
    "masks as TIFF": masks_as(".tif"),
    "masks of 0 and 1": two_values(0, 1),
    "masks of 1 and 255": two_values(1, 255),
    "a name that is no UTF-8": latin1_name,
}


@pytest.fixture(scope="module")
def plain(bench, tmp_path_factory) -> dict:
    """The record of a run on the category as it should be."""
    folder = tmp_path_factory.mktemp("plain")
    write_category(folder)
    outcome = bench("fit", *PADIM, *SIZE, *place(folder), "--runs", folder / "runs", "--wandb", "disabled", "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout)


def place(root: Path) -> tuple[object, ...]:
    return "--category", "screw", "--data.root", root, "--data.cache", root / "cache"


@pytest.fixture
def part(tmp_path) -> Path:
    """The folder of the category, to be changed."""
    return write_category(tmp_path / "data")


def fit(bench, part: Path, *options: object, model: tuple[str, ...] = PADIM) -> tuple[dict, Path, str]:
    outcome = bench("fit", *model, *SIZE, *place(part.parent), "--json", *options)
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    return record, next(Path("runs").rglob(f"{record['fingerprint']}/record.json")).parent, outcome.stderr


@pytest.mark.parametrize("case", AS_PLAIN)
def test_what_only_looks_otherwise_gives_the_same_figures(bench, plain, part, case):
    AS_PLAIN[case](part)
    record, folder, _ = fit(bench, part)
    assert record["metrics"] == pytest.approx(plain["metrics"])
    assert record["data"]["counts"] == plain["data"]["counts"]
    assert len(csv_rows(folder / "predictions.csv")) == 13


def sub_folder(part: Path) -> None:
    (part / "train/good/monday").mkdir()
    for path in sorted((part / "train/good").glob("*.png"))[:8]:
        path.rename(path.parent / "monday" / path.name)


def capital_good(part: Path) -> None:
    (part / "test/good").rename(part / "test/Good")


def itself(part: Path) -> None:
    for name in ("train", "test", "ground_truth"):
        (part / name).rename(part.parent / name)
    part.rmdir()


def two_of_a_stem(part: Path) -> None:
    shutil.copy(part / "test/blob/000.png", part / "test/blob/000.bmp")


def two_masks(part: Path) -> None:
    shutil.copy(part / "ground_truth/blob/000_mask.png", part / "ground_truth/blob/000_mask.bmp")


def two_pages(part: Path) -> None:
    picture = Image.open(part / "test/good/000.png")
    picture.save(part / "test/good/000.tif", save_all=True, append_images=[picture])


def some_masks(part: Path) -> None:
    for path in masks(part)[:3]:
        path.unlink()


def pipe(part: Path) -> None:
    os.mkfifo(part / "train/good/zzz.png")


REFUSED: dict[Callable[[Path], None], str] = {
    sub_folder: r"train/good/monday/000\.png lies in a sub-folder, .*; move the images of .*monday into .*train/good",
    capital_good: r"test/Good is named otherwise than 'good'.*; rename it",
    itself: r"data is a category itself, it holds train/good; name the folder above it, .*--category data",
    two_of_a_stem: r"000\.bmp and 000\.png would share the mask .*000_mask\.png; rename one of them",
    two_masks: r"000_mask\.bmp and 000_mask\.png are masks of one image; remove one of them",
    two_pages: r"test/good/000\.tif holds 2 pictures; save the one that is meant",
    some_masks: r"no mask for 3 of 8 defect images in .*, such as .*000\.png; .*--data\.masks optional",
    pipe: r"train/good/zzz\.png is no file that can be read; remove it",
}


@pytest.mark.parametrize("change", REFUSED, ids=lambda change: change.__name__)
def test_what_cannot_be_meant_is_one_line_that_names_it(refuse, part, change):
    change(part)
    line = refuse("fit", *PADIM, *SIZE, *place(part.parent))
    assert re.search(REFUSED[change], line), line


def test_what_is_no_image_is_counted_aloud(bench, plain, part):
    for number in range(3):
        (part / f"train/good/{number:03}.json").write_text("{}")
    (part / "test/notes.txt").write_text("of monday")
    record, _, said = fit(bench, part)
    assert record["metrics"] == pytest.approx(plain["metrics"])
    assert said.count("\n") == 1
    assert f"4 files beside the images of screw left out, such as {part}/train/good/000.json" in said


def test_without_masks_images_are_judged_and_pixels_are_not(bench, plain, part, tmp_path):
    shutil.rmtree(part / "ground_truth")
    record, folder, said = fit(bench, part)
    kept = {name: value for name, value in plain["metrics"].items() if name not in PIXELS}
    assert record["metrics"] == pytest.approx(kept)
    assert said == "bench: no masks of screw: there will be no metrics of pixels\n"
    again = bench("test", "--run", folder, "--data.root", part.parent)
    assert again.status == 0, again.stderr
    for words in (
        ("report", folder, "--data.root", part.parent, "--out", tmp_path / "page"),
        ("leaderboard", "runs", "--out", tmp_path / "tables"),
        ("data", "describe", "--category", "screw", "--data.root", part.parent, "--out", tmp_path / "described"),
        ("predict", "--run", folder, part / "test", "--out", tmp_path / "predicted", "--maps", "--overlays"),
    ):
        outcome = bench(*words)
        assert outcome.status == 0, (words, outcome.stderr)


@pytest.mark.parametrize("model", [KNN, ("--model", "resnet18", "--model.weights", "none", "--data.fold", "0")])
def test_a_method_without_maps_needs_no_masks(bench, part, model):
    shutil.rmtree(part / "ground_truth")
    more = ("--trainer.max_epochs", "1") if "resnet18" in model else ()
    record, _, _ = fit(bench, part, *more, model=model)
    assert record["metrics"]["image_auroc"] is not None


def test_some_masks_suffice_where_a_person_says_so(bench, plain, part):
    some_masks(part)
    record, folder, said = fit(bench, part, "--data.masks", "optional")
    assert record["data"]["without_masks"] == 3
    assert bench("report", folder, "--data.root", part.parent, "--out", "page.html").status == 0
    assert "3 defect images without a mask: no figure of pixels counts them." in Path("page.html").read_text()
    with Image.open(folder / "most_anomalous.png") as picture:
        assert picture.width == 3 * 224 + 2 * 8, "image, mask or nothing, and heat map side by side"
    assert "3 defect images of screw without a mask: their pixels are not judged" in said
    assert record["metrics"]["image_auroc"] == pytest.approx(plain["metrics"]["image_auroc"])
    assert record["metrics"]["pixel_auroc"] is not None
    assert record["metrics"]["pixel_auroc"] != plain["metrics"]["pixel_auroc"]


def test_from_good_images_alone_come_a_model_and_a_threshold(bench, plain, part, tmp_path):
    shutil.copytree(part / "test", tmp_path / "new")
    for name in ("test", "ground_truth"):
        shutil.rmtree(part / name)
    record, folder, said = fit(bench, part)
    assert said == "bench: no test images of screw: there will be a model and a threshold, and no metrics\n"
    assert record["metrics"].pop("threshold") == pytest.approx(plain["metrics"]["threshold"])
    assert set(record["metrics"].values()) == {None}
    outcome = bench("predict", "--run", folder, tmp_path / "new", "--stdout")
    assert outcome.status == 0, outcome.stderr
    assert len(outcome.stdout.splitlines()) == 13
    for words in (
        ("test", "--run", folder, "--data.root", part.parent),
        ("report", folder, "--data.root", part.parent, "--out", tmp_path / "page"),
        ("leaderboard", "runs", "--out", tmp_path / "tables"),
        ("data", "describe", "--category", "screw", "--data.root", part.parent, "--out", tmp_path / "described"),
    ):
        outcome = bench(*words)
        assert outcome.status == 0, (words, outcome.stderr)


def test_good_test_images_alone_tell_how_many_are_called_anomalous(bench, part):
    for name in ("test/blob", "test/scratch", "ground_truth"):
        shutil.rmtree(part / name)
    record, _, said = fit(bench, part)
    assert "no defect images of screw: there will be no AUROC" in said
    assert record["metrics"]["image_accuracy"] is not None
    assert record["metrics"]["image_auroc"] is None


def oblong(part: Path) -> None:
    """Every second image twice as wide, its mask with it."""
    for path in images(part)[::2]:
        Image.open(path).resize((96, 48), Image.Resampling.NEAREST).save(path)
    for path in masks(part):
        twin = part / "test" / path.parent.name / path.name.replace("_mask", "")
        with Image.open(twin) as image:
            Image.open(path).resize(image.size, Image.Resampling.NEAREST).save(path)


@pytest.mark.parametrize(
    ("aspect", "words"),
    [
        ("squash", "images of 96 x 48 and 1 other size are squashed by up to 2.00 to a square; --data.aspect pad"),
        ("pad", "images of 96 x 48 and 1 other size are padded to a square, up to 50% of it"),
        ("crop", "images of 96 x 48 and 1 other size lose up to 50%, all but their middle square"),
    ],
)
def test_what_becomes_of_oblong_images_is_said_and_recorded(bench, part, aspect, words):
    oblong(part)
    record, folder, said = fit(bench, part, "--data.aspect", aspect)
    assert f"bench: {words}" in said
    assert record["data"]["shapes"].startswith(words)
    assert record["config"]["data"]["aspect"] == aspect
    again = bench("test", "--run", folder, "--data.root", part.parent, "--json")
    assert again.status == 0, again.stderr
    assert bench("report", folder, "--data.root", part.parent, "--out", "page.html").status == 0
    predicted = bench("predict", "--run", folder, part / "test", "--stdout")
    scores = {row["path"]: float(row["score"]) for row in csv_rows(folder / "predictions.csv")}
    for row in map(json.loads, predicted.stdout.splitlines()):
        assert row["score"] == pytest.approx(scores[str(Path(row["path"]).relative_to(part.parent))], rel=1e-5)


@pytest.mark.parametrize("protocol", ["model", "full"])
def test_padding_is_scored_neither_in_pixels_nor_in_maps(bench, part, protocol, monkeypatch):
    seen: set[tuple[int, ...]] = set()
    update = PixelMetrics.update

    def watch(self: PixelMetrics, maps: torch.Tensor, *others: torch.Tensor) -> None:
        seen.add(tuple(maps.shape))
        update(self, maps, *others)

    monkeypatch.setattr(PixelMetrics, "update", watch)
    oblong(part)
    fit(bench, part, "--data.aspect", "pad", "--protocol", protocol)
    assert seen == ({(1, 32, 32), (1, 16, 32)} if protocol == "model" else {(1, 48, 48), (1, 48, 96)})


def test_padding_is_scored_in_no_image_either_and_no_threshold_knows_of_it(bench, part, monkeypatch):
    """With random weights PaDiM finds what is most unusual on the border of the padding; left-out scores included."""
    told: list[Box] = []
    within = Detector.within

    def watch(self: Detector, values: torch.Tensor) -> torch.Tensor:
        kept = within(self, values)
        boxes = [content.box for content in self._content or ()]
        told.extend(boxes)
        for each, box in zip(kept, boxes, strict=True) if boxes else ():
            assert torch.isfinite(each).sum() == (box.right - box.left) * (box.bottom - box.top)
        return kept

    monkeypatch.setattr(Detector, "within", watch)
    oblong(part)
    _, folder, _ = fit(bench, part, "--data.aspect", "pad")
    assert set(told) == {Box(0, 0, 32, 32), Box(0, 8, 32, 24)}
    assert len(told) == len(images(part)), "those of the threshold and those of the test, each once"
    told.clear()
    assert bench("predict", "--run", folder, part / "test", "--stdout").status == 0
    assert len(told) == len([*part.glob("test/*/*.png")])


def test_grey_masks_are_read_by_a_threshold_in_every_command(bench, refuse, plain, part):
    for path in masks(part):
        pixels = np.asarray(Image.open(path))
        save(np.where(pixels > 0, 200, np.arange(pixels.size).reshape(pixels.shape) % 9).astype(np.uint8), path)
    assert "000_mask.png has 10 values" in refuse("fit", *PADIM, *SIZE, *place(part.parent))
    record, _, _ = fit(bench, part, "--data.mask_threshold", "128")
    assert record["metrics"] == pytest.approx(plain["metrics"])
    own = ("--category", "screw", "--data.root", part.parent)
    for words in (("data", "describe", *own), ("data", "export", "--format", "coco", *own)):
        assert "has 10 values" in refuse(*words)
        outcome = bench(*words, "--data.mask_threshold", "128")
        assert outcome.status == 0, outcome.stderr


def test_the_cache_is_shown_and_cleared(bench, part):
    fit(bench, part)
    folder = part.parent / "cache"
    shown = bench("data", "cache", "--data.cache", folder)
    images, features = shown.stdout.splitlines()
    assert images == f"3 arrays of decoded images, 0 MiB, in {folder / 'images'}"
    assert features.startswith("75 files of features, ")  # three levels of 25 images
    assert features.endswith(f" MiB, in {folder / 'features'}")
    cleared = bench("data", "cache", "--data.cache", folder, "--clear")
    assert cleared.stdout.startswith(f"3 arrays of decoded images, 0 MiB, removed from {folder / 'images'}\n75 files")
    assert not list((folder / "images").iterdir())
    assert not [path for path in (folder / "features").rglob("*") if path.is_file()]


def test_a_cache_that_was_damaged_changes_no_figure(bench, plain, part):
    fit(bench, part)
    for path in (part.parent / "cache" / "images").glob("*.npy"):
        content = bytearray(path.read_bytes())
        middle = slice(len(content) // 3, len(content) // 2)
        content[middle] = bytes(255 - value for value in content[middle])
        path.write_bytes(content)
    record, _, said = fit(bench, part, "--force")
    assert said.count("was damaged on the disk; it is made again") == 3
    assert record["metrics"] == pytest.approx(plain["metrics"])


def test_an_export_calls_no_image_without_a_mask_free_of_defects(refuse, part):
    shutil.rmtree(part / "ground_truth")
    line = refuse("data", "export", "--format", "coco", "--category", "screw", "--data.root", part.parent)
    assert "8 defect images of screw without a mask" in line


def test_grey_of_16_bits_and_grey_among_colours_are_named_in_the_record(bench, part):
    for path in images(part)[:2]:
        save((np.asarray(Image.open(path).convert("L"), np.uint16) * 257), path)
    record, folder, said = fit(bench, part)
    assert record["data"]["conversions"] == {
        "grey of 16 bits scaled to 8": 2,
        "grey, taken as three equal channels": 2,
    }
    assert "2 images of screw: grey, taken as three equal channels" in said
    outcome = bench("predict", "--run", folder, images(part)[0], "--stdout")
    assert "bench: 1 image: grey, taken as three equal channels" in outcome.stderr
