import pytest
import torch

from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.autoencoder import Autoencoder
from bench.models.parts.windows import SlidingWindows
from bench.models.vae import VAE

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_every_pixel_is_the_mean_over_the_windows_that_see_it():
    windows = SlidingWindows(10, 4, 3)
    maps = torch.rand(2 * len(windows.corners), 4, 4, generator=torch.Generator().manual_seed(1))
    merged = windows.merge(maps)
    for row, column in [(0, 0), (3, 4), (9, 9), (5, 2)]:
        seen = [
            maps[place, row - y, column - x]
            for place, (y, x) in enumerate(windows.corners)
            if 0 <= row - y < 4 and 0 <= column - x < 4
        ]
        torch.testing.assert_close(merged[0, row, column], torch.stack(seen).mean())


def test_the_last_windows_end_at_the_border_whatever_the_stride():
    corners = SlidingWindows(256, 128, 30).corners
    assert sorted({y for y, _ in corners}) == [0, 30, 60, 90, 120, 128]


def test_windows_that_are_cut_and_merged_unchanged_give_the_image():
    windows = SlidingWindows(64, 24, 10)
    torch.testing.assert_close(windows.merge(windows.cut(IMAGES)[:, 0]), IMAGES[:, 0])


def test_a_window_as_large_as_the_image_is_the_image():
    windows = SlidingWindows(64, 64, 30)
    assert windows.cut(IMAGES) is IMAGES


def test_tiles_lie_side_by_side():
    tiles = SlidingWindows(64, 16, 8).tiles(IMAGES)
    assert tiles.shape == (32, 3, 16, 16)
    assert torch.equal(tiles[5], IMAGES[0, :, 16:32, 16:32])


@pytest.mark.parametrize("stride", [0, 17])
def test_a_stride_that_leaves_gaps_is_refused(stride):
    with pytest.raises(UsageError, match=r"--model.stride"):
        SlidingWindows(64, 16, stride)


@pytest.mark.parametrize("residual", ["l2", "ssim"])
def test_an_autoencoder_of_patches_maps_whole_textures_as_the_mean_over_its_windows(residual):
    torch.manual_seed(0)
    model = Autoencoder(DataSpec(64, 3, 10, patch=32), residual=residual, grey=False, sigma=0, stride=20).eval()
    expected = SlidingWindows(64, 32, 20)
    parts = expected.cut(IMAGES)
    output = model.decoder(model.encoder(parts))
    residuals = (output - parts).square().sum(dim=1) if residual == "l2" else 1 - model.ssim(output, parts)
    torch.testing.assert_close(model(IMAGES).map, expected.merge(residuals))


def test_a_vae_of_patches_scores_a_texture_by_the_mean_bound_of_its_windows():
    torch.manual_seed(0)
    patches = VAE(DataSpec(64, 3, 10, patch=32), score="likelihood", stride=32).eval()
    whole = VAE(DataSpec(32, 3, 10), score="likelihood").eval()
    whole.load_state_dict(patches.state_dict(), strict=False)
    tiles = SlidingWindows(64, 32, 32).cut(IMAGES[:1])
    torch.testing.assert_close(patches(IMAGES[:1]).score, whole(tiles).score.mean(dim=0, keepdim=True))
