"""A category's page: its statistics, and pictures of every class at one scale, with defects outlined and enlarged."""

import re

import numpy as np
import pytest

from bench.data.layout import read_category
from bench.views.dataset_page import render_dataset_page
from bench.views.tiles import TILE, Scale, draw_close_up, draw_image
from described_category import SIDE, add_defect, described, mask_of, write_cog
from fake_data import save


@pytest.fixture
def folder(tmp_path):
    return write_cog(tmp_path / "my data")


@pytest.fixture
def describe(folder):
    return lambda: described(folder)


def test_the_page_has_a_row_of_each_class_and_split_in_ascending_order_of_area(describe):
    page = render_dataset_page(*describe(), "")
    assert re.findall(r"<h3>(.*?)</h3>", page) == ["train/good", "test/good", "crack", "dent"]
    captions = [text for text in re.findall(r"<figcaption>(.*?)</figcaption>", page) if "%" in text]
    assert captions == ["000.png, 0.062 %", "000.png, 1.0 %", "002.png, 5.0 %", "001.png, 7.5 %"]
    assert page.count("<img") == 6 + 2 + 2 * 4, "an image of each, and a close-up of each defect"


def test_the_page_has_the_tables_of_the_markdown_and_the_notice_of_the_licence(describe):
    page = render_dataset_page(*describe(), "The images are <theirs>.")
    row = '<tr><th scope="row">dent</th><td>3</td><td>1.0 %</td><td>5.0 %</td><td>7.5 %</td>'
    assert row in page
    assert "None: no two images show the same photograph." in page
    assert "The images are &lt;theirs&gt;." in page


def test_a_name_in_any_script_stands_on_the_page(describe, folder):
    for split in ("test", "ground_truth"):
        (folder / split / "crack").rename(folder / split / "裂纹")
    assert "<h3>裂纹</h3>" in render_dataset_page(*describe(), "")


def test_a_mask_with_a_hole_is_outlined_on_both_edges(folder):
    mask = mask_of((100, 100, 800, 800), side=1000)
    mask[400:600, 400:600] = 0
    add_defect(folder, "dent", 9, mask)
    sample = next(s for s in read_category(folder.parent, "cog").test if s.relative.endswith("dent/009.png"))
    tile = np.array(draw_image(sample, Scale(1000))).astype(int)[TILE // 2]
    yellow = (tile[:, 0] > 240) & (tile[:, 1] > 200) & (tile[:, 2] < 20)
    assert np.count_nonzero(np.diff(yellow.astype(int)) == 1) == 4


def test_images_of_one_category_have_one_scale(describe, folder):
    add_defect(folder, "dent", 3, mask_of((0, 0, 80, 80), side=80))
    category, _ = describe()
    small, large = (next(s for s in category.test if s.relative.endswith(f"dent/00{n}.png")) for n in (0, 3))
    scale = Scale(80)
    empty = np.array(draw_image(small, scale))[1:-1, 1:-1]
    used = (empty != empty[0, 0]).any(axis=2)
    assert abs(np.ptp(np.nonzero(used)[0]) - TILE / 2) < 3
    assert not (np.array(draw_image(large, scale))[1:-1, 1:-1] == empty[0, 0]).all(axis=2).any()


def test_a_defect_of_one_pixel_is_outlined_in_a_large_image(folder):
    mask = np.zeros((1000, 1000), np.uint8)
    mask[500, 500] = 255
    add_defect(folder, "dent", 9, mask)
    category = read_category(folder.parent, "cog")
    sample = next(s for s in category.test if s.relative.endswith("dent/009.png"))
    tile = np.array(draw_image(sample, Scale(1000))).astype(int)
    yellow = (tile[:, :, 0] > 240) & (tile[:, :, 1] > 200) & (tile[:, :, 2] < 20)
    assert yellow.any()
    assert np.abs(np.argwhere(yellow).mean(axis=0) - TILE / 2).max() < 3


def test_a_close_up_shows_where_the_mask_is_densest(folder):
    mask = mask_of((30, 2, 6, 6), (4, 30, 2, 2))
    add_defect(folder, "dent", 9, mask)
    save(np.repeat(mask[:, :, None], 3, axis=2), folder / "test/dent/009.png")
    sample = next(s for s in read_category(folder.parent, "cog").test if s.relative.endswith("dent/009.png"))
    assert np.array(draw_close_up(sample, Scale(SIDE)))[:, :, 0].mean() > 255 * 36 / 256 * 0.8
