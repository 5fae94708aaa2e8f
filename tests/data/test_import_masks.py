"""Masks of imported photos: PNG files, polygons of LabelMe and COCO, drawn at the size of the photo as it is seen."""

import json

import numpy as np
import pytest
from PIL import Image

from bench.data.importing.masks import fill
from bench.data.layout import PLAIN, read_category
from fake_data import defect_mask
from fake_photos import BAD, SIDE, coco, labelme, write_mask, write_photos

SQUARE = [[10, 12], [30, 12], [30, 20], [10, 20]]


@pytest.fixture
def photos(tmp_path):
    return write_photos(tmp_path / "photos")


@pytest.fixture
def masks(bench, tmp_path):
    """Import photos that must be accepted; their masks by the stem of the photo, and the remarks."""

    def run(root, *options):
        outcome = bench("data", "import", root, "--name", "tablet", "--json", *options)
        assert outcome.status == 0, outcome.stderr
        category = read_category(tmp_path / "products", "tablet", PLAIN._replace(masks="optional"))
        drawn = {sample.path.stem: sample.read_mask() for sample in category.test if sample.mask}
        return drawn, json.loads(outcome.stdout)

    return run


def square_mask(width=SIDE, height=SIDE):
    mask = np.zeros((height, width), bool)
    mask[12:20, 10:30] = True
    return mask


@pytest.mark.parametrize("place", ["masks/{0:03}.png", "ground_truth/bad/{0:03}_mask.png", "bad/{0:03}_mask.png"])
def test_png_masks_are_found_by_the_photo_s_stem(photos, masks, place):
    for index in range(BAD):
        write_mask(photos / place.format(index))
    drawn, found = masks(photos)
    assert len(drawn) == BAD
    assert all((mask == defect_mask(SIDE, "blob", 0)).all() for mask in drawn.values())
    assert found["next"].endswith("--data.root products")


def test_masks_of_several_types_with_the_same_stems_keep_to_their_folders(tmp_path, masks):
    root = write_photos(tmp_path / "photos", {"good": 12, "bad/dent": 1, "bad/scratch": 1})
    labels = {"dent": 0, "scratch": 1}
    for name, first in labels.items():
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[first : first + 4, :4] = 255
        (tmp_path / "drawn" / name).mkdir(parents=True)
        Image.fromarray(mask).save(tmp_path / "drawn" / name / "000.png")
    _, found = masks(root, "--masks", tmp_path / "drawn")
    assert found["masks"] == 2
    for name, first in labels.items():
        file = tmp_path / f"products/tablet/ground_truth/{name}/000_mask.png"
        assert np.asarray(Image.open(file)).any(axis=1).argmax() == first


def test_polygons_of_labelme_are_drawn_and_name_the_type(photos, masks):
    for index in range(BAD):
        labelme(photos / f"bad/{index:03}.json", SQUARE)
    drawn, found = masks(photos)
    assert all((mask == square_mask()).all() for mask in drawn.values())
    assert found["counts"]["test"]["dent"] == BAD


def test_rectangles_and_circles_of_labelme_are_areas_too(photos, masks):
    labelme(photos / "bad/000.json", [[10, 12], [30, 20]], kind="rectangle")
    labelme(photos / "bad/001.json", [[24, 24], [24, 34]], kind="circle")
    drawn, _ = masks(photos)
    assert (drawn["000"] == square_mask()).all()
    assert drawn["001"].sum() == pytest.approx(np.pi * 100, rel=0.02)


def test_polygons_of_coco_are_drawn_and_name_the_type(photos, masks):
    flat = [[10, 12, 30, 12, 30, 20, 10, 20], [0, 0, 4, 0, 4, 4, 0, 4]]
    coco(photos / "annotations" / "instances.json", {f"{index:03}.png": flat for index in range(BAD)} | {"x.png": flat})
    drawn, found = masks(photos)
    expected = square_mask()
    expected[:4, :4] = True
    assert len(drawn) == BAD
    assert all((mask == expected).all() for mask in drawn.values())
    assert found["counts"]["test"]["scratch"] == BAD
    assert any("1 mask of no photo left out" in remark for remark in found["remarks"])


def test_a_polygon_on_a_turned_photo_lies_where_people_see_it(photos, masks):
    tag = Image.Exif()
    tag[0x0112] = 6
    for path in photos.rglob("*.png"):
        Image.open(path).resize((64, 32)).save(path.with_suffix(".jpg"), exif=tag)
        path.unlink()
    labelme(photos / "bad/000.json", SQUARE, size=(32, 64))
    drawn, _ = masks(photos)
    assert (drawn["000"] == square_mask(32, 64)).all()


def test_photos_without_a_mask_among_others_are_told_and_the_printed_line_takes_them(photos, masks):
    write_mask(photos / "masks/000.png")
    _, found = masks(photos)
    assert f"{BAD - 1} of {BAD} bad photos without a mask: their pixels are not judged" in found["remarks"]
    assert found["next"].endswith("--data.masks optional")


