"""A category whose defects were counted by hand: `cog`, with two kinds of defects."""

import numpy as np

from bench.data.describe.description import Description
from bench.data.describe.measure import describe_category
from bench.data.layout import Category, read_category
from fake_data import save, weave, write_category

SIDE = 40


def mask_of(*boxes, side=SIDE):
    """A mask with these boxes (top, left, height, width) marked."""
    mask = np.zeros((side, side), np.uint8)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = 255
    return mask


def add_defect(folder, kind, number, mask):
    side = len(mask)
    save(weave(side, f"{kind}/{number}"), folder / "test" / kind / f"{number:03}.png")
    save(mask, folder / "ground_truth" / kind / f"{number:03}_mask.png")


def write_cog(root):
    """`cog`: 6 training and 2 good test images, 3 `dent`, 1 `crack`."""
    folder = write_category(root, "cog", side=SIDE, train=6, good=2, defects={})
    add_defect(folder, "dent", 0, mask_of((0, 0, 4, 4)))  # 16 of 1,600 pixels
    add_defect(folder, "dent", 1, mask_of((0, 0, 4, 4), (4, 4, 2, 2), (20, 20, 10, 10)))  # touching at a corner: one
    add_defect(folder, "dent", 2, mask_of((0, 0, 8, 10)))
    add_defect(folder, "crack", 0, mask_of((39, 39, 1, 1)))
    return folder


def described(folder) -> tuple[Category, Description]:
    """A category of the folder's own name, and its description."""
    category = read_category(folder.parent, folder.name)
    return category, describe_category(category, "mvtec_ad")
