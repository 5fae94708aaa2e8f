"""`bench data describe`: figures that were worked out by hand, pages that can be read."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from bench.data.describe.measure import sizes_of_regions
from bench.data.describe.page import percent, to_json, to_markdown
from bench.data.near_duplicates import near_duplicates, similar_pairs
from described_category import SIDE, described, write_cog
from fake_data import weave, write_category


@pytest.fixture
def folder(tmp_path):
    return write_cog(tmp_path / "my data")


@pytest.fixture
def describe(folder):
    return lambda: described(folder)


def test_images_are_counted_by_class_and_split(describe):
    _, found = describe()
    assert [(c.name, c.train, c.test) for c in found.classes] == [("good", 6, 2), ("crack", 0, 1), ("dent", 0, 3)]
    assert (found.train, found.test, found.masks) == (6, 6, 4)


def test_area_and_regions_of_defects_are_those_of_the_masks(describe):
    _, found = describe()
    dent = found.classes[2].defects
    assert (dent.area_share.min, dent.area_share.median, dent.area_share.max) == (16 / 1600, 80 / 1600, 120 / 1600)
    assert dent.regions == 4
    assert (dent.regions_per_image.min, dent.regions_per_image.max) == (1, 2)
    assert (dent.region_pixels.min, dent.region_pixels.median, dent.region_pixels.max) == (16, 50, 100)
    assert found.classes[0].defects is None


def test_regions_are_counted_as_scipy_labels_them():
    from scipy import ndimage

    mask = np.random.default_rng(0).random((200, 200)) < 0.3
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    expected = sorted(np.bincount(labels.ravel())[1:].tolist())
    assert sizes_of_regions(mask).tolist() == expected
    assert len(expected) == count


def test_imbalance_is_that_of_the_commonest_class_to_the_rarest(describe):
    _, found = describe()
    assert (found.imbalance.ratio, found.imbalance.commonest, found.imbalance.rarest) == (8, "good", "crack")
    defects = found.imbalance_of_defects
    assert (defects.ratio, defects.commonest, defects.rarest) == (3, "dent", "crack")


def test_sizes_and_modes_are_counted_as_they_lie_in_the_files(describe, folder):
    Image.fromarray(weave(SIDE, "grey")[:, :, 0]).resize((50, SIDE)).save(folder / "train/good/900.png")
    _, found = describe()
    assert found.classes[0].sizes == {"40 x 40": 8, "50 x 40": 1}
    assert found.classes[0].modes == {"RGB": 8, "L": 1}


def brightness(folder: Path, pattern: str) -> list[float]:
    return [float(np.asarray(Image.open(path).convert("L")).mean()) for path in sorted(folder.glob(pattern))]


def test_brightness_is_measured_as_a_score(describe, folder):
    _, found = describe()
    good, test = brightness(folder, "test/good/*.png"), brightness(folder, "test/*/*.png")
    labels = [path.parent.name != "good" for path in sorted(folder.glob("test/*/*.png"))]
    assert found.brightness_auroc == pytest.approx(roc_auc_score(labels, test), abs=1e-12)
    assert [image.brightness for image in found.images if image.path.startswith("cog/test/good/")] == good


def test_light_that_tells_four_defects_from_two_good_images_may_be_chance(describe, folder):
    for path in folder.glob("test/good/*.png"):
        Image.open(path).point(lambda value: min(255, value + 60)).save(path)
    _, found = describe()
    assert found.brightness_auroc == 0
    assert "No giveaway: mean grey value, contrast, border and file size do not tell" in to_markdown(found)


def test_near_duplicates_are_named_and_those_between_the_splits_marked(describe, folder):
    shutil.copy(folder / "train/good/001.png", folder / "train/good/801.png")
    shutil.copy(folder / "train/good/002.png", folder / "test/good/802.png")
    _, found = describe()
    pairs = {(pair.first, pair.second, pair.across_splits) for pair in found.near_duplicates.pairs}
    assert pairs == {
        ("cog/train/good/001.png", "cog/train/good/801.png", False),
        ("cog/train/good/002.png", "cog/test/good/802.png", True),
    }
    assert (found.near_duplicates.count, found.near_duplicates.across_splits) == (2, 1)
    page = to_markdown(found)
    assert "2 pairs of images show the same photograph again, 1 of them between training and test." in page
    assert "| cog/train/good/002.png | cog/test/good/802.png | 1.0000 | yes |" in page


def test_pairs_are_those_that_the_groups_are_made_of():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (6, 64, 64, 1), np.uint8)
    images[[2, 5]] = images[1]
    first, second, correlation = similar_pairs(images)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(1, 2), (1, 5), (2, 5)]
    assert correlation == pytest.approx([1, 1, 1], abs=1e-5)
    assert near_duplicates(images).tolist() == [0, 1, 1, 2, 3, 1]


def test_a_folder_of_copies_counts_all_pairs_and_names_some(describe, folder):
    for number in range(20):
        shutil.copy(folder / "train/good/001.png", folder / f"train/good/8{number:02}.png")
    _, found = describe()
    assert found.near_duplicates.count == 21 * 20 // 2
    assert len(found.near_duplicates.pairs) == 100
    assert "The 100 most alike; 110 more are not listed." in to_markdown(found)


def test_the_page_has_a_row_of_each_class_and_the_json_the_same_figures(describe):
    _, found = describe()
    page = to_markdown(found)
    assert "| dent | 0 | 3 | 40 x 40 | RGB |" in page
    assert "| dent | 3 | 1.0 % | 5.0 % | 7.5 % | 4 | 1 to 2 | 16 | 50 |" in page
    assert "Imbalance: 8 (good to crack); of defects alone 3 (dent to crack)." in page
    tree = json.loads(to_json(found))
    assert tree["classes"][2]["defects"]["area_share"]["max"] == 120 / 1600
    assert len(tree["images"]) == 12


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.000625, "0.062 %"),
        (0.01, "1.0 %"),
        (0.0994, "9.9 %"),
        (0.0999, "10 %"),
        (0.5, "50 %"),
        (1, "100 %"),
        (0, "0 %"),
    ],
)
def test_shares_are_written_with_two_digits(share, words):
    assert percent(share) == words


def test_the_command_writes_markdown_json_and_a_page(bench, data_root, tmp_path):
    out = tmp_path / "o u t"
    outcome = bench("data", "describe", "--category", "screw", "--data.root", data_root, "--out", out)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stdout.splitlines() == [
        str(out / n) for n in ("description.md", "description.json", "description.html")
    ]
    assert "Not MVTec's own: " in (out / "description.md").read_text()
    assert "Not MVTec&#39;s own: " in (out / "description.html").read_text()


def test_the_command_prints_the_page_or_json(bench, data_root):
    ours = ("data", "describe", "--category", "screw", "--data.root", data_root)
    assert bench(*ours).stdout.startswith("# screw (mvtec_ad)\n")
    assert json.loads(bench(*ours, "--json").stdout)["category"] == "screw"


def test_all_categories_of_a_folder_are_described_each_in_a_folder_of_its_own(bench, tmp_path):
    names = ("cog", "螺丝 钉")
    for name in names:
        write_category(tmp_path / "my data", name, train=3, good=1, defects={"深": 1})
    ours = ("data", "describe", "--category", "all", "--data.root", tmp_path / "my data")
    assert bench(*ours, "--out", tmp_path / "out").status == 0
    for name in names:
        assert (tmp_path / "out" / name / "description.html").is_file()
    assert [page["category"] for page in json.loads(bench(*ours, "--json").stdout)] == list(names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no category; name one: --category screw, or all: --category all"),
        (["--category", "scerw"], "unknown category 'scerw'; did you mean 'screw'?"),
        (["--category", "screw", "--data", "mvtec"], "unknown dataset 'mvtec'; did you mean 'mvtec_ad'?"),
        (["--category", "screw", "--jason"], "unknown option '--jason'; did you mean '--json'?"),
    ],
)
def test_a_mistake_is_one_line(refuse, data_root, arguments, words):
    assert words in refuse("data", "describe", "--data.root", data_root, *arguments)


def test_a_folder_that_cannot_be_used_is_named_as_fit_names_it(refuse, own_category):
    next((own_category / "ground_truth/blob").iterdir()).unlink()
    words = refuse("data", "describe", "--category", "screw", "--data.root", own_category.parent)
    assert "no mask for 1 of" in words


@pytest.mark.slow
def test_a_synthetic_category_is_described(bench):
    outcome = bench("data", "describe", "--data", "synthetic", "--category", "screw", "--json")
    assert outcome.status == 0, outcome.stderr
    assert json.loads(outcome.stdout)["masks"] == 40
