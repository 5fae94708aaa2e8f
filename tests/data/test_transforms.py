"""Random changes of images: what they may do to a category, and what they depend on."""

import colorsys

import albumentations
import numpy as np
import pytest
from scipy.ndimage import label
from scipy.stats import chisquare

from bench.data.datasets.mvtec_ad_facts import mvtec_categories
from bench.data.transforms import Augmentation, RandomPose

CLASS_PRESERVING = ["mild", "strong"]  # of images with defects, too
EVERY_POLICY = ["none", "symmetries", "translation_and_colour", "rotation_and_crop", *CLASS_PRESERVING]
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (48, 48, 3), dtype=np.uint8)


def _half_white() -> np.ndarray:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, :32] = 255
    return image


def _draws(policy, category, image, count=40, **settings):
    augmentation = Augmentation(policy, mvtec_categories().get(category), 0, size=len(image), **settings)
    return [augmentation(image, (0, position)) for position in range(count)]


@pytest.mark.parametrize("policy", EVERY_POLICY[1:])
def test_the_same_draw_gives_the_same_image_and_another_draw_another(policy):
    first, again = (Augmentation(policy, mvtec_categories().get("screw"), 0, size=48)(NOISE, (3, 7)) for _ in range(2))
    assert np.array_equal(first, again)
    for other in (
        Augmentation(policy, mvtec_categories().get("screw"), 1, size=48)(NOISE, (3, 7)),
        Augmentation(policy, mvtec_categories().get("screw"), 0, size=48)(NOISE, (3, 8)),
    ):
        assert not np.array_equal(first, other)


@pytest.mark.parametrize("policy", EVERY_POLICY)
@pytest.mark.parametrize("channels", [1, 3])
def test_size_channels_and_bytes_stay(policy, channels):
    image = NOISE[:, :, :channels].copy()
    changed = Augmentation(policy, mvtec_categories().get("carpet"), 0, size=48, channels=channels)(image, (0, 0))
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
    changed = Augmentation("none", mvtec_categories().get("pill"), 0, size=64, channels=1, crop=32)(image, (0, 0))
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


CATEGORIES = sorted(mvtec_categories())
# Red, green and blue discs in a triangle: the order in which they turn tells a mirror, their places a rotation.
CENTRES = np.array([(80, 78), (112, 82), (96, 124)])  # x, y
COLOURS = [(200, 90, 60), (70, 180, 80), (60, 80, 190)]


def _discs() -> np.ndarray:
    image = np.full((192, 192, 3), 120, np.uint8)
    y, x = np.mgrid[:192, :192]
    for (centre_x, centre_y), colour in zip(CENTRES, COLOURS, strict=True):
        image[np.hypot(x - centre_x, y - centre_y) < 12] = colour
    return image


def _found(image: np.ndarray) -> np.ndarray:
    """Centres (3, 2) of the discs after a change."""
    excess = image.astype(float) - (image.sum(axis=2, keepdims=True) - image) / 2
    y, x = np.mgrid[: len(image), : len(image)]
    middle = np.hypot(y - 95.5, x - 95.5) < 60  # a mirrored border may hold the discs again
    discs = [middle & (excess[:, :, channel] > 40) for channel in range(3)]
    return np.array([(x[disc].mean(), y[disc].mean()) for disc in discs])


def _turn(found: np.ndarray) -> tuple[bool, float]:
    """Whether the discs are mirrored, and the angle in degrees that they are turned by (before a mirror on x)."""

    def sides(centres):
        return (centres - centres.mean(axis=0)) @ [1, 1j]

    before, after = sides(CENTRES), sides(found)
    plain, mirrored = (before.conj() * after).sum(), (before * after).sum()
    flipped = abs(mirrored) > abs(plain)
    # A mirror on the vertical axis takes z to -conj(z): what is left is the turn after it.
    return flipped, float(np.degrees(np.angle(-mirrored if flipped else plain)))


def _steps(transform) -> list:
    """All steps of an albumentations pipeline."""
    if isinstance(transform, albumentations.BaseCompose):
        return [step for each in transform.transforms for step in _steps(each)]
    return [transform]


@pytest.mark.parametrize("policy", CLASS_PRESERVING)
@pytest.mark.parametrize("category", CATEGORIES)
def test_no_step_is_one_that_the_category_forbids(category, policy):
    symmetry = mvtec_categories()[category].symmetry
    allowed = {"ColorJitter", "Perspective"}
    if symmetry.hflip_symmetric:
        allowed |= {"HorizontalFlip"}
    if symmetry.rotation_symmetric_180:
        allowed |= {"HorizontalFlip", "VerticalFlip", "RandomRotate90"}  # two flips are half a turn
    if not symmetry.must_not_rotate:
        allowed |= {"SafeRotate", "Rotate"}
    steps = {
        type(step).__name__: step
        for step in _steps(Augmentation(policy, mvtec_categories().get(category), 0, size=192).transform)
    }
    assert steps.keys() <= allowed
    assert steps["ColorJitter"].hue == (0, 0)
    assert steps["ColorJitter"].saturation == (1, 1)


