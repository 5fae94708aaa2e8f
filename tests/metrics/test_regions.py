import cv2
import numpy as np
import pytest

from bench.metrics.regions import region_sizes


def mask(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


def test_pixels_that_touch_at_a_corner_are_one_region():
    assert region_sizes(mask("#..", ".#.", "..#")).tolist() == [3, 3, 3]


def test_sizes_come_in_the_row_major_order_of_the_pixels():
    assert region_sizes(mask("##..#", "....#", "#...#")).tolist() == [2, 2, 3, 3, 1, 3]


def test_a_mask_without_anomalies_has_no_sizes():
    assert region_sizes(np.zeros((4, 5), dtype=bool)).shape == (0,)


def test_regions_do_not_depend_on_the_layout_in_memory():
    original = mask("##..#", "....#", "#...#")
    transposed = np.asfortranarray(original)[::-1, ::-1]
    assert region_sizes(transposed).tolist() == region_sizes(original).tolist()[::-1]


@pytest.mark.parametrize("density", [0.05, 0.3, 0.5])
def test_inverse_sizes_sum_to_the_number_of_regions_that_opencv_counts(density):
    noise = np.random.default_rng(1).random((97, 131)) < density
    regions = cv2.connectedComponents(noise.astype(np.uint8), connectivity=8)[0] - 1
    assert np.sum(1 / region_sizes(noise)) == pytest.approx(regions, abs=1e-9)
