"""Tiles cover each image, and each pixel is judged once, where most of its surroundings are seen."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.datamodule import DefectData
from bench.data.datasets.synthetic import Synthetic
from bench.data.geometry import Box, Content
from bench.data.loading import BatchIndices
from bench.data.tiles import Tiles, images_at_once
from bench.errors import UsageError
from fake_data import write_category

SIZES = [
    Tiles(64, 32, 0),
    Tiles(64, 32, 8),
    Tiles(96, 32, 16),
    Tiles(100, 32, 0),
    Tiles(100, 33, 7),
    Tiles(65, 64, 0),
    Tiles(65, 64, 32),
]


@pytest.mark.parametrize("tiles", SIZES, ids=str)
def test_every_pixel_is_judged_by_exactly_one_tile(tiles):
    judged = np.zeros((tiles.size, tiles.size), int)
    for tile in range(tiles.per_image):
        judged[tiles.own_box(tile).rows_and_columns] += 1
    assert (judged == 1).all()


@pytest.mark.parametrize("tiles", SIZES, ids=str)
def test_a_tile_judges_only_what_it_covers(tiles):
    for tile in range(tiles.per_image):
        own, box = tiles.own_box(tile), tiles.box(tile)
        assert box.left <= own.left < own.right <= box.right
        assert box.top <= own.top < own.bottom <= box.bottom


@pytest.mark.parametrize("tiles", SIZES, ids=str)
def test_a_pixel_is_judged_at_least_half_the_overlap_away_from_a_border_within_the_image(tiles):
    for tile in range(tiles.per_image):
        own, box = tiles.own_box(tile), tiles.box(tile)
        margins = {
            own.left - box.left: box.left == 0,
            box.right - own.right: box.right == tiles.size,
            own.top - box.top: box.top == 0,
            box.bottom - own.bottom: box.bottom == tiles.size,
        }
        assert all(at_edge or margin >= tiles.overlap // 2 for margin, at_edge in margins.items())


def test_neighbours_lie_at_equal_distances_and_share_the_overlap_or_more():
    assert Tiles(64, 32, 0).starts == (0, 32)
    assert Tiles(64, 32, 8).starts == (0, 16, 32)
    assert Tiles(1024, 256, 32).starts == (0, 192, 384, 576, 768)
    assert Tiles(100, 32, 0).starts == (0, 22, 45, 68)


def test_tiles_are_numbered_row_by_row():
    tiles = Tiles(64, 32, 0)
    assert [tiles.box(tile) for tile in range(tiles.per_image)] == [
        Box(0, 0, 32, 32),
        Box(32, 0, 64, 32),
        Box(0, 32, 32, 64),
        Box(32, 32, 64, 64),
    ]


@pytest.mark.parametrize("tiles", SIZES, ids=str)
def test_the_merged_map_of_cut_tiles_is_the_image(tiles):
    image = torch.rand(tiles.size, tiles.size)
    merged = torch.full_like(image, torch.nan)
    for tile in range(tiles.per_image):
        tiles.merge(merged, tiles.cut(image, tile), tile)
    assert torch.equal(merged, image)


def test_what_counts_in_an_image_counts_once_in_its_tiles():
    tiles = Tiles(64, 32, 8)
    region = torch.zeros(64, 64, dtype=torch.bool)
    region[10:40, 5:60] = True
    content = Content(Box(0, 16, 64, 48), region)
    counted = np.zeros((64, 64), int)
    for tile in range(tiles.per_image):
        counted[tiles.box(tile).rows_and_columns] += tiles.content(content, tile).mask(32)
    assert (counted == content.mask(64)).all()


def test_a_tile_outside_the_image_counts_nothing():
    padded = Content(Box(0, 20, 64, 44))
    assert not Tiles(64, 16, 0).content(padded, 0).mask(16).any()


@pytest.mark.parametrize(("tiles", "images"), [(None, 32), (Tiles(64, 32, 0), 8), (Tiles(512, 32, 0), 1)])
def test_a_batch_has_so_many_images_as_have_its_tiles_together(tiles, images):
    assert images_at_once(32, tiles) == images


@pytest.fixture
def root(tmp_path) -> Path:
    write_category(tmp_path, side=64, train=5, good=2, defects={"blob": 2})
    return tmp_path


def data_of(root: Path, **settings) -> DefectData:
    settings = {"image_size": 64, "tile": 32, "validation_share": 0.2, "cache": str(root / "cache"), **settings}
    data = DefectData("screw", 0, "model", root=str(root), **settings)
    data.prepare_data()
    return data


def test_a_model_is_built_for_a_tile_and_learns_from_those_of_all_training_images(root):
    spec = data_of(root).spec
    assert (spec.size, spec.image_size, spec.train_images) == (32, 64, 16)


def test_statistics_see_the_first_tile_of_each_image_then_the_second(root):
    data = data_of(root, batch_size=3)
    batches = list(data.learning_loader([1, 4]))
    whole = torch.cat([batch.image for batch in data.ordered_train_loader([1, 4])])
    assert [len(batch.image) for batch in batches] == [3, 3, 2]
    expected = [data.tiles.cut(image, tile) for tile in range(4) for image in whole]
    assert torch.equal(torch.cat([batch.image for batch in batches]), torch.stack(expected))


def test_an_epoch_takes_each_tile_once_in_an_order_drawn_by_the_seed(root):
    loader = data_of(root).train_dataloader()
    taken = torch.cat([batch.indices for batch in loader]).tolist()
    data = data_of(root)
    assert sorted(taken) == sorted(data.learned_indices(data.training_indices)) != taken


def test_an_image_is_augmented_before_it_is_cut(root):
    settings = {"image_size": 64, "augmentation": "symmetries", "batch_size": 16}
    whole, cut = data_of(root, **settings, tile=None), data_of(root, **settings)
    tiles = cut.tiles
    dataset = cut.split.train_dataset(cut._augmentations()).cut_into(tiles)
    image = whole.split.train_dataset(whole._augmentations())[BatchIndices([2], 1, [7])].image[0]
    for tile in range(tiles.per_image):
        found = dataset[BatchIndices([2 * tiles.per_image + tile], 1, [7])].image[0]
        assert torch.equal(found, tiles.cut(image, tile))


def test_test_images_and_held_out_ones_are_scored_whole(root):
    data = data_of(root, batch_size=8)
    assert [tuple(batch.image.shape) for batch in data.test_dataloader()] == [(2, 3, 64, 64)] * 2
    assert next(iter(data.ordered_train_loader(data.validation_indices))).image.shape == (1, 3, 64, 64)
    assert next(iter(data.val_dataloader())).image.shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"tile": 64}, "--data.tile 64 does not lie between 16 and 63"),
        ({"tile": 8}, "--data.tile 8 does not lie between 16 and 63"),
        ({"tile_overlap": 17}, "--data.tile_overlap 17 does not lie between 0 and 16, half of --data.tile"),
        ({"tile_overlap": -1}, "--data.tile_overlap -1 does not lie"),
        ({"tile": None, "tile_overlap": 4}, "--data.tile_overlap 4 is shared by tiles: set --data.tile"),
        ({"random_pose": True, "crop": 48}, "--data.random_pose true moves images under their --data.tile"),
        ({"fold": 0}, "--data.tile cuts labelled defects out of their images"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(root, settings, line):
    with pytest.raises(UsageError, match=re.escape(line)):
        data_of(root, **settings)


def test_patches_of_a_texture_and_tiles_exclude_each_other(tmp_path):
    settings = {"image_size": 64, "tile": 32, "texture_patch": 16}
    data = Synthetic("carpet", 0, "model", root=str(tmp_path), **settings)
    with pytest.raises(UsageError, match=r"--data.texture_patch 16 cuts images for training alone"):
        data.prepare_data()


def test_an_object_has_no_patches_that_tiles_could_exclude(root):
    assert data_of(root, texture_patch=16).spec.patch is None
