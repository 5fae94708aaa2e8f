"""DRAEM: networks, noise, drawing and losses against small independent computations; whole runs."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.draem import DRAEM
from bench.models.parts.draem_drawing import Simulated, Textures, procedural, simulate
from bench.models.parts.draem_losses import ZeroPaddedSSIM, focal_loss
from bench.models.parts.draem_networks import DiscriminativeNetwork, ReconstructiveNetwork
from bench.models.parts.perlin import draw_masks, perlin, turned
from stopped_runs import expect_the_same_bits_after_a_stop

SPEC = DataSpec(32, 3, 12)
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> DRAEM:
    return DRAEM(SPEC, **{"textures": "procedural", "width": 2, "score_window": 5} | settings)


def images(count: int = 3, side: int = 32) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


# Networks


@pytest.mark.parametrize(
    ("network", "width", "millions"), [(ReconstructiveNetwork, 128, 69.05), (DiscriminativeNetwork, 64, 28.37)]
)
def test_the_networks_have_as_many_parameters_as_the_authors(network, width, millions):
    with torch.device("meta"):
        built = network(3, width)
    assert sum(parameter.numel() for parameter in built.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)


@torch.no_grad()
def test_the_reconstruction_passes_a_code_of_a_sixteenth_of_the_side_and_has_no_skips():
    network, shapes = ReconstructiveNetwork(3, 2).eval(), []
    for block in network.encoder:
        block.register_forward_hook(lambda *call: shapes.append(tuple(call[-1].shape[1:])))
    assert network(images()).shape == images().shape
    assert shapes == [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4), (16, 2, 2)]
    network.encoder[-1].register_forward_hook(lambda *call: torch.zeros_like(call[-1]))
    first, *others = network(images())
    assert all(torch.equal(each, first) for each in others), "without its code, nothing of the image is left"


@torch.no_grad()
def test_the_segmentation_sees_reconstruction_and_image_and_each_level_reaches_its_decoder():
    network, image = DiscriminativeNetwork(3, 2).eval(), images()
    plain = network(image, image)
    assert plain.shape == (3, 2, 32, 32)
    assert not torch.equal(network(image.flip(0), image), plain)
    assert not torch.equal(network(image, image.flip(0)), plain)
    for block in network.encoder:
        hook = block.register_forward_hook(lambda *call: torch.zeros_like(call[-1]))
        assert not torch.equal(network(image, image), plain)
        hook.remove()


def test_initial_values_are_the_authors():
    model = make(width=16)
    convolutions = torch.cat([each.flatten() for name, each in model.named_parameters() if each.ndim == 4])
    assert convolutions.mean().item() == pytest.approx(0, abs=1e-3)
    assert convolutions.std().item() == pytest.approx(0.02, rel=0.02)


# Noise and masks


def reference_noise(cells: tuple[int, int], angles: np.ndarray, size: int) -> np.ndarray:
    """Perlin noise of one image, pixel by pixel."""
    found = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            row, column = y * cells[0] / size, x * cells[1] / size
            top, left = int(row), int(column)
            corners = {}
            for down in (0, 1):
                for right in (0, 1):
                    angle = angles[top + down, left + right]
                    offset = (row - top - down, column - left - right)
                    corners[down, right] = offset[0] * math.cos(angle) + offset[1] * math.sin(angle)
            fade = [6 * t**5 - 15 * t**4 + 10 * t**3 for t in (row - top, column - left)]
            sides = [corners[0, right] + fade[0] * (corners[1, right] - corners[0, right]) for right in (0, 1)]
            found[y, x] = math.sqrt(2) * (sides[0] + fade[1] * (sides[1] - sides[0]))
    return found


def test_noise_is_perlins_for_images_of_different_cells_at_once():
    cells, angles = torch.tensor([[1, 4], [2, 2], [4, 1]]), 2 * math.pi * torch.rand(3, 5, 5)
    found = perlin(cells, angles, 16)
    for noise, own, turns in zip(found, cells.tolist(), angles.double().numpy(), strict=True):
        np.testing.assert_allclose(noise.numpy(), reference_noise(tuple(own), turns, 16), atol=1e-5)
    assert found.abs().max() <= 1


@pytest.mark.parametrize("side", [32, 96, 256])
def test_masks_cover_a_small_share_and_most_images_have_some(side):
    masks = draw_masks(100, side, CPU)
    assert masks.dtype == torch.bool
    assert masks.shape == (100, 1, side, side)
    assert 0.02 < masks.float().mean() < 0.09
    assert masks.flatten(1).any(dim=1).float().mean() > 0.6
    assert masks.float().mean(dim=(1, 2, 3)).max() < 0.5


def test_a_turn_by_a_right_angle_is_exact_and_beyond_the_border_is_0():
    image = images(2)
    found = turned(image, torch.tensor([math.pi / 2, 0.0]))
    assert any(torch.allclose(found[0], torch.rot90(image[0], times, (1, 2)), atol=1e-4) for times in (1, 3))
    torch.testing.assert_close(found[1], image[1], rtol=0, atol=1e-5)
    tilted = turned(torch.ones(1, 1, 32, 32), torch.tensor([math.pi / 4]))
    assert (tilted[0, 0, 0, 0], tilted[0, 0, 16, 16]) == (0, 1)


# Drawing


def test_an_image_without_a_pasted_texture_is_unchanged_and_so_is_all_outside_the_mask():
    image = images(16)
    found = simulate(image, Textures(None, 32), share=0.5, turned_share=0.0)
    assert torch.equal(found.normal, image)
    touched = found.mask.flatten(1).any(dim=1)
    assert 0 < touched.sum() < 16
    assert torch.equal(found.pasted[~touched], image[~touched])
    outside = ~found.mask.expand_as(image)
    assert torch.equal(found.pasted[outside], image[outside])
    assert not torch.equal(found.pasted[touched], image[touched])
    none = simulate(image, Textures(None, 32), share=0.0, turned_share=0.0)
    assert torch.equal(none.pasted, image)
    assert not none.mask.any()


def test_a_pasted_pixel_is_texture_for_20_to_100_percent(monkeypatch):
    textures = Textures(None, 32)
    monkeypatch.setattr(textures, "draw", lambda count: torch.ones(count, 3, 32, 32))
    found = simulate(torch.zeros(64, 3, 32, 32), textures, share=1.0, turned_share=0.0)
    shares = torch.stack([each[:, mask[0]].mean() for each, mask in zip(found.pasted, found.mask, strict=True)
                          if mask.any()])  # fmt: skip
    assert shares.min() >= 0.2
    assert shares.max() <= 1
    assert shares.max() - shares.min() > 0.5


def test_a_share_of_the_normal_images_is_turned_and_both_networks_see_the_turned_one():
    image = images(32)
    found = simulate(image, Textures(None, 32), share=0.0, turned_share=0.3)
    same = torch.tensor([torch.equal(one, other) for one, other in zip(found.normal, image, strict=True)])
    assert 0 < (~same).sum() < 20
    assert torch.equal(found.pasted, found.normal)


def test_a_seed_draws_alike_and_another_one_otherwise():
    found = []
    for draw in (0, 0, 1):
        torch.manual_seed(draw)
        found.append(simulate(images(4), Textures(None, 32), 1.0, 0.5))
    for one, other in zip(found[0], found[1], strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(found[0].pasted, found[2].pasted)


def test_procedural_textures_differ_and_lie_between_0_and_1():
    found = procedural(20, 32)
    assert found.shape == (20, 3, 32, 32)
    assert 0 <= found.min() < found.max() <= 1
    assert (found.flatten(1).std(dim=1) > 0.01).float().mean() > 0.8
    assert len(found.unique(dim=0)) == 20


def test_textures_of_a_folder_are_changed_and_grey_data_get_grey_ones(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    textures = Textures(str(tmp_path), 32)
    found = textures.draw(8)
    assert found.shape == (8, 3, 32, 32)
    assert len(found.unique(dim=0)) == 8, "one image, changed eight times"
    grey = simulate(torch.zeros(4, 1, 32, 32), textures, 1.0, 0.0)
    assert grey.pasted.shape == (4, 1, 32, 32)


# Losses and scores


def test_ssim_is_that_of_windows_with_zeros_beyond_the_border():
    one, other = (torch.rand(2, 3, 16, 16, dtype=torch.float64) for _ in range(2))
    weight = torch.tensor([[math.exp(-((y - 5) ** 2 + (x - 5) ** 2) / 4.5) for x in range(11)] for y in range(11)])
    weight = (weight / weight.sum()).double().expand(3, 1, 11, 11)

    def average(values: Tensor) -> Tensor:
        return torch.nn.functional.conv2d(values, weight, padding=5, groups=3)

    mean, other_mean = average(one), average(other)
    variance, other_variance = average(one**2) - mean**2, average(other**2) - other_mean**2
    covariance = average(one * other) - mean * other_mean
    expected = (2 * mean * other_mean + 1e-4) * (2 * covariance + 9e-4)
    expected /= (mean**2 + other_mean**2 + 1e-4) * (variance + other_variance + 9e-4)
    found = ZeroPaddedSSIM(16)(one.float(), other.float())
    assert found.item() == pytest.approx(expected.mean().item(), abs=1e-5)
    assert ZeroPaddedSSIM(16)(one.float(), one.float()).item() == pytest.approx(1, abs=1e-6)


def test_the_focal_loss_is_the_authors():
    logits, mask = torch.randn(2, 2, 5, 7), torch.rand(2, 1, 5, 7) < 0.3
    probability = torch.softmax(logits.double(), dim=1).permute(0, 2, 3, 1).reshape(-1, 2)
    terms = []
    for (normal, anomalous), is_anomalous in zip(probability.tolist(), mask.flatten().tolist(), strict=True):
        key = (1e-5, 1 - 1e-5) if is_anomalous else (1 - 1e-5, 1e-5)
        right = key[0] * normal + key[1] * anomalous + 1e-5
        terms.append(-((1 - right) ** 2) * math.log(right))
    assert focal_loss(logits, mask).item() == pytest.approx(np.mean(terms), rel=1e-4)
    sure = torch.tensor([-200.0, 200.0]).view(1, 2, 1, 1)
    assert focal_loss(sure, torch.zeros(1, 1, 1, 1, dtype=torch.bool)).isfinite(), "also where a pixel is all wrong"


def test_the_loss_is_the_sum_of_its_three_terms_of_the_pasted_image_and_the_normal_one():
    model, normal = make().eval(), images(2)
    mask = torch.zeros(2, 1, 32, 32, dtype=torch.bool)
    mask[:, :, 4:9, 5:20] = True
    pasted = torch.where(mask, 0.5, normal)
    with torch.no_grad():
        found = model.terms(Simulated(normal, pasted, mask))
        reconstruction = model.reconstruct(pasted)
        logits = model.discriminate(reconstruction, pasted)
    assert found["l2"].item() == pytest.approx((reconstruction - normal).square().mean().item(), rel=1e-5)
    assert found["ssim"].item() == pytest.approx(1 - model.ssim(reconstruction, normal).item(), rel=1e-5)
    assert found["focal"].item() == pytest.approx(focal_loss(logits, mask).item(), rel=1e-5)
    assert found["loss"].item() == pytest.approx(sum(found[name].item() for name in ("l2", "ssim", "focal")), rel=1e-5)


@torch.no_grad()
def test_the_map_is_the_probability_and_the_score_the_largest_mean_of_a_window():
    model = make().eval()
    logits = model.discriminate(model.reconstruct(images()), images())
    expected = torch.softmax(logits, dim=1)[:, 1]
    score, anomaly_map, _ = model(images())
    torch.testing.assert_close(anomaly_map, expected)
    padded = np.pad(expected.numpy(), ((0, 0), (2, 2), (2, 2)))
    for each, own in zip(padded, score.tolist(), strict=True):
        means = [each[y : y + 5, x : x + 5].mean() for y in range(32) for x in range(32)]
        assert own == pytest.approx(max(means), rel=1e-5)


def test_every_number_gets_a_gradient_and_the_rate_falls_to_a_fifth_twice():
    from types import SimpleNamespace

    model = make().train()
    model.loss(Batch(images(4), torch.arange(4)))["loss"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.trainer = SimpleNamespace(estimated_stepping_batches=100)
    found = model.configure_optimizers()
    schedule = found["lr_scheduler"]["scheduler"]
    rates = [schedule.lr_lambdas[0](step) for step in (0, 79, 80, 89, 90, 99)]
    assert rates == pytest.approx([1, 1, 0.2, 0.2, 0.04, 0.04])


def test_training_lowers_the_loss_of_a_few_images():
    model = make(width=4, anomalous_share=1.0, turned_share=0.0).train()
    optimizer, losses = torch.optim.Adam(model.parameters(), 3e-3), []
    for _ in range(25):
        loss = model.loss(Batch(images(4), torch.arange(4)))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


# Refusals


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(32, 3, 12, patch=16), {}, "--data.texture_patch null"),
        (DataSpec(48, 3, 12), {}, "--data.image_size"),
        (SPEC, {"score_window": 4}, "--model.score_window"),
        (SPEC, {"textures": "folder"}, "--model.textures procedural"),
        (SPEC, {"image_folder": "dtd"}, "--model.image_folder"),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        DRAEM(spec, **{"textures": "procedural", "width": 2} | settings)


def test_missing_textures_are_one_line(refuse, data_root):
    words = ("fit", "--model", "draem", "--category", "screw", "--data.root", data_root)
    assert "--model.image_folder FOLDER" in refuse(*words)
    assert "no folder of images at gone" in refuse(*words, "--model.image_folder", "gone")


# Runs


@pytest.fixture
def cell(data_root) -> tuple[str, ...]:
    """Eight images to learn from, four to hold out."""
    model = ("--model", "draem_cpu", "--model.width", "2", "--model.score_window", "5", "--trainer.max_epochs", "2")
    data = ("--category", "screw", "--data.root", str(data_root), "--data.image_size", "32", "--data.batch_size", "4")
    held_out = ("--data.validation_share", "0.34", "--data.samples_per_epoch", "null")
    return (*model, *data, *held_out, "--trainer.accelerator", "cpu")


def test_a_run_that_is_stopped_is_resumed_to_the_same_bits(bench, cell, monkeypatch):
    expect_the_same_bits_after_a_stop(bench, cell, monkeypatch, epoch=1)


def test_the_record_names_where_the_textures_are_from(bench, cell, tmp_path):
    made = json.loads(bench("fit", *cell, "--runs", "made", "--json").stdout)
    assert made["config"]["model"]["textures"] == "procedural"
    assert "images" not in made["weights"]
    folder = tmp_path / "dtd" / "banded"
    folder.mkdir(parents=True)
    Image.new("RGB", (20, 20), (9, 99, 200)).save(folder / "a.jpg")
    words = ("--model.textures", "folder", "--model.image_folder", str(folder.parent), "--runs", "dtd", "--json")
    outcome = bench("fit", *cell, *words)
    assert outcome.status == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["weights"]["images"] == "dtd (1 image)"
    assert found["fingerprint"] != made["fingerprint"]


@pytest.mark.slow
def test_two_processes_draw_numbers_of_their_own_and_learn(cell):
    command = [sys.executable, "-m", "bench", "fit", *cell, "--trainer.devices", "2", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cost"]["processes"] == 2