def test_an_empty_mask_of_a_good_photo_is_no_contradiction(photos, masks):
    for path in (photos / "good").iterdir():
        write_mask(photos / "masks/good" / path.name, empty=True)
    assert masks(photos)[1]["masks"] == 0


REFUSED = {
    "marks a good photo": (
        lambda root: labelme(root / "good/000.json", SQUARE),
        "marks a defect of {root}/good/000.png, which is labelled good",
    ),
    "another size": (
        lambda root: labelme(root / "bad/000.json", SQUARE, size=(96, 96)),
        "was drawn on 96 x 96 pixels, and {root}/bad/000.png is seen with 48 x 48",
    ),
    "a mask of another size": (lambda root: write_mask(root / "masks/bad/000.png", 50), "was drawn on 50 x 50 pixels"),
    "a line": (lambda root: labelme(root / "bad/000.json", SQUARE[:2], kind="line"), "has a 'line' of 2 points"),
    "nothing": (lambda root: labelme(root / "bad/000.json", [[1, 1], [1.1, 1], [1, 1.1]]), "marks no pixel of"),
    "no numbers": (lambda root: labelme(root / "bad/000.json", [["x", 1]] * 3), "has not the form of LabelMe or COCO"),
    "infinite": (lambda root: labelme(root / "bad/000.json", [[1e999, 1]] * 3), "has not the form of LabelMe or COCO"),
    "no JSON": (lambda root: (root / "bad/000.json").write_text("{"), "is no JSON file"),
    "twice": (
        lambda root: (write_mask(root / "masks/bad/000.png"), labelme(root / "bad/000.json", SQUARE)),
        "both mark defects of {root}/bad/000.png",
    ),
    "boxes": (lambda root: coco(root / "a.json", {"bad/000.png": []}), "has a box without an outline"),
    "run lengths": (lambda root: coco(root / "a.json", {"bad/000.png": {"counts": "x"}}), "has run lengths"),
    "a point": (lambda root: coco(root / "a.json", {"bad/000.png": [[1, 1]]}), "has a polygon of 1 point"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_drawing_that_cannot_be_right_ends_in_one_line(photos, refuse, case):
    write, expected = REFUSED[case]
    write(photos)
    assert expected.format(root=photos) in refuse("data", "import", photos, "--name", "tablet")


def test_masks_with_shades_need_a_threshold(photos, refuse, masks):
    for index in range(BAD):
        path = write_mask(photos / f"masks/{index:03}.png")
        Image.fromarray(np.asarray(Image.open(path)) // 255 * 200 + np.uint8(7)).save(path)
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0, 0] = 3
        Image.fromarray(pixels).save(path)
    assert "--data.mask_threshold 128" in refuse("data", "import", photos, "--name", "tablet")
    drawn, _ = masks(photos, "--data.mask_threshold", "128")
    assert all((mask == defect_mask(SIDE, "blob", 0)).all() for mask in drawn.values())


def test_masks_drawn_black_on_white_are_refused(photos, refuse):
    for index in range(BAD):
        path = write_mask(photos / f"masks/{index:03}.png")
        Image.open(path).point(lambda value: 255 - value).save(path)
    assert "as if defects were black on white" in refuse("data", "import", photos, "--name", "tablet")


def test_masks_of_other_photos_are_refused(photos, refuse, tmp_path):
    write_mask(tmp_path / "drawn/other.png")
    line = refuse("data", "import", photos, "--name", "tablet", "--masks", tmp_path / "drawn")
    assert f"nothing in {tmp_path / 'drawn'} belongs to a photo in" in line


def test_a_polygon_marks_the_pixels_whose_centres_it_holds():
    mask = np.zeros((6, 7), bool)
    fill(mask, np.array([[1, 1], [4, 1], [4, 4], [1, 4]], float))
    assert mask.sum() == 9
    assert mask[1:4, 1:4].all()


@pytest.mark.parametrize("corners", [3, 4, 9, 40])
def test_polygons_are_filled_as_an_independent_test_of_points_says(corners):
    from matplotlib.path import Path as Polygon

    rng = np.random.default_rng(corners)
    for _ in range(20):
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        points = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(5, 60, (corners, 1)) + (40, 30)
        mask = np.zeros((70, 80), bool)
        fill(mask, points)
        x, y = np.meshgrid(np.arange(80) + 0.5, np.arange(70) + 0.5)
        closed = Polygon(np.vstack([points, points[:1]]), closed=True)
        expected = closed.contains_points(np.column_stack([x.ravel(), y.ravel()])).reshape(mask.shape)
        assert (mask == expected).all()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools under numpy 2
def test_polygons_are_filled_much_as_coco_s_own_tools_do():
    pycocotools = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(20):
        angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        points = np.column_stack([np.cos(angles), np.sin(angles)]) * rng.uniform(25, 35, (12, 1)) + (40, 40)
        mask = np.zeros((80, 80), bool)
        fill(mask, points)
        theirs = pycocotools.decode(pycocotools.merge(pycocotools.frPyObjects([points.ravel().tolist()], 80, 80))) > 0
        assert (mask & theirs).sum() / (mask | theirs).sum() > 0.96
