"""What each change does to a made photo."""

import numpy as np
import pytest

from bench.stress.changes import KINDS, Change, all_changes
from fake_data import weave

PHOTO = weave(256, "photo")
KEY = (0, 1)


def changes(kind: str) -> list[Change]:
    return [change for change in all_changes() if change.kind == kind]


def roughness(pixels) -> float:
    """The mean step between neighbouring pixels."""
    return float(np.abs(np.diff(pixels.astype(float), axis=1)).mean())


def test_there_are_six_changes_in_three_strengths_and_light_and_contrast_go_both_ways():
    found = {kind: sorted({change.strength for change in changes(kind)}) for kind in KINDS}
    assert found == {kind: [1, 2, 3] for kind in ("light", "contrast", "blur", "noise", "JPEG", "shift")}
    assert [change.amount for change in changes("light")] == [-20, -10, -5, 5, 10, 20]


def test_light_multiplies_grey_values_and_clips_at_white():
    means = [change.apply(PHOTO, KEY).mean() / PHOTO.mean() for change in changes("light")]
    assert means == pytest.approx([0.8, 0.9, 0.95, 1.05, 1.1, 1.2], abs=0.005)
    assert (changes("light")[-1].apply(np.full((4, 4), 250, np.uint8), KEY) == 255).all()


def test_contrast_changes_the_standard_deviation_and_not_the_mean():
    changed = [change.apply(PHOTO, KEY) for change in changes("contrast")]
    assert [one.std() / PHOTO.std() for one in changed] == pytest.approx([0.8, 0.9, 0.95, 1.05, 1.1, 1.2], abs=0.01)
    assert [one.mean() for one in changed] == pytest.approx([PHOTO.mean()] * 6, abs=0.3)


def test_blur_smooths_more_with_its_strength_and_keeps_the_mean():
    changed = [change.apply(PHOTO, KEY) for change in changes("blur")]
    steps = [roughness(one) for one in (PHOTO, *changed)]
    assert steps == sorted(steps, reverse=True)
    assert [one.mean() for one in changed] == pytest.approx([PHOTO.mean()] * 3, abs=0.5)


def test_blur_is_a_share_of_the_longer_side_of_the_photo():
    edge = np.zeros((400, 1000), np.uint8)
    edge[:, 500:] = 200
    slope = changes("blur")[1].apply(edge, KEY)[0].astype(float)  # .2 % of 1000: 2 pixels
    assert np.diff(slope).max() == pytest.approx(200 / (2 * np.sqrt(2 * np.pi)), abs=1.5)


def test_noise_has_the_named_standard_deviation_and_no_direction():
    grey = np.full((512, 512), 128, np.uint8)
    for change in changes("noise"):
        added = change.apply(grey, KEY).astype(float) - 128
        assert added.std() == pytest.approx(change.amount, rel=0.03)
        assert added.mean() == pytest.approx(0, abs=0.1)


def test_jpeg_errs_more_with_lower_quality():
    errors = [np.abs(change.apply(PHOTO, KEY).astype(int) - PHOTO).mean() for change in changes("JPEG")]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_a_shift_moves_by_whole_pixels_of_a_photo_of_256_and_reflects_at_the_border():
    for change in changes("shift"):
        step = int(change.amount)
        found = change.apply(PHOTO, KEY)
        padded = np.pad(PHOTO, ((step, step), (step, step), (0, 0)), mode="reflect")
        places = [
            (y, x)
            for y in (0, step, 2 * step)
            for x in (0, step, 2 * step)
            if np.array_equal(padded[y : y + 256, x : x + 256], found)
        ]
        assert len(places) == 1
        assert places != [(step, step)]


def test_photos_are_shifted_in_all_directions():
    photo = np.arange(256 * 256, dtype=np.uint32).reshape(256, 256)
    change = changes("shift")[2]
    assert len({int(change.apply(photo, (0, number))[128, 128]) for number in range(100)}) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_alone_decides_what_is_drawn(kind):
    change = changes(kind)[1]
    first, again, other = (change.apply(PHOTO, key) for key in (KEY, KEY, (7, 1)))
    assert np.array_equal(first, again)
    assert np.array_equal(first, other) == (kind not in ("noise", "shift"))


@pytest.mark.parametrize("kind", KINDS)
def test_grey_photos_of_any_shape_keep_shape_and_type(kind):
    for change in changes(kind):
        found = change.apply(np.ascontiguousarray(PHOTO[:5, :200, 0]), KEY)
        assert (found.shape, found.dtype) == ((5, 200), np.uint8)
