"""Scores and maps of images that are cut into tiles."""

import pytest
import torch

from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Content
from bench.data.tiles import Tiles
from bench.errors import UsageError
from bench.models.base import Detector, Prediction
from bench.models.cutpaste import CutPaste
from bench.models.padim import PaDiM
from bench.models.patchcore import PatchCore
from learning import learn

TRAIN = torch.rand(7, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PROBES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def tiles_in_order(tiles: Tiles, images: torch.Tensor) -> torch.Tensor:
    """As statistics see them: all first tiles, then all second ones."""
    return torch.cat([tiles.cut(images, tile) for tile in range(tiles.per_image)])


def spec_of(tiles: Tiles, images: int) -> DataSpec:
    return DataSpec(tiles.side, 3, images * tiles.per_image, tiles=tiles)


class Brightness(Detector):
    """Score = the brightest pixel that counts; map = brightness."""

    def forward(self, image):
        grey = image.mean(dim=1)
        return Prediction(self.within(grey).amax(dim=(1, 2)), grey)


@pytest.mark.parametrize("tiles", [Tiles(64, 32, 0), Tiles(64, 32, 10), Tiles(64, 48, 24)], ids=str)
def test_a_score_that_is_a_pixels_is_that_of_the_whole_image(tiles):
    found, whole = Brightness(spec_of(tiles, 1)).predict(PROBES), Brightness(DataSpec(64, 3, 1)).predict(PROBES)
    assert torch.equal(found.map, whole.map)
    assert torch.equal(found.score, whole.score)


def test_only_what_counts_is_scored():
    region = torch.zeros(64, 64, dtype=torch.bool)
    region[40:50, 2:6] = True
    content = [Content(Box(0, 0, 64, 64), region)] * len(PROBES)
    tiles = Tiles(64, 32, 8)
    found = Brightness(spec_of(tiles, 1)).predict(PROBES, content)
    assert torch.equal(found.score, PROBES.mean(dim=1)[:, 40:50, 2:6].amax(dim=(1, 2)))


def test_a_tile_of_which_nothing_counts_has_no_score_whatever_the_method_says():
    class Mean(Detector):
        def forward(self, image):
            return Prediction(image.mean(dim=(1, 2, 3)))

    image = torch.zeros(1, 3, 64, 64)
    image[:, :, :32] = 1.0  # the padding
    found = Mean(spec_of(Tiles(64, 32, 0), 1)).predict(image, [Content(Box(0, 32, 64, 64))])
    assert found.score.tolist() == [0.0]


# Pixels of the image on which a pixel of the map below depends, on each side: 21 of ResNet-18's first level, 4 more for
# the neighbourhood of a patch, 4 for bilinear up-sampling, and 4 for the blur; rounded up.
REACH = 36


def far_from_borders(tiles: Tiles, reach: int) -> torch.Tensor:
    """The pixels whose surroundings, up to `reach`, lie in the tile that judges them, or beyond the image."""
    far = torch.zeros(tiles.size, tiles.size, dtype=torch.bool)
    for tile in range(tiles.per_image):
        own, box = tiles.own_box(tile), tiles.box(tile)
        rows, columns = (
            slice(max(first, start + reach * (start > 0)), min(last, end - reach * (end < tiles.size)))
            for first, last, start, end in (
                (own.top, own.bottom, box.top, box.bottom),
                (own.left, own.right, box.left, box.right),
            )
        )
        far[rows, columns] = True
    return far


def patchcore(spec: DataSpec) -> PatchCore:
    torch.manual_seed(0)
    model = PatchCore(spec, backbone="resnet18", weights="none", levels=[1], sigma=1.0, share=0.002).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("bn2.weight"):  # else a network with random weights leaves out the blocks of its levels
            torch.nn.init.ones_(parameter)
    return model


@pytest.mark.parametrize(("tiles", "all_equal"), [(Tiles(256, 144, 32), False), (Tiles(256, 168, 80), True)])
def test_far_from_the_borders_of_tiles_the_map_is_that_of_the_whole_image(tiles, all_equal):
    image, other = torch.rand(2, 1, 3, 256, 256, generator=torch.Generator().manual_seed(2))
    cut, whole = patchcore(spec_of(tiles, 1)), patchcore(DataSpec(256, 3, tiles.per_image))
    learn(cut, tiles_in_order(tiles, other).split(2))
    whole.load_state_dict({**whole.state_dict(), **resized(cut.state_dict(), whole.state_dict())})
    far = far_from_borders(tiles, REACH)
    expected = whole.predict(image).map
    difference = ((cut.predict(image).map - expected)[0] / expected.max()).abs()
    assert far.float().mean() > 0.4
    assert bool(far.all()) is all_equal
    assert difference[far].max() < 1e-5
    assert all_equal or difference.max() > 1e-3


def resized(state: dict, like: dict) -> dict:
    """The memory bank, with room for as many patches as the other model has."""
    bank = torch.zeros_like(like["bank"])
    bank[: len(state["bank"])] = state["bank"]
    return {"bank": bank, "count": state["count"]}


@pytest.fixture
def padim() -> PaDiM:
    tiles = Tiles(64, 32, 8)
    torch.manual_seed(0)
    model = PaDiM(spec_of(tiles, len(TRAIN)), weights="none", channels=8).eval()
    return learn(model, tiles_in_order(tiles, TRAIN).split(5))


def test_padims_gaussians_of_a_tile_are_those_of_a_model_of_this_tile_alone(padim):
    tiles = padim.spec.tiles
    for tile in range(tiles.per_image):
        torch.manual_seed(0)
        alone = PaDiM(DataSpec(32, 3, len(TRAIN)), weights="none", channels=8).eval()
        learn(alone, tiles.cut(TRAIN, tile).split(3))
        found = padim._predict(tiles.cut(PROBES, tile), None, [tile] * len(PROBES))
        expected = alone.predict(tiles.cut(PROBES, tile))
        torch.testing.assert_close(found.map, expected.map, rtol=1e-4, atol=1e-4)


def test_padim_scores_an_image_as_if_none_of_its_tiles_had_been_learned(padim):
    tiles = padim.spec.tiles
    found = padim.predict_leave_one_out(TRAIN)
    torch.manual_seed(0)
    n = len(TRAIN)
    without = PaDiM(spec_of(tiles, n - 1), weights="none", channels=8).eval()
    # The closed form keeps the regularisation in proportion (see PositionGaussians.left_out).
    without.gaussians.regularisation *= (n - 1) / (n - 2)
    learn(without, tiles_in_order(tiles, TRAIN[1:]).split(4))
    torch.testing.assert_close(found[:1], without.predict(TRAIN[:1]).score, rtol=1e-3, atol=1e-3)


def test_tiles_of_one_image_may_arrive_in_several_batches_and_in_any_number(padim):
    tiles = padim.spec.tiles
    torch.manual_seed(0)
    again = PaDiM(spec_of(tiles, len(TRAIN)), weights="none", channels=8).eval()
    learn(again, tiles_in_order(tiles, TRAIN).split(16))
    torch.testing.assert_close(again.gaussians.mean, padim.gaussians.mean)
    torch.testing.assert_close(again.predict(PROBES).score, padim.predict(PROBES).score, rtol=1e-4, atol=1e-4)


def test_gaussians_that_do_not_fit_into_the_memory_are_refused(monkeypatch):
    monkeypatch.setattr("bench.models.parts.statistics.available_bytes", lambda: 10**6)
    with pytest.raises(UsageError, match=r"a Gaussian of 100 channels at each of 576 positions takes 0\.0 GB"):
        PaDiM(spec_of(Tiles(64, 32, 8), 4), weights="none")


def test_a_density_of_each_location_is_no_model_of_tiles():
    with pytest.raises(UsageError, match=r"density per_location is of whole images; with --data.tile use shared"):
        CutPaste(spec_of(Tiles(64, 32, 0), 4), patch=16, stride=8, density="per_location")
