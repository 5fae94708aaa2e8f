"""Outlines, run lengths and points of a mask's regions, read back by pycocotools and scikit-image."""

import numpy as np
import pytest
from pycocotools import mask as coco
from scipy.ndimage import gaussian_filter
from skimage.draw import polygon2mask

from bench.data.export.outlines import area, trace
from bench.data.export.regions import Region, find_regions, inner_points, outer_points

# pycocotools 2.0.11 with numpy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")


def picture(*rows: str):
    """A mask as it is seen: `#` is a defect."""
    return np.array([[letter == "#" for letter in row] for row in rows])


def random_masks():
    """Speckles of every density and blobs with holes, in all sizes down to one pixel."""
    rng = np.random.default_rng(0)
    for index in range(200):
        height, width = rng.integers(1, 24, 2)
        noise = rng.random((height, width))
        yield gaussian_filter(noise, 1.5) > 0.5 if index % 3 == 0 else noise < rng.uniform(0.1, 0.95)


def alone(region: Region, shape):
    """A mask with nothing but this region."""
    mask = np.zeros(shape, bool)
    left, top, width, height = region.box
    mask[top : top + height, left : left + width] = region.pixels
    return mask


def decode(objects, shape):
    return coco.decode(coco.merge(coco.frPyObjects(objects, *map(int, shape)))).astype(bool)


def coordinates(polygons):
    return [polygon.astype(float).ravel().tolist() for polygon in polygons]


def test_the_outline_of_one_pixel_is_a_square_of_side_one():
    (region,) = find_regions(picture("....", "..#."))
    assert region.outline.tolist() == [[3, 1], [3, 2], [2, 2], [2, 1]]
    assert [polygon.tolist() for polygon in region.polygons] == [region.outline.tolist()]


def test_an_outline_has_corners_only_where_it_turns():
    (region,) = find_regions(picture("###", "###"))
    assert len(region.outline) == 4


def test_pixels_that_touch_at_a_corner_are_one_region_of_two_polygons_and_one_outline():
    (region,) = find_regions(picture("#.", ".#"))
    assert len(region.polygons) == 2
    assert len(region.outline) == 8


def test_a_region_with_a_hole_has_no_polygons():
    (region,) = find_regions(picture("###", "#.#", "###"))
    assert region.polygons is None
    assert area(region.outline) == 8


def test_a_gap_closed_by_corners_alone_is_no_hole_of_the_polygons():
    (region,) = find_regions(picture(".#.", "#.#", ".#."))
    assert [area(polygon) for polygon in region.polygons] == [1, 1, 1, 1]


def test_an_outline_ends_where_it_began_though_another_passes_the_same_corner():
    """The pixel in the middle touches the ring around it, whose hole is traced later, at a corner."""
    mask = picture("#####", "##..#", "#.#.#", "#...#", "#####")
    assert sorted(area(outline) for outline in trace(mask, 4)) == [-8, 1, 25]


def test_polygons_enclose_exactly_the_pixels_of_their_region():
    checked = 0
    for mask in random_masks():
        for region in find_regions(mask):
            if region.polygons is not None:
                checked += 1
                assert (decode(coordinates(region.polygons), mask.shape) == alone(region, mask.shape)).all()
    assert checked > 500


def test_the_joined_outline_encloses_exactly_the_pixels_holes_left_out():
    holes = 0
    for mask in random_masks():
        for region in find_regions(mask):
            holes += region.polygons is None
            pixels = polygon2mask(mask.shape, region.outline[:, ::-1] - 0.5)  # it looks at centres, at whole numbers
            assert (pixels == alone(region, mask.shape)).all()
            assert area(region.outline) == region.area
    assert holes > 30


def test_run_lengths_are_those_of_pycocotools():
    for mask in random_masks():
        for region in find_regions(mask):
            lengths = {"counts": region.run_lengths(*mask.shape), "size": list(mask.shape)}
            packed = coco.frPyObjects(lengths, *map(int, mask.shape))
            own = coco.encode(np.asfortranarray(alone(region, mask.shape).astype(np.uint8)))
            assert packed["counts"] == own["counts"]
            assert coco.toBbox(packed).tolist() == list(region.box)


def test_the_first_inner_point_is_the_middle_of_a_disc():
    y, x = np.mgrid[:30, :40]
    (region,) = find_regions(np.hypot(x - 21, y - 11) < 7)
    assert inner_points(region, 1) == [(21, 11)]


@pytest.mark.parametrize("rows", [("#",), ("#####", "#....", "#...."), ("###", "#.#", "###")])
def test_inner_points_lie_in_the_region_even_where_its_middle_does_not(rows):
    mask = picture(*rows)
    (region,) = find_regions(mask)
    points = inner_points(region, 3)
    assert len(points) == len(set(points)) == min(3, region.area)
    assert all(mask[y, x] for x, y in points)


def test_more_inner_points_lie_apart():
    (region,) = find_regions(np.ones((3, 60), bool))
    (first, _), (second, _) = inner_points(region, 2)
    assert abs(first - second) > 20


def test_outer_points_are_near_the_region_and_in_no_defect():
    mask = np.zeros((40, 40), bool)
    mask[0:6, 10:20] = True
    mask[8:12, 8:25] = True  # another region that must not be hit
    region = find_regions(mask)[0]
    points = outer_points(region, mask, 4)
    assert len(points) == 4
    for x, y in points:
        assert not mask[y, x]
        assert 5 <= x < 25
        assert y < 9


def test_an_image_that_is_all_defect_has_no_outer_point():
    mask = np.ones((5, 5), bool)
    assert outer_points(find_regions(mask)[0], mask, 3) == []
