import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, kstest
from torchvision.transforms import functional as torchvision

from bench.models.parts import cutpaste_drawing as drawing
from bench.models.parts.cutpaste_drawing import Rectangles, draw_patches, draw_scars, jitter, paste, random_windows

DRAWS = 10_000
SIDE = 256
STRICT = 0.01  # below this p-value a distribution is refused; the draws are seeded, so that no test fails by chance


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(6, 3, 40, 40)


def patch_at(source: tuple[int, int], target: tuple[int, int], height: int, width: int, count: int = 1) -> Rectangles:
    """Upright patches, named by their upper left corners."""
    middle = torch.tensor([(height - 1) / 2, (width - 1) / 2])
    places = (torch.tensor(corner, dtype=torch.float32).add(middle).expand(count, 2) for corner in (source, target))
    return Rectangles(torch.full((count,), height), torch.full((count,), width), torch.zeros(count), *places)


def test_patches_cover_a_uniform_share_of_the_image_between_2_and_15_percent():
    patches = draw_patches(DRAWS, 4096)  # large, so that whole pixels round little away
    share = (patches.height * patches.width / 4096**2).numpy()
    assert 0.0199 < share.min() < 0.021
    assert 0.149 < share.max() < 0.1501
    assert kstest(share, "uniform", (0.02, 0.13)).pvalue > STRICT


def test_wide_and_tall_patches_are_equally_many_and_uniform_in_their_ranges():
    patches = draw_patches(DRAWS, 4096)
    aspect = (patches.height / patches.width).numpy()
    tall = aspect > 1
    assert abs(tall.mean() - 0.5) < 3 * 0.5 / math.sqrt(DRAWS)
    assert 0.299 < aspect.min() < 0.301
    assert 3.29 < aspect.max() < 3.31
    assert kstest(aspect[tall], "uniform", (1.0, 2.3)).pvalue > STRICT
    assert kstest(aspect[~tall], "uniform", (0.3, 0.7)).pvalue > STRICT


def test_scars_are_2_to_16_pixels_wide_10_to_25_long_and_turned_up_to_45_degrees():
    scars = draw_scars(DRAWS, SIDE)
    for values, low, high in ((scars.width, 2, 16), (scars.height, 10, 25), (scars.angle.rad2deg(), -45, 45)):
        assert low <= values.min() < values.max() <= high
        assert kstest(values.numpy(), "uniform", (low, high - low)).pvalue > STRICT


def test_scars_shrink_with_the_image_but_never_below_a_pixel():
    scars = draw_scars(DRAWS, 64, scale=0.25)
    assert scars.width.min() == 1
    assert scars.width.max() <= 4
    assert 2.5 <= scars.height.min() < scars.height.max() <= 6.25


@pytest.mark.parametrize("draw", [draw_patches, draw_scars])
@pytest.mark.parametrize("place", ["source", "target"])
def test_places_are_uniform_over_all_where_the_whole_patch_lies_inside(draw, place):
    patches = draw(DRAWS, SIDE)
    turned = patches.angle.abs() if place == "target" else torch.zeros(DRAWS)
    box_height = patches.height * turned.cos() + patches.width * turned.sin()
    box_width = patches.width * turned.cos() + patches.height * turned.sin()
    # A patch in whole pixels has whole places; what was rounded off is drawn again.
    whole = torch.rand(DRAWS, 2) if draw is draw_patches else torch.zeros(DRAWS, 2)
    room = SIDE - torch.stack([box_height, box_width], dim=1) + (draw is draw_patches)
    corner = getattr(patches, place) + 0.5 - torch.stack([box_height, box_width], dim=1) / 2
    assert corner.min() > -1e-3
    assert (corner - room + (draw is draw_patches)).max() < 1e-3
    share = ((corner + whole) / room).numpy()
    for axis in (0, 1):
        assert kstest(share[:, axis], "uniform").pvalue > STRICT
        assert chisquare(np.histogram(share[:, axis], 20, (0, 1))[0]).pvalue > STRICT


@pytest.mark.parametrize("draw", [draw_patches, draw_scars])
def test_source_target_and_the_two_axes_are_independent(draw):
    patches = draw(DRAWS, SIDE)
    size = torch.stack([patches.height, patches.width], dim=1)
    share = [(place - size / 2) / (SIDE - size) for place in (patches.source, patches.target)]
    correlation = np.corrcoef(torch.cat(share, dim=1).T.numpy()) - np.eye(4)
    assert np.abs(correlation).max() < 4 / math.sqrt(DRAWS)


