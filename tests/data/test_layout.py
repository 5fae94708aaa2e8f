"""Which files make a category, in which order, and what its digest depends on."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.datasets.mvtec_ad_facts import mvtec_categories, mvtec_published
from bench.data.layout import read_category
from bench.errors import UsageError
from fake_data import DEFECTS, SIDE, save, weave, write_category


@pytest.fixture
def root(own_category) -> Path:
    return own_category.parent


def test_a_category_lists_its_images_by_split_and_name(root):
    category = read_category(root, "screw")
    assert [s.relative for s in category.train] == [f"screw/train/good/{i:03}.png" for i in range(12)]
    expected = [f"screw/test/blob/{i:03}.png" for i in range(4)]
    expected += [f"screw/test/good/{i:03}.png" for i in range(5)]
    expected += [f"screw/test/scratch/{i:03}.png" for i in range(4)]
    assert [s.relative for s in category.test] == expected


def test_every_defect_image_and_no_other_has_its_mask(root):
    category = read_category(root, "screw")
    for sample in (*category.train, *category.test):
        assert sample.is_defect == (sample.defect_type in DEFECTS)
        if sample.is_defect:
            name = f"{sample.path.stem}_mask.png"
            assert sample.mask == root / "screw" / "ground_truth" / sample.defect_type / name
        else:
            assert sample.mask is None


def test_counts_name_every_split_with_good_first(root):
    category = read_category(root, "screw")
    assert category.defect_types == ("good", "blob", "scratch")
    assert category.counts == {"train/good": 12, "test/good": 5, "test/blob": 4, "test/scratch": 4}
    assert list(category.counts) == ["train/good", "test/good", "test/blob", "test/scratch"]


def test_what_is_no_visible_image_file_is_no_sample(root, own_category):
    before = read_category(root, "screw")
    for name in (".DS_Store", "._000.png", "readme.txt", "Thumbs.db"):
        (own_category / "train" / "good" / name).write_text("no image")
        (own_category / "test" / "blob" / name).write_text("no image")
    (own_category / "test" / "readme.txt").write_text("no image")
    assert read_category(root, "screw").digest == before.digest


def test_the_suffix_of_an_image_may_be_in_capitals(root, own_category):
    save(weave(SIDE, "more"), own_category / "train" / "good" / "100.PNG")
    assert read_category(root, "screw").counts["train/good"] == 13


def test_the_digest_is_the_same_below_another_root(root, tmp_path):
    shutil.copytree(root, tmp_path / "elsewhere")
    assert read_category(root, "screw").digest == read_category(tmp_path / "elsewhere", "screw").digest


def _change_a_training_image(folder: Path) -> None:
    save(weave(SIDE, "other"), folder / "train" / "good" / "003.png")


def _change_a_mask(folder: Path) -> None:
    save(np.full((SIDE, SIDE), 255, np.uint8), folder / "ground_truth" / "blob" / "003_mask.png")


def _rename_an_image(folder: Path) -> None:
    (folder / "test" / "good" / "004.png").rename(folder / "test" / "good" / "005.png")


def _remove_an_image(folder: Path) -> None:
    (folder / "train" / "good" / "011.png").unlink()


@pytest.mark.parametrize("change", [_change_a_training_image, _change_a_mask, _rename_an_image, _remove_an_image])
def test_the_digest_changes_with_any_file(root, own_category, change):
    before = read_category(root, "screw").digest
    change(own_category)
    assert read_category(root, "screw").digest != before


def test_a_category_is_grey_only_when_every_image_is(root, own_category):
    assert read_category(root, "screw").channels == 3
    images = [*own_category.glob("train/good/*"), *own_category.glob("test/*/*")]
    for path in images:
        save(weave(SIDE, path.name)[:, :, 0], path)
    assert read_category(root, "screw").channels == 1
    save(weave(SIDE, "colour"), images[-1])
    assert read_category(root, "screw").channels == 3


def test_the_differences_from_mvtec_ad_name_counts_and_sizes(root):
    differences = MVTecAD("screw", 0, "model", root=str(root)).full_category.differences
    assert "train/good: 12 images, not 320" in differences
    assert "test/blob: 4 images, not 0" in differences
    assert "test/thread_top: 0 images, not 23" in differences
    assert f"images of {SIDE} x {SIDE}, not 1024 x 1024" in differences


def test_a_category_of_another_name_differs_by_that(tmp_path):
    write_category(tmp_path, "gadget")
    data = MVTecAD("gadget", 0, "model", root=str(tmp_path))
    assert data.differences == ["'gadget' is no category of MVTec AD (a folder of your own is --data folder)"]
    assert not data.official


def test_data_with_mvtec_ad_s_counts_and_sizes_do_not_differ(tmp_path):
    facts = mvtec_published()["screw"]
    folder = tmp_path / "screw"
    image = save(np.full((facts.side, facts.side), 7, np.uint8), tmp_path / "image.png")
    splits = {"train/good": facts.train_good, "test/good": facts.test_good}
    splits |= {f"test/{name}": count for name, count in facts.defect_types.items()}
    for split, count in splits.items():
        (folder / split).mkdir(parents=True)
        (folder / "ground_truth" / Path(split).name).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            (folder / split / f"{index:03}.png").hardlink_to(image)
            if split in ("train/good", "test/good"):
                continue
            (folder / "ground_truth" / Path(split).name / f"{index:03}_mask.png").hardlink_to(image)
    data = MVTecAD("screw", 0, "model", root=str(tmp_path))
    assert data.differences == []
    assert data.official


def test_the_facts_are_those_of_the_paper():
    facts = mvtec_published().values()
    assert len(facts) == 15
    assert sum(f.train_good for f in facts) == 3629
    assert sum(f.test_good + sum(f.defect_types.values()) for f in facts) == 1725
    assert sum(len(f.defect_types) for f in facts) == 73
    assert {f.name for f in mvtec_categories().values() if f.group == "texture"} == {
        "carpet",
        "grid",
        "leather",
        "tile",
        "wood",
    }
    assert {name for name, f in mvtec_published().items() if f.channels == 1} == {"grid", "screw", "zipper"}


def test_a_defect_image_without_its_mask_is_named(root, own_category):
    mask = own_category / "ground_truth" / "blob" / "002_mask.png"
    mask.unlink()
    with pytest.raises(
        UsageError, match=f"no mask for 1 of .* such as .*002.png; expected {mask}; or .*--data.masks optional"
    ):
        read_category(root, "screw")
