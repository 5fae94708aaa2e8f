"""A mask means what it says: two values, or a line that names the file."""

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.data.masks import read_mask
from bench.errors import UsageError
from fake_data import save


@pytest.mark.parametrize("value", [1, 128, 255])
def test_a_mask_marks_every_pixel_that_is_not_black(tmp_path, value):
    pixels = np.zeros((4, 6), np.uint8)
    pixels[1, 2] = value
    assert np.argwhere(read_mask(save(pixels, tmp_path / "mask.png"))).tolist() == [[1, 2]]


def test_a_mask_in_the_darkest_colour_marks_its_pixels_too(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[1, 2, 2] = 1  # this blue is 0.114 grey levels bright
    assert np.argwhere(read_mask(save(pixels, tmp_path / "mask.png"))).tolist() == [[1, 2]]


@pytest.mark.parametrize(("background", "defect"), [(1, 255), (0, 1), (100, 101)])
def test_of_a_mask_s_two_values_the_larger_is_the_defect(tmp_path, background, defect):
    pixels = np.full((4, 6), background, np.uint8)
    pixels[1, 2] = defect
    assert np.argwhere(read_mask(save(pixels, tmp_path / "mask.png"))).tolist() == [[1, 2]]


def test_a_mask_with_a_palette_is_read_by_its_indices_whatever_their_colours(tmp_path):
    image = Image.new("P", (6, 4))  # entry 0, the background, is white
    image.putpalette(bytes((255, 255, 255, 0, 0, 0)))
    image.putpixel((2, 1), 1)
    image.save(tmp_path / "mask.png")
    assert np.argwhere(read_mask(tmp_path / "mask.png")).tolist() == [[1, 2]]


def test_of_a_mask_s_two_colours_the_brighter_is_the_defect(tmp_path):
    pixels = np.full((4, 6, 3), (40, 0, 0), np.uint8)
    pixels[1, 2] = (0, 200, 0)
    assert np.argwhere(read_mask(save(pixels, tmp_path / "mask.png"))).tolist() == [[1, 2]]


def test_a_mask_with_shades_is_refused_with_their_number(tmp_path):
    pixels = np.zeros((32, 32), np.uint8)
    pixels[8:20, 8:20] = 255
    Image.fromarray(pixels).save(tmp_path / "mask.jpg", quality=70)
    Image.open(tmp_path / "mask.jpg").save(tmp_path / "mask.png")
    shades = len(np.unique(np.asarray(Image.open(tmp_path / "mask.png"))))
    assert shades > 2
    with pytest.raises(
        UsageError, match=rf"mask .*mask\.png has {shades} values \(0, .* 255\), not one .*mask_threshold"
    ):
        read_mask(tmp_path / "mask.png")


def test_with_a_threshold_shades_from_there_on_are_the_defect_and_two_values_stay_two(tmp_path):
    pixels = np.zeros((16, 16), np.uint8)
    pixels[2:8, 2:8] = np.arange(100, 136).reshape(6, 6)
    path = save(pixels, tmp_path / "mask.png")
    assert np.array_equal(read_mask(path, 128), pixels >= 128)
    with pytest.raises(UsageError, match="marks no pixel"):
        read_mask(path, 200)
    plain = save(np.uint8(pixels > 0), tmp_path / "plain.png")  # 0 and 1, both below any threshold
    assert np.array_equal(read_mask(plain, 128), pixels > 0)


def test_a_mask_of_crumbs_is_refused_and_a_few_pinholes_are_not(tmp_path):
    pixels = np.zeros((40, 40), np.uint8)
    pixels[4:40:12, 4] = 255
    pixels[4:7, 4] = 255
    assert read_mask(save(pixels, tmp_path / "pinholes.png")).sum() == 5
    pixels[::4, ::4] = 255
    with pytest.raises(UsageError, match=r"crumbs\.png has 100 regions, 100 of them of fewer than 5 pixels"):
        read_mask(save(pixels, tmp_path / "crumbs.png"))


@pytest.mark.parametrize("mode", ["1", "I;16", "LA", "RGB"])
def test_a_mask_may_be_stored_in_any_type_of_pixels(tmp_path, mode):
    marked = np.zeros((6, 8), bool)
    marked[2:5, 3:6] = True
    image = Image.fromarray(marked * np.uint16(65535)) if mode == "I;16" else Image.fromarray(marked).convert(mode)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), marked)


def test_a_mask_is_turned_like_its_image(tmp_path):
    pixels = np.zeros((20, 32), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(tmp_path / "mask.png", exif=exif)
    assert np.argwhere(read_mask(tmp_path / "mask.png")).tolist() == [[0, 19]]


def test_a_black_mask_is_refused(tmp_path):
    path = save(np.zeros((4, 6), np.uint8), tmp_path / "mask.png")
    with pytest.raises(UsageError, match=f"{path} marks no pixel"):
        read_mask(path)
