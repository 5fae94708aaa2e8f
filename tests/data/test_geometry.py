"""Images that are not square: squashed, padded around, or cut to their middle, and where they lie in the square."""

import numpy as np
import pytest
from PIL import Image

from bench.data.geometry import Box, Content, Geometry, hide_outside
from bench.runs.scoring.maps import fit_map

WIDE = Image.fromarray(np.repeat(np.arange(80, dtype=np.uint8)[None, :, None] * 3, 40, axis=0).repeat(3, axis=2))


def test_a_padded_image_keeps_its_shape_in_the_middle_of_the_mean_of_imagenet():
    geometry = Geometry(32, aspect="pad")
    box = geometry.content(WIDE.size)
    pixels = geometry.pixels(WIDE, 3)
    assert box == Box(0, 8, 32, 24)
    assert np.array_equal(pixels[8:24], np.asarray(WIDE.resize((32, 16), Image.Resampling.BILINEAR)))
    around = [tuple(pixel) for part in (pixels[:8], pixels[24:]) for pixel in part.reshape(-1, 3).tolist()]
    assert set(around) == {(124, 116, 104)}


def test_a_cropped_image_is_its_middle_square():
    pixels = Geometry(32, aspect="crop").pixels(WIDE, 3)
    middle = WIDE.crop((20, 0, 60, 40)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(pixels.astype(int) - np.asarray(middle)).max() <= 2  # its border sees what lies beyond


@pytest.mark.parametrize("aspect", ["squash", "pad", "crop"])
def test_a_square_image_is_the_same_whatever_the_aspect(aspect):
    square = WIDE.resize((50, 50))
    assert np.array_equal(Geometry(32, aspect=aspect).pixels(square, 3), Geometry(32).pixels(square, 3))
    assert Geometry(32, aspect=aspect).content((50, 50)) == Box(0, 0, 32, 32)


def test_what_is_padded_around_a_mask_is_no_defect():
    mask = Image.fromarray(np.ones((40, 80), np.uint8))
    marked = np.asarray(Geometry(32, aspect="pad").apply(mask, Image.Resampling.NEAREST))
    assert marked[8:24].all()
    assert not marked[:8].any()
    assert not marked[24:].any()


def test_a_map_of_a_padded_image_is_hidden_where_none_of_it_lies():
    values = np.random.default_rng(0).uniform(1, 2, (32, 32)).astype(np.float32)
    values[0, 0] = 9
    hidden = hide_outside(values, Content(Box(0, 8, 32, 24)))
    assert np.array_equal(hidden[8:24], values[8:24])
    assert np.all(hidden[:8] == values[8:24].min())


@pytest.mark.parametrize(("aspect", "seen"), [("pad", (0, 80)), ("crop", (20, 60))])
def test_a_map_is_laid_over_the_part_of_a_new_image_that_was_seen(aspect, seen):
    geometry = Geometry(32, aspect=aspect)
    pixels = geometry.pixels(WIDE, 3)[:, :, 0].astype(np.float32)  # a map that shows where each pixel came from
    fitted, where = fit_map(pixels, geometry, WIDE.size)
    left, right = seen
    assert fitted.shape == where.shape == (40, 80)
    assert where[:, left:right].all()
    assert where.sum() == 40 * (right - left)
    inside = np.asarray(WIDE)[20, left + 3 : right - 3, 0]
    assert np.abs(fitted[20, left + 3 : right - 3] - inside).max() < 3
    assert np.all(fitted[~where] == (fitted[where].min() if not where.all() else 0))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data.aspect", "pad", "--data.crop", "32"), "--data.aspect pad keeps all of an image"),
        (("--data.aspect", "crop", "--protocol", "full"), "needs --data.aspect squash or pad"),
        (("--data.aspect", "fit"), "--data.aspect"),
        (("--data.bits", "8"), "--data.bits 8 does not lie between 9 and 16"),
        (("--data.mask_threshold", "0"), "--data.mask_threshold 0 does not lie between 1 and 255"),
        (("--data.masks", "some"), "--data.masks"),
    ],
)
def test_settings_that_cannot_be_meant_are_one_line(refuse, quick_padim, options, words):
    assert words in refuse("fit", *quick_padim, *options)
