"""VisA: objects by split_csv/1cls.csv, JPEG images, masks of any nonzero value."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data.datasets.visa import SPLIT, VisA
from bench.data.facts import categories_of, read_facts
from bench.errors import UsageError
from fake_data import SIDE, write_visa

OBJECTS = {"candle": (7, 2, 4), "fryum": (3, 1, 1)}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return write_visa(tmp_path_factory.mktemp("visa"), OBJECTS)


@pytest.fixture
def own_root(tmp_path) -> Path:
    """A tree that the test may damage."""
    return write_visa(tmp_path / "visa", OBJECTS)


def _candles(root: Path, **settings) -> VisA:
    return VisA("candle", 0, "model", root=str(root), image_size=32, **settings)


def test_the_csv_says_what_is_learned_from_and_what_is_tested(root):
    category = _candles(root).full_category
    assert category.counts == {"train/good": 7, "test/good": 2, "test/anomaly": 4}
    assert category.train[0].relative == "candle/Data/Images/Normal/0000.JPG"
    assert category.test[3].mask == root / "candle/Data/Masks/Anomaly/003.png"


def test_the_objects_of_the_csv_are_the_categories(root):
    assert _candles(root).category_names() == ["candle", "fryum"]
    with pytest.raises(UsageError, match="unknown object of VisA 'screw'"):
        _ = VisA("screw", 0, "model", root=str(root)).full_category


@pytest.mark.parametrize("value", [1, 3, 255])
def test_every_value_of_a_mask_but_0_is_a_defect(own_root, value):
    path = own_root / "candle/Data/Masks/Anomaly/000.png"
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[4:9, 4:9], pixels[20:22, 30:40] = value, 2
    Image.fromarray(pixels).save(path)
    marked = _candles(own_root).full_category.test[0].read_mask()
    assert marked.sum() == 25 + 20


def test_a_mask_of_a_palette_or_of_16_bits_is_read_by_its_numbers(own_root):
    sample = _candles(own_root).full_category.test[0]
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[4:9, 4:9], pixels[20:22, 30:40] = 1, 2
    image = Image.fromarray(pixels, "P")
    image.putpalette([200, 200, 200, 0, 0, 0, 90, 0, 0])  # the background is the brightest
    image.save(sample.mask)
    assert sample.read_mask().sum() == 45
    Image.fromarray(pixels.astype(np.uint16)).save(sample.mask)
    assert sample.read_mask().sum() == 45


def test_an_empty_mask_of_an_anomaly_is_refused(own_root):
    sample = _candles(own_root).full_category.test[0]
    Image.new("L", (SIDE, SIDE)).save(sample.mask)
    with pytest.raises(UsageError, match="marks no pixel"):
        sample.read_mask()


def test_published_counts_add_up_to_those_of_the_whole_dataset():
    total = read_facts("visa")["total"]
    assert (total["train/good"] + total["test/good"], total["test/anomaly"]) == (9621, 1200)
    counts = [facts.published.counts for facts in categories_of("visa").values()]
    assert len(counts) == 12
    assert {kind: sum(each[kind] for each in counts) for kind in total} == total


def test_images_of_another_number_are_not_the_published_ones(root):
    data = _candles(root)
    assert not data.official
    assert "train/good: 7 images, not 900" in data.differences


DAMAGES = {
    "the csv is missing": (lambda root: (root / SPLIT).unlink(), f"no .*{SPLIT}; name the folder that VisA.tar"),
    "the csv is no text": (lambda root: (root / SPLIT).write_bytes(b"\xff\xfe\x00"), "is no CSV file in UTF-8"),
    "another header": (lambda root: _write(root, "image,mask"), "line 1: not the columns object,split,label"),
    "a listed image is missing": (
        lambda root: (root / "candle/Data/Images/Normal/0001.JPG").unlink(),
        f"no image .*0001.JPG, which {SPLIT} names in line 3",
    ),
    "a mask is missing": (
        lambda root: (root / "candle/Data/Masks/Anomaly/002.png").unlink(),
        f"no mask .*002.png, which {SPLIT} names in line 13",
    ),
    "a mask is not listed": (
        lambda root: _change(root, ",candle/Data/Masks/Anomaly/002.png", ","),
        "no mask for 1 anomalies of candle",
    ),
    "a mask of another size": (
        lambda root: Image.new("L", (8, 8), 1).save(root / "candle/Data/Masks/Anomaly/002.png"),
        "differ in size: 8 x 8 and 48 x 48",
    ),
    "a path out of the root": (
        lambda root: _change(root, "candle/Data/Images/Normal/0001.JPG", "../0001.JPG"),
        "line 3: ../0001.JPG does not lie below",
    ),
    "a path of its own": (
        lambda root: _change(root, "candle/Data/Images/Normal/0001.JPG", "/etc/passwd"),
        "line 3: /etc/passwd does not lie below",
    ),
    "an image in both splits": (
        lambda root: _change(root, "candle,test,normal,candle/Data/Images/Normal/0007.JPG",
                             "candle,test,normal,candle/Data/Images/Normal/0001.JPG"),
        "line 9: candle/Data/Images/Normal/0001.JPG stands in line 3 as well",
    ),
    "an object that no folder can be called": (
        lambda root: _change(root, "candle,train", "../candle,train"), "the object '../candle' cannot name a folder"
    ),
    "an anomaly to learn from": (
        lambda root: _change(root, "candle,test,anomaly,candle/Data/Images/Anomaly/000",
                             "candle,train,anomaly,candle/Data/Images/Anomaly/000"),
        "line 11: an anomaly among the training images",
    ),
    "another label": (lambda root: _change(root, "candle,train,normal,candle/Data/Images/Normal/0001",
                                           "candle,train,fine,candle/Data/Images/Normal/0001"), "line 3: the split is"),
    "a line too short": (lambda root: _change(root, ",candle/Data/Images/Normal/0001.JPG,", ","), "line 3: not an"),
}  # fmt: skip


def _write(root: Path, text: str) -> None:
    (root / SPLIT).write_text(text)


def _change(root: Path, old: str, new: str) -> None:
    text = (root / SPLIT).read_text()
    assert old in text
    _write(root, text.replace(old, new, 1))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_bad_tree_ends_in_one_line_that_names_the_place(refuse, own_root, damage):
    import re

    change, words = DAMAGES[damage]
    change(own_root)
    line = refuse("data", "describe", "--data", "visa", "--category", "candle", "--data.root", own_root)
    assert re.search(words, line), line


def test_without_masks_where_they_may_lack_pixels_are_not_judged(own_root):
    (own_root / "candle/Data/Masks/Anomaly/002.png").unlink()
    category = _candles(own_root, masks="optional").full_category
    assert category.without_masks == 1


def test_a_method_runs_on_it_and_its_rows_are_those_of_visa_alone(bench, root, own_folder):
    model = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    place = ("--data", "visa", "--category", "candle", "--data.root", root, "--data.image_size", "32")
    outcome = bench("fit", *model, *place)
    assert outcome.status == 0, outcome.stderr
    assert "MVTec" not in outcome.stdout + outcome.stderr
    record = json.loads(next(Path("runs").rglob("record.json")).read_text())
    assert (record["dataset"], record["official"]) == ("visa", False)
    assert record["metrics"]["aupro_0.30"] is not None
    assert record["metrics_by_defect"].keys() == {"anomaly"}


def test_the_description_counts_its_defects(bench, root):
    outcome = bench("data", "describe", "--data", "visa", "--category", "candle", "--data.root", root, "--json")
    assert outcome.status == 0, outcome.stderr
    described = json.loads(outcome.stdout)
    assert (described["train"], described["test"], described["masks"]) == (7, 6, 4)


def test_the_check_names_each_count_that_is_not_the_published_one(bench, root):
    outcome = bench("data", "check", "--data", "visa", "--category", "candle", "--data.root", root)
    assert outcome.status == 1
    assert outcome.stdout.splitlines() == [
        "candle: test/anomaly: 4 images, not 100",
        "candle: test/good: 2 images, not 100",
        "candle: train/good: 7 images, not 900",
    ]
    assert outcome.stderr.splitlines()[-1] == "bench: 3 deviations from VisA as it was published"


def test_the_check_of_all_objects_reads_every_file_and_ends_with_0_where_nothing_deviates(bench, own_root, monkeypatch):
    few = {
        "dataset": "VisA", "page": "there", "total": {"train/good": 10, "test/good": 3, "test/anomaly": 5},
        "categories": {
            "candle": {"train_good": 7, "test_good": 2, "defect_types": {"anomaly": 4}},
            "fryum": {"train_good": 3, "test_good": 1, "defect_types": {"anomaly": 1}},
        },
    }  # fmt: skip
    monkeypatch.setattr("bench.data.facts.read_facts", lambda family: few)
    categories_of.cache_clear()
    try:
        check = ("data", "check", "--data", "visa", "--data.root", own_root)
        outcome = bench(*check)
        assert (outcome.status, outcome.stdout) == (
            0, "candle: as published\nfryum: as published\nall categories: as published\n",
        )  # fmt: skip
        damaged = own_root / "candle/Data/Images/Normal/0004.JPG"
        damaged.write_bytes(damaged.read_bytes()[:300])
        outcome = bench(*check, "--json")
        assert outcome.status == 1
        (line,) = json.loads(outcome.stdout)["candle"]
        assert line == f"cannot be used: {damaged} is no readable image; copy it again or remove it"
    finally:
        categories_of.cache_clear()


def test_a_check_of_what_nobody_published_is_refused(refuse, root):
    line = refuse("data", "check", "--data", "folder", "--data.root", root)
    assert "nothing is noted of folder as it was published, unlike of mvtec_ad, btad" in line
    assert "unknown category of VisA 'candel'; did you mean 'candle'?" in refuse(
        "data", "check", "--data", "visa", "--category", "candel", "--data.root", root
    )


def test_a_mistyped_object_is_told_before_anything_is_read(refuse, root, monkeypatch):
    monkeypatch.setattr(VisA, "read", None)
    place = ("--data", "visa", "--category", "kandle", "--data.root", root)
    assert refuse("fit", "--model", "vae", *place) == "bench: unknown category 'kandle'; did you mean 'candle'?"


def test_its_licence_and_the_doubt_about_it_go_with_an_export(root, tmp_path):
    from bench.data.export.licence import write_licence

    write_licence(tmp_path, _candles(root), "visa", "1.0")
    text = (tmp_path / "LICENSE.txt").read_text()
    assert "CC BY 4.0" in text
    assert "CC BY-NC-SA 4.0" in text
