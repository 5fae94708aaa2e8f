"""What is read is read exactly; everything else is refused, and nothing but a refusal ever comes of a damaged file."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from bench.data.images import image_channels, image_size, is_upright, read_image, read_mask
from bench.errors import UsageError
from fake_data import SIDE, save, weave


def test_a_colour_image_is_read_as_it_is(tmp_path):
    pixels = weave(SIDE, "colour")
    path = save(pixels, tmp_path / "colour.png")
    assert np.array_equal(read_image(path), pixels)
    assert image_channels(path) == 3


def test_a_grey_image_stays_grey(tmp_path):
    pixels = weave(SIDE, "grey")[:, :, 0]
    path = save(pixels, tmp_path / "grey.png")
    assert np.array_equal(read_image(path), pixels)
    assert image_channels(path) == 1


def test_an_image_with_a_palette_is_read_in_the_palette_s_colours(tmp_path):
    indices = np.arange(SIDE * SIDE, dtype=np.uint8).reshape(SIDE, SIDE) % 3
    colours = np.array([(10, 20, 30), (200, 0, 7), (0, 255, 128)], np.uint8)
    image = Image.new("P", (SIDE, SIDE))
    image.putpalette(colours.tobytes())
    image.putdata(indices.ravel().tolist())
    image.save(tmp_path / "palette.png")
    assert np.array_equal(read_image(tmp_path / "palette.png"), colours[indices])
    assert image_channels(tmp_path / "palette.png") == 3


def test_an_image_of_one_bit_is_read_as_black_and_white(tmp_path):
    white = weave(SIDE, "bits")[:, :, 0] > 80
    Image.fromarray(white).save(tmp_path / "bits.png")
    assert Image.open(tmp_path / "bits.png").mode == "1"
    assert np.array_equal(read_image(tmp_path / "bits.png"), white * np.uint8(255))
    assert image_channels(tmp_path / "bits.png") == 1


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_every_lossless_format_gives_the_same_pixels(tmp_path, suffix):
    pixels = weave(SIDE, "format")
    assert np.array_equal(read_image(save(pixels, tmp_path / f"image{suffix}")), pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_read_as_its_exif_orientation_asks_viewers_to_show_it(tmp_path, orientation, suffix):
    seen = np.zeros((20, 32, 3), np.uint8)  # red at the top left, green at the top right, blue at the bottom left
    seen[:8, :8, 0], seen[:8, -8:, 1], seen[-8:, :8, 2] = 255, 255, 255
    # How a camera that was held so stores it: what a viewer undoes.
    stored = {
        1: seen, 2: seen[:, ::-1], 3: seen[::-1, ::-1], 4: seen[::-1], 5: seen.transpose(1, 0, 2),
        6: np.rot90(seen, 1), 7: seen[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(seen, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(np.ascontiguousarray(stored)).save(
        path, exif=exif, **({"quality": 100, "subsampling": 0} if suffix == ".jpg" else {})
    )
    assert image_size(path) == (32, 20)
    assert np.abs(np.asarray(read_image(path), int) - seen).max() < 30  # a JPEG is not exact
    assert is_upright(path) == (orientation == 1 or suffix == ".tif")


@pytest.mark.parametrize("orientation", [0, 9, 99])
def test_an_orientation_that_means_nothing_turns_nothing(tmp_path, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(weave(SIDE, "odd")[:20]).save(tmp_path / "photo.png", exif=exif)
    assert is_upright(tmp_path / "photo.png")
    assert np.array_equal(read_image(tmp_path / "photo.png"), weave(SIDE, "odd")[:20])


def test_size_is_width_then_height(tmp_path):
    assert image_size(save(weave(SIDE, "size")[:20], tmp_path / "wide.png")) == (SIDE, 20)


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
    with pytest.raises(UsageError, match=rf"mask .*mask\.png has {shades} values, not one for the defect"):
        read_mask(tmp_path / "mask.png")


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


@pytest.mark.parametrize("mode", ["I", "F", "I;16", "LAB", "YCbCr"])
def test_pixels_of_other_types_are_refused(tmp_path, mode):
    path = tmp_path / "image.tif"
    image = Image.new(mode, (8, 8))
    image.save(path)
    with pytest.raises(UsageError, match=f"{path} has pixels of type '{mode}'"):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif"])
def test_a_damaged_file_is_refused_or_read_but_never_ends_in_another_error(tmp_path, suffix):
    whole = save(weave(24, "whole"), tmp_path / f"whole{suffix}").read_bytes()
    rng = np.random.default_rng(0)
    spoilt = Path(tmp_path / f"spoilt{suffix}")
    refused = 0
    for attempt in range(120):
        content = bytearray(whole)
        if attempt % 2:
            del content[rng.integers(len(whole)) :]
        else:
            for place in rng.integers(0, len(whole), 4):
                content[place] = rng.integers(256)
        spoilt.write_bytes(content)
        try:
            image_size(spoilt)
            image_channels(spoilt)
            read_image(spoilt)
        except UsageError as error:
            refused += 1
            assert str(spoilt) in str(error)
            assert "\n" not in str(error)
    assert refused > 10
