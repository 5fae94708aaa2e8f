"""Data that cannot be used are refused by the name of the file or folder, with what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from fake_data import SIDE, save, weave, write_category


@pytest.fixture
def refuse_data(refuse, quick, own_category) -> Callable[..., str]:
    """`bench fit` on the category that the test has damaged."""
    return lambda *options: refuse("fit", *quick, "--data.root", own_category.parent, *options)


def test_a_run_whose_data_root_is_named_nowhere_is_told_three_ways_out(refuse):
    line = refuse("fit", "--model", "vae", "--category", "screw")
    for way in ("--data.root", "BENCH_DATA", "--data synthetic"):
        assert way in line


def test_a_data_root_that_does_not_exist_is_named(refuse, quick):
    line = refuse("fit", *quick, "--data.root", "nowhere")
    assert "no data folder at nowhere" in line
    assert "--data.root" in line


def test_the_data_root_of_the_environment_is_used(refuse, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", "elsewhere")
    assert "no data folder at elsewhere" in refuse("fit", "--model", "vae", "--category", "screw")


def test_a_category_of_mvtec_ad_that_is_not_unpacked_is_named_with_its_archive(refuse, quick):
    line = refuse("fit", *quick, "--category", "bottle")
    assert "bottle.tar.xz" in line


def test_a_missing_or_an_empty_training_split_is_named(refuse_data, own_category):
    folder = own_category / "train/good"
    shutil.rmtree(folder)
    assert f"no training images in {folder}" in refuse_data()
    folder.mkdir()
    assert f"no training images in {folder}" in refuse_data()


def test_a_classifier_without_any_defect_is_refused(refuse, own_category):
    shutil.rmtree(own_category / "test")
    line = refuse(
        "fit", "--model", "resnet18", "--data.fold", 0, "--category", "screw", "--data.root", own_category.parent
    )
    assert "no defect images of screw; a classifier learns from them: test/<defect type>/*.png" in line


def test_a_defect_image_without_its_mask_is_named_with_the_mask_expected(refuse_data, own_category):
    mask = own_category / "ground_truth" / "blob" / "002_mask.png"
    mask.unlink()
    line = refuse_data()
    assert str(own_category / "test" / "blob" / "002.png") in line
    assert str(mask) in line


def test_a_mask_of_another_size_is_named_with_both_sizes(refuse_data, own_category):
    mask = own_category / "ground_truth" / "blob" / "002_mask.png"
    save(np.full((SIDE, SIDE // 2), 255, np.uint8), mask)
    line = refuse_data()
    assert str(mask) in line
    assert f"{SIDE // 2} x {SIDE} and {SIDE} x {SIDE}" in line


@pytest.mark.parametrize("protocol", ["model", "full"])
def test_a_mask_that_marks_nothing_is_named(refuse_data, own_category, protocol):
    mask = own_category / "ground_truth" / "scratch" / "001_mask.png"
    save(np.zeros((SIDE, SIDE), np.uint8), mask)
    line = refuse_data("--protocol", protocol)
    assert str(mask) in line
    assert "marks no pixel" in line


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip_bits(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _sixteen_bits_per_colour(path: Path) -> None:
    cv2.imwrite(str(path), cv2.imread(str(path)).astype(np.uint16) * 257)


def _veiled(mode: str) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        image = Image.open(path).convert(mode)
        image.putalpha(128)
        image.save(path)

    return spoil


def _transparent_palette(path: Path) -> None:
    image = Image.open(path).convert("P")
    image.save(path, transparency=image.getpixel((0, 0)))


def _transparent_colour(path: Path) -> None:
    image = Image.open(path).convert("RGB")
    image.save(path, transparency=image.getpixel((0, 0)))


DAMAGE = {
    "truncated": (_truncate, "damaged"),
    "bits flipped": (_flip_bits, "damaged"),
    "no bytes": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("no picture at all"), "no readable image"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "no file that can be read"),
    "16 bits per colour": (_sixteen_bits_per_colour, "16 bits"),
    "alpha": (_veiled("RGB"), "transparent"),
    "grey and alpha": (_veiled("L"), "transparent"),
    "transparent palette": (_transparent_palette, "transparent"),
    "transparent colour": (_transparent_colour, "transparent"),
}


@pytest.mark.parametrize("place", ["train/good/003.png", "test/good/004.png", "test/blob/001.png"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_an_image_that_cannot_be_read_exactly_is_refused_by_name(refuse_data, own_category, damage, place):
    spoil, reason = DAMAGE[damage]
    spoil(own_category / place)
    line = refuse_data()
    assert str(own_category / place) in line
    assert reason in line


@pytest.mark.parametrize("protocol", ["model", "full"])
@pytest.mark.parametrize("damage", ["truncated", "no bytes", "16 bits per colour", "alpha"])
def test_a_mask_that_cannot_be_read_exactly_is_refused_by_name(refuse_data, own_category, damage, protocol):
    mask = own_category / "ground_truth" / "blob" / "001_mask.png"
    spoil, reason = DAMAGE[damage]
    spoil(mask)
    line = refuse_data("--protocol", protocol)
    assert str(mask) in line
    assert reason in line


@pytest.mark.parametrize("suffix", [".jpg", ".tif"])
def test_an_image_in_cmyk_is_refused_by_name(refuse_data, own_category, suffix):
    path = own_category / "train" / "good" / f"100{suffix}"
    Image.fromarray(weave(SIDE, "another")).convert("CMYK").save(path)
    line = refuse_data()
    assert str(path) in line
    assert "CMYK" in line


def test_a_category_outside_mvtec_ad_works_when_its_folder_is_there(bench, quick, tmp_path):
    write_category(tmp_path / "data", "gadget")
    outcome = bench("fit", *quick, "--data.root", tmp_path / "data", "--category", "gadget")
    assert outcome.status == 0, outcome.stderr
    assert "'gadget' is no category of MVTec AD" in " ".join(outcome.stdout.split())


@pytest.mark.parametrize("protocol", ["model", "full"])
def test_masks_whose_defects_are_black_on_white_are_named_by_their_type(refuse_data, own_category, protocol):
    for mask in (own_category / "ground_truth" / "blob").glob("*.png"):
        save(255 - np.asarray(Image.open(mask)), mask)
    line = refuse_data("--protocol", protocol)
    assert "all masks of screw/blob mark most of their image and its borders" in line


def test_large_defects_beside_smaller_ones_of_their_type_are_no_inverted_masks(bench, quick, own_category):
    mask = sorted((own_category / "ground_truth" / "blob").glob("*.png"))[0]
    save(255 - np.asarray(Image.open(mask)), mask)
    outcome = bench("fit", *quick, "--data.root", own_category.parent)
    assert outcome.status == 0, outcome.stderr
