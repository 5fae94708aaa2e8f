"""The region of interest: what lies outside is not learned from, not scored and not measured."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from sklearn.metrics import roc_auc_score

from bench.data.datamodule import DefectData
from bench.data.geometry import Geometry
from bench.data.loading import BatchIndices
from bench.metrics.pixel import PixelMetrics
from bench.models.padim import PaDiM
from fake_data import SIDE, defect_mask, save, write_category

TOP = np.zeros((SIDE, SIDE), np.bool_)
TOP[: SIDE // 2] = True


def region(path: Path, inside: np.ndarray = TOP) -> Path:
    return save(inside.astype(np.uint8) * 255, path)


def data_of(root: Path, named: Path | None, **settings) -> DefectData:
    path = None if named is None else str(named)
    return DefectData("screw", 0, "model", root=str(root), image_size=SIDE, region=path, **settings)


def paint_outside(folder: Path) -> None:
    """Draw something else below the region of every image."""
    for index, path in enumerate(sorted(folder.glob("t*/*/*.png"))):
        pixels = np.array(Image.open(path))
        pixels[SIDE // 2 :] = np.random.default_rng(index).integers(0, 255, pixels[SIDE // 2 :].shape)
        save(pixels, path)


def fit(bench, *words) -> tuple[dict, Path]:
    outcome = bench("fit", *words, "--json")
    assert outcome.status == 0, outcome.stderr
    record = json.loads(outcome.stdout)
    return record, next(Path("runs").rglob(record["fingerprint"]))


@pytest.mark.parametrize("protocol", ["model", "full"])
def test_what_lies_outside_changes_no_figure_at_all(bench, quick_padim, tmp_path, protocol):
    named = region(tmp_path / "region.png")
    words = ("--data.region", named, "--protocol", protocol, "--data.image_size", "32")
    found = []
    for name in ("plain", "painted"):
        folder = write_category(tmp_path / name)
        if name == "painted":
            paint_outside(folder)
        record, run = fit(bench, *quick_padim, "--data.root", tmp_path / name, *words)
        scores = [line.split(",")[4] for line in (run / "predictions.csv").read_text().splitlines()]
        found.append((record["metrics"], record["intervals"], record["map_range"], scores))
    assert found[0] == found[1]
    free, _ = fit(bench, *quick_padim, "--data.root", tmp_path / "plain", "--data.image_size", "32")
    assert free["metrics"] != found[0][0]


def test_the_model_sees_a_plain_colour_outside_and_the_image_inside(own_category, tmp_path):
    named = region(tmp_path / "region.png")
    pixels, before = (
        data_of(own_category.parent, path).split.train_dataset()[BatchIndices([0])].image[0].permute(1, 2, 0).numpy()
        for path in (named, None)
    )
    assert np.array_equal(pixels[TOP], before[TOP])
    assert (pixels[~TOP] == (124, 116, 104)).all()
    assert not (before[~TOP] == (124, 116, 104)).all(axis=1).any(), "another entry of the cache of decoded images"


def test_the_colours_of_pictures_know_of_no_pixel_outside(bench, quick_padim, own_category, tmp_path, monkeypatch):
    """Half of the images' maps are hot below the region alone."""
    forward = PaDiM.forward

    def hot_below(self, image):
        found = forward(self, image)
        return found._replace(map=found.map + 100 * (torch.arange(32) >= 16)[:, None])

    monkeypatch.setattr(PaDiM, "forward", hot_below)
    place = ("--data.root", own_category.parent, "--data.region", region(tmp_path / "region.png"))
    record, _ = fit(bench, *quick_padim, *place)
    assert record["map_range"][1] < 50


def test_nothing_from_outside_is_mixed_in_when_an_image_is_resized():
    white = Image.new("RGB", (SIDE, SIDE), "white")
    black = Image.new("RGB", (SIDE, SIDE), "black")
    half = Image.composite(white, black, Image.fromarray(TOP))
    geometry = Geometry(20)
    assert np.array_equal(geometry.pixels(half, 3, TOP), geometry.pixels(white, 3, TOP))


