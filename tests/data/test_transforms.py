"""Random changes of images: what they may do to a category, and what they depend on."""

import numpy as np
import pytest
from scipy.stats import chisquare

from bench.data.transforms import Augmentation, RandomPose

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8)


def _half_white() -> np.ndarray:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32] = 255
    return image


def _draws(policy, category, image, count=40, **settings):
    augmentation = Augmentation(policy, category, 0, size=len(image), **settings)
    return [augmentation(image, (0, position)) for position in range(count)]


@pytest.mark.parametrize("policy", ["symmetries", "translation_and_colour", "rotation_and_crop"])
def test_the_same_draw_gives_the_same_image_and_another_draw_another(policy):
    first, again = (Augmentation(policy, "screw", 0, size=48)(NOISE, (3, 7)) for _ in range(2))
    assert np.array_equal(first, again)
    for other in (
        Augmentation(policy, "screw", 1, size=48)(NOISE, (3, 7)),
        Augmentation(policy, "screw", 0, size=48)(NOISE, (3, 8)),
    ):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("policy", ["none", "symmetries", "translation_and_colour", "rotation_and_crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_size_channels_and_bytes_stay(policy, channels):
    image = NOISE[:, :, :channels].copy()
    changed = Augmentation(policy, "carpet", 0, size=48, channels=channels)(image, (0, 0))
    assert (changed.shape, changed.dtype) == (image.shape, np.uint8)


def test_a_category_that_a_flip_makes_defective_is_never_flipped():
    sides = [image[:, :20].mean() > image[:, -20:].mean() for image in _draws("symmetries", "pill", _half_white())]
    assert all(sides)


def test_a_category_that_a_flip_leaves_normal_is_flipped_half_the_time():
    image = _half_white()
    flipped = [each[:, :20].mean() < each[:, -20:].mean() for each in _draws("symmetries", "zipper", image, 200)]
    assert 60 < sum(flipped) < 140


def test_a_metal_nut_is_turned_by_any_angle_and_a_capsule_not_at_all():
    line = np.zeros((64, 64, 3), np.uint8)
    line[30:34] = 255

    def upright(category):
        return [each[:, 28:36].mean() > each[28:36].mean() + 20 for each in _draws("symmetries", category, line)]

    assert any(upright("metal_nut"))
    assert not any(upright("capsule"))


def test_patches_of_a_texture_come_from_everywhere():
    image = np.zeros((64, 64, 1), np.uint8)
    image[:, :, 0] = np.arange(64)
    starts = {int(each[0, 0, 0]) for each in _draws("none", "carpet", image, 400, channels=1, patch=16)}
    assert starts == set(range(49))


def test_what_is_moved_is_cropped_afterwards():
    image = np.full((64, 64, 1), 10, np.uint8)
    image[16:48, 16:48] = 200
    changed = Augmentation("none", "pill", 0, size=64, channels=1, crop=32)(image, (0, 0))
    assert changed.shape == (32, 32, 1)
    assert (changed == 200).all()


def test_colours_move_little_for_cutpaste():
    flat = np.full((32, 32, 3), 128, np.uint8)
    for changed in _draws("translation_and_colour", "bottle", flat):
        assert np.abs(changed.astype(int) - 128).max() <= 128 * 0.25


def test_a_random_pose_moves_image_and_mask_alike():
    mask = np.zeros((64, 64), bool)
    mask[20:40, 24:34] = True
    image = np.repeat(mask[:, :, None].astype(np.uint8) * 255, 3, axis=2)
    pose = RandomPose("test", 48)
    for index in range(20):
        moved, truth = pose(image, index, mask)
        assert moved.shape == (48, 48, 3)
        assert truth.shape == (48, 48)
        assert np.mean((moved[:, :, 0] > 127) == truth) > 0.97


def test_poses_differ_between_images_and_splits_but_not_between_calls():
    first, again, other, train = (
        RandomPose(split, 32)(NOISE, index)[0] for split, index in [("test", 0), ("test", 0), ("test", 1), ("train", 0)]
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, train)


@pytest.mark.parametrize("axis", [0, 1])
def test_translations_are_uniform_in_both_directions(axis):
    dot = np.zeros((200, 200, 1), np.uint8)
    dot[90:110, 90:110] = 200
    places = np.arange(200)
    moved = (each[:, :, 0] > 100 for each in _draws("translation_and_colour", "bottle", dot, 4000, channels=1))
    offsets = [round(np.average(places, weights=each.sum(axis=1 - axis)) - 99.5) for each in moved]
    counts = [offsets.count(offset) for offset in range(-10, 11)]
    assert sum(counts) == len(offsets)
    assert chisquare(counts).pvalue > 1e-3