def test_the_same_seed_draws_the_same_patches_and_another_seed_others():
    torch.manual_seed(1)
    first = draw_patches(5, SIDE)
    torch.manual_seed(1)
    again = draw_patches(5, SIDE)
    other = draw_patches(5, SIDE)
    assert all(torch.equal(mine, same) for mine, same in zip(first, again, strict=True))
    assert not torch.equal(first.source, other.source)


def test_an_upright_patch_is_a_copy_and_all_else_stays(image):
    pasted = paste(image, patch_at((2, 3), (20, 25), 5, 9, count=6), 0.0)
    torch.testing.assert_close(pasted[:, :, 20:25, 25:34], image[:, :, 2:7, 3:12], rtol=0, atol=1e-5)
    pasted[:, :, 20:25, 25:34] = image[:, :, 20:25, 25:34]
    assert torch.equal(pasted, image)


@pytest.mark.parametrize("draw", [draw_patches, draw_scars])
def test_no_pixel_outside_the_patch_changes_and_colours_stay_in_range(draw):
    image = torch.rand(50, 3, 64, 64)
    patches = draw(50, 64)
    pasted = paste(image, patches, 0.1)
    changed = (pasted != image).any(dim=1).flatten(1).sum(dim=1)
    area = patches.height * patches.width
    assert (changed > 0).all()
    assert (changed <= area + 2 * (patches.height + patches.width)).all()
    assert pasted.min() >= 0
    assert pasted.max() <= 1


def test_a_turned_scar_shows_its_source_turned():
    ramp = torch.arange(40.0).expand(1, 1, 40, 40) / 40  # brighter to the right
    quarter = torch.tensor([math.pi / 2])
    scar = Rectangles(
        torch.tensor([9.0]), torch.tensor([5.0]), quarter, *torch.tensor([[[10.0, 10.0]], [[25.0, 25.0]]])
    )
    pasted = paste(ramp, scar, 0.0)[0, 0]
    expected = ramp[0, 0, 6:15, 8:13]
    torch.testing.assert_close(pasted[23:28, 21:30], torch.rot90(expected, 1), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        (drawing._brightness, lambda image, amount: torchvision.adjust_brightness(image, 1 + amount)),
        (drawing._contrast, lambda image, amount: torchvision.adjust_contrast(image, 1 + amount)),
        (drawing._saturation, lambda image, amount: torchvision.adjust_saturation(image, 1 + amount)),
        (drawing._hue, lambda image, amount: torchvision.adjust_hue(image, amount)),
    ],
)
@pytest.mark.parametrize("amount", [-0.1, 0.0, 0.07])
def test_each_change_of_colour_is_torchvisions(image, kind, reference, amount):
    image[0, :, :3] = 0.5  # grey pixels, whose hue is not defined
    inside = torch.ones(6, 1, 40, 40, dtype=torch.bool)
    changed = kind(image, torch.full((6, 1, 1, 1), amount), inside)
    torch.testing.assert_close(changed, reference(image, amount), rtol=0, atol=2e-4)


def test_contrast_is_taken_around_the_mean_of_the_patch_alone(image):
    inside = torch.zeros(6, 1, 40, 40, dtype=torch.bool)
    inside[:, :, 5:12, 8:20] = True
    changed = drawing._contrast(image, torch.full((6, 1, 1, 1), 0.1), inside)[:, :, 5:12, 8:20]
    expected = torchvision.adjust_contrast(image[:, :, 5:12, 8:20], 1.1)
    torch.testing.assert_close(changed, expected, rtol=0, atol=1e-3)


def test_the_order_of_the_changes_is_drawn_for_each_image():
    same = torch.rand(1, 3, 8, 8).expand(64, -1, -1, -1) * 0.5 + 0.25
    jittered = jitter(same, torch.ones(64, 1, 8, 8, dtype=torch.bool), 0.1)
    assert len(jittered.flatten(1).unique(dim=0)) == 64
    assert (jittered - same).abs().max() < 0.5


def test_grey_images_keep_one_channel():
    grey = torch.rand(4, 1, 32, 32)
    assert paste(grey, draw_scars(4, 32, 1.0), 0.1).shape == grey.shape


def test_random_windows_are_parts_of_their_own_images():
    image = torch.arange(3 * 20 * 20.0).view(3, 1, 20, 20)
    corners = set()
    for _ in range(50):
        for number, window in enumerate(random_windows(image, 8)):
            y, x = divmod(int(window[0, 0, 0]) - number * 400, 20)
            assert torch.equal(window[0], image[number, 0, y : y + 8, x : x + 8])
            corners |= {y, x}
    assert corners == set(range(13))