def test_pixel_metrics_are_those_of_the_pixels_inside(own_category):
    rng = np.random.default_rng(3)
    scores, inside = rng.normal(size=(4, SIDE, SIDE)).astype(np.float32), rng.uniform(size=(4, SIDE, SIDE)) < 0.4
    masks = np.stack([defect_mask(SIDE, "blob", 0), defect_mask(SIDE, "scratch", 1), *np.zeros((2, SIDE, SIDE), bool)])
    metrics = PixelMetrics()
    metrics.update(*map(torch.from_numpy, (scores, masks)), torch.tensor([1, 2, 0, 0]), torch.from_numpy(inside))
    expected = roc_auc_score(masks[inside], scores[inside])
    assert metrics.compute().overall["pixel_auroc"] == pytest.approx(expected, abs=1e-12)
    whole = PixelMetrics()
    whole.update(*map(torch.from_numpy, (scores, masks)), torch.tensor([1, 2, 0, 0]), torch.ones(4, SIDE, SIDE).bool())
    plain = PixelMetrics()
    plain.update(*map(torch.from_numpy, (scores, masks)), torch.tensor([1, 2, 0, 0]))
    assert whole.compute() == plain.compute()


def test_a_region_of_a_mask_weighs_by_its_part_inside():
    """AUPRO weighs each region alike: one of four pixels, and of another the two that lie inside."""
    scores = torch.zeros(1, 8, 8)
    mask, inside = torch.zeros(1, 8, 8, dtype=torch.bool), torch.ones(1, 8, 8, dtype=torch.bool)
    mask[0, :2, :2] = mask[0, 5:7, :2] = True
    inside[0, 6:] = False
    metrics = PixelMetrics()
    metrics.update(scores, mask, torch.tensor([1]), inside)
    assert torch.cat(metrics.region_size).tolist() == [4, 4, 4, 4, 2, 2]


def test_a_defect_outside_is_no_defect_and_its_image_leaves_the_test(own_category, tmp_path, bench, quick_padim):
    below = [i for i in range(4) if not (defect_mask(SIDE, "blob", i) & TOP).any()]
    below += [i for i in range(4) if not (defect_mask(SIDE, "scratch", i) & TOP).any()]
    assert below, "the fake defects must lie on both sides"
    data = data_of(own_category.parent, region(tmp_path / "region.png"))
    assert len(data.category.test) == 13 - len(below)
    outcome = bench("fit", *quick_padim, "--data.root", own_category.parent, "--data.region", tmp_path / "region.png")
    assert outcome.status == 0, outcome.stderr
    assert f"{len(below)} defect images of screw left out of the test: the defect lies outside" in outcome.stderr


def test_a_folder_holds_a_region_for_each_category_or_for_each_image(own_category, tmp_path):
    root = own_category.parent
    region(tmp_path / "products" / "screw.png")
    one = data_of(root, tmp_path / "products")
    for sample in (*data_of(root, None).full_category.train, *data_of(root, None).full_category.test):
        region(tmp_path / "each" / sample.relative, TOP if "000" in sample.relative else ~TOP)
    many = data_of(root, tmp_path / "each")
    assert one.full_category.digest != many.full_category.digest
    contents = many.split.train_dataset().content
    assert np.array_equal(contents[0].region.numpy(), TOP)
    assert np.array_equal(contents[1].region.numpy(), ~TOP)


def test_the_content_of_a_region_is_part_of_the_digest_even_where_every_defect_lies_inside(own_category, tmp_path):
    nearly = np.ones((SIDE, SIDE), bool)
    nearly[0, 0] = False
    named = [None, region(tmp_path / "all.png", np.ones((SIDE, SIDE), bool)), region(tmp_path / "nearly.png", nearly)]
    found = [data_of(own_category.parent, path).full_category for path in named]
    assert len({category.digest for category in found}) == 3
    assert {len(category.test) for category in found} == {13}