@pytest.mark.parametrize("policy", CLASS_PRESERVING)
@pytest.mark.parametrize("category", CATEGORIES)
def test_a_picture_is_mirrored_and_turned_only_as_the_category_allows(category, policy):
    symmetry = mvtec_categories()[category].symmetry
    turns = [_turn(_found(each)) for each in _draws(policy, category, _discs(), 40)]
    mirrored = [flipped for flipped, _ in turns]
    assert any(mirrored) == symmetry.hflip_symmetric
    assert not all(mirrored)
    period = 90 if symmetry.rotation_symmetric_90 else 180 if symmetry.rotation_symmetric_180 else 360
    angles = np.array([(angle + period / 2) % period - period / 2 for _, angle in turns])
    tilt = 3 if policy == "strong" else 0.5  # what perspective, or the discs' pixels, add
    if symmetry.rotation_symmetric_any:
        assert angles.min() < -35
        assert angles.max() > 35
        return
    limit = 0 if symmetry.must_not_rotate else 15 if policy == "strong" else 5
    assert np.abs(angles).max() <= limit + tilt
    assert np.abs(angles).max() >= 0.8 * limit
    if period < 360:  # whole turns of the period come as well
        raw = np.array([angle for _, angle in turns])
        assert {round(angle / period) % (360 // period) for angle in raw} == set(range(360 // period))


@pytest.mark.parametrize("policy", CLASS_PRESERVING)
@pytest.mark.parametrize("category", CATEGORIES)
def test_no_colour_changes_its_hue(category, policy):
    lit = []
    for each in _draws(policy, category, _discs(), 15):
        for (x, y), colour in zip(_found(each).round().astype(int), COLOURS, strict=True):
            hue, _, value = colorsys.rgb_to_hsv(*each[y, x] / 255)
            was, _, bright = colorsys.rgb_to_hsv(*np.array(colour) / 255)
            assert abs((hue - was + 0.5) % 1 - 0.5) < 0.01
            lit.append(value / bright)
    assert min(lit) < (0.9 if policy == "strong" else 0.97)
    assert max(lit) > (1.1 if policy == "strong" else 1.03)


@pytest.mark.parametrize("policy", CLASS_PRESERVING)
@pytest.mark.parametrize("category", [name for name in CATEGORIES if name not in ("bottle", "metal_nut")])
def test_a_defect_in_a_corner_is_never_lost(category, policy):
    image = np.full((192, 192, 3), 100, np.uint8)
    for rows in (slice(0, 6), slice(-6, None)):
        image[rows, :6] = image[rows, -6:] = 250
    image[:6, :6] = 0  # one corner of another kind: none may stand in for it
    for each in _draws(policy, category, image, 30):
        assert (each[:, :, 0] < 40).sum() > 8


@pytest.mark.parametrize("category", ["bottle", "metal_nut"])
def test_a_round_object_is_turned_in_its_place_and_size(category):
    y, x = np.mgrid[:192, :192]
    disc = np.repeat((np.hypot(y - 95.5, x - 95.5) < 80)[:, :, None], 3, axis=2).astype(np.uint8) * 200
    for each in _draws("mild", category, disc):
        assert ((each > 100) == (disc > 100)).mean() > 0.995


def test_an_unknown_category_is_neither_mirrored_nor_turned():
    for each in _draws("strong", "my_product", _discs()):
        flipped, angle = _turn(_found(each))
        assert not flipped
        assert abs(angle) < 3


@pytest.mark.parametrize("category", ["screw", "hazelnut"])
def test_an_object_near_the_border_is_not_shown_twice(category):
    y, x = np.mgrid[:192, :192]
    disc = np.where(np.hypot(y - 20, x - 95) < 12, 30, 200)[:, :, None].astype(np.uint8).repeat(3, axis=2)
    for each in _draws("strong", category, disc, 40):
        assert label(each[:, :, 0] < 100)[1] == 1


def test_turned_images_lie_any_way_round_where_a_category_may_be_turned_at_all():
    turns = [_turn(_found(each)) for each in _draws("turned", "screw", _discs(), 40)]
    angles = [angle for _, angle in turns]
    assert not any(flipped for flipped, _ in turns)
    assert min(angles) < -90
    assert max(angles) > 90
    assert all(abs(_turn(_found(each))[1]) < 3 for each in _draws("turned", "cable", _discs(), 20))