def test_another_region_is_another_cell_and_its_place_is_none(own_category, tmp_path, bench, quick_padim):
    words = (*quick_padim, "--data.root", own_category.parent)
    first, _ = fit(bench, *words, "--data.region", region(tmp_path / "one.png"))
    moved, _ = fit(bench, *words, "--data.region", region(tmp_path / "elsewhere" / "two.png"))
    other, _ = fit(bench, *words, "--data.region", region(tmp_path / "three.png", ~TOP))
    assert first["fingerprint"] == moved["fingerprint"] != other["fingerprint"]
    assert len(first["data"]["region"]) == 64
    assert first["data"]["differences"][-1] == "pixels outside a region of interest do not count"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path, "is not there; name a mask or a folder of masks"),
        (lambda path: region(path, np.zeros((SIDE, SIDE), bool)), "has no pixel that counts; make those that do white"),
        (lambda path: region(path, np.ones((9, 7), bool)), "differ in size: 7 x 9 and 48 x 48"),
        (lambda path: save(np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE), path), "has 256 values"),
    ],
)
def test_a_region_that_cannot_be_meant_is_one_line(refuse, quick_padim, tmp_path, make, words):
    make(tmp_path / "region.png")
    assert words in refuse("fit", *quick_padim, "--data.region", tmp_path / "region.png")


@pytest.mark.parametrize("settings", [("--data.image_size", "16"), ("--data.crop", "16")])
def test_a_region_of_which_the_model_sees_no_pixel_is_one_line(refuse, quick_padim, tmp_path, settings):
    thin = np.zeros((SIDE, SIDE), bool)
    thin[0, 0] = True
    line = refuse("fit", *quick_padim, *settings, "--data.region", region(tmp_path / "region.png", thin))
    assert "has no pixel left at the model's size; make it larger, or raise --data.image_size" in line


def test_a_photo_that_is_turned_by_its_tag_has_its_region_as_people_see_it(own_category, tmp_path):
    path = own_category / "train" / "good" / "000.png"
    picture = Image.open(path).resize((SIDE, 2 * SIDE)).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture.save(path, exif=exif)
    for other in (*own_category.glob("t*/*/*.png"), *own_category.glob("ground_truth/*/*.png")):
        if other != path:
            Image.open(other).resize((SIDE, 2 * SIDE), Image.Resampling.NEAREST).save(other)
    upper = np.zeros((2 * SIDE, SIDE), bool)
    upper[:SIDE] = True
    data = data_of(own_category.parent, region(tmp_path / "region.png", upper))
    pixels = data.split.train_dataset()[BatchIndices([0])].image[0].permute(1, 2, 0).numpy()
    assert (pixels[SIDE // 2 + 1 :] == (124, 116, 104)).all()
    assert not (pixels[: SIDE // 2 - 1] == (124, 116, 104)).all(axis=2).any()


def test_images_in_random_poses_have_none(refuse, quick_padim, tmp_path):
    words = ("--data.random_pose", "true", "--data.crop", "28", "--data.region", region(tmp_path / "region.png"))
    assert "moves images under their --data.region" in refuse("fit", *quick_padim, *words)


def test_new_images_are_judged_within_the_region_too(bench, quick_padim, own_category, tmp_path):
    named = region(tmp_path / "region.png")
    _, run = fit(bench, *quick_padim, "--data.root", own_category.parent, "--data.region", named)
    outcome = bench("predict", "--run", run, own_category / "test", "--stdout")
    assert outcome.status == 0, outcome.stderr
    tested = {row["path"]: float(row["score"]) for row in csv.DictReader((run / "predictions.csv").open())}
    found = {row["path"]: row["score"] for row in map(json.loads, outcome.stdout.splitlines())}
    for name, score in tested.items():
        assert found[str(own_category.parent / name)] == pytest.approx(score, rel=1e-5)
    region(named, ~TOP)
    refused = bench("predict", "--run", run, own_category / "test", "--stdout")
    assert refused.status == 2
    assert "is not the region of interest that the run judged; put that file back" in refused.stderr


@pytest.mark.parametrize("aspect", ["squash", "pad"])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_method_that_trains_takes_padding_and_region(bench, quick, own_category, tmp_path, aspect, bounded):
    """Its batches pass through Lightning, which looks into whatever they hold."""
    within = ("--data.region", region(tmp_path / "region.png")) if bounded else ()
    place = ("--data.root", own_category.parent, "--data.aspect", aspect, "--data.augmentation", "none")
    record, _ = fit(bench, *quick, *place, *within)
    assert record["status"] == "finished"
