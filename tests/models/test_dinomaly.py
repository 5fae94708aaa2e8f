"""Dinomaly: its parts against plain loops, numpy and the authors' steps; what a training step changes and what not."""

import copy
import json
import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate, layer_norm

from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Content
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.dinomaly import Dinomaly
from bench.models.parts.dinomaly_loss import easy_share_at, gradient_weights, hard_mining_loss
from bench.models.parts.dinomaly_network import Block, LinearAttention, Reconstruction, heads_of
from bench.models.parts.feature_cache import cached_features, files_of, unchanged_images
from bench.models.parts.precision import networks_in
from bench.models.parts.reduced_maps import ReducedUpsampling, mean_of_highest
from bench.models.parts.schedules import warm_cosine
from bench.models.parts.stable_adamw import StableAdamW
from bench.models.parts.token_groups import TokenGroups
from stopped_runs import checkpoint, expect_the_same_bits_after_a_stop

SPEC = DataSpec(64, 3, 12)
SMALL = {"backbone": "test_vit", "weights": "none", "levels": [0, 1, 2, 3], "depth": 4, "reduced": 40}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> Dinomaly:
    return Dinomaly(SPEC, **SMALL | settings)


def images(count: int = 3, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def moved(module: nn.Module, by: float = 0.3) -> nn.Module:
    """As if trained: no parameter where it began."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += by * torch.randn_like(parameter)
    return module


# The encoder's tokens


def tokens_by_hand(network: nn.Module, image: Tensor) -> list[Tensor]:
    """All tokens after each block, as the blocks give them: the authors' loop over `encoder.blocks`."""
    tokens, found = network.norm_pre(network.patch_drop(network._pos_embed(network.patch_embed(image)))), []
    for block in network.blocks:
        tokens = block(tokens)
        found.append(tokens)
    return found


@pytest.mark.parametrize(
    ("name", "size", "prefix"),
    [
        ("test_vit", 64, 1),
        ("deit_tiny_distilled_patch16_224", 64, 2),
        ("test_vit2", 64, 1),  # one register, no class token
        ("vit_small_patch14_reg4_dinov2", 56, 5),
    ],
)
def test_a_group_is_the_mean_of_its_blocks_tokens_all_of_them_and_before_the_last_norm(name, size, prefix, tmp_path):
    whole = timm.create_model(name, img_size=size).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    encoder = TokenGroups(name, [[0, 2], [3]], str(tmp_path / "weights.safetensors"), size)
    assert (encoder.prefix, encoder.grid, encoder.width) == (prefix, (4, 4), whole.embed_dim)
    assert encoder.has_class_token == (name != "test_vit2")
    with torch.inference_mode():
        blocks = tokens_by_hand(whole, (images(3, size) - encoder.mean) / encoder.std)
        first, second = encoder(images(3, size))
    torch.testing.assert_close(first, (blocks[0] + blocks[2]) / 2, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(second, blocks[3], rtol=1e-4, atol=1e-4)
    assert len([module for module in encoder.modules() if type(module) is type(whole.blocks[0])]) == 4


def test_an_images_tokens_lie_on_the_disk_once_for_each_group_and_are_read_to_the_same_bits(tmp_path):
    encoder, other = (TokenGroups("test_vit", groups, "none", 64) for groups in ([[0, 1], [2, 3]], [[0, 1, 2], [3]]))
    other.network.load_state_dict(encoder.network.state_dict())
    with torch.no_grad(), cached_features(tmp_path, 1.0), unchanged_images():
        computed, read = encoder(images()), encoder(images())
        other(images())
    assert all(torch.equal(one, two) for one, two in zip(computed, read, strict=True))
    assert len(files_of(tmp_path)) == 3 * (2 + 2)


@pytest.mark.parametrize("name", ["resnet18", "cait_xxs24_224"])
def test_a_network_whose_blocks_do_not_pass_all_tokens_is_refused(name):
    with pytest.raises(UsageError, match=f"{name} is no plain vision transformer"):
        TokenGroups(name, [[1], [2]], "none", 64)


# Bottleneck and decoder


@torch.no_grad()
def test_linear_attention_is_a_weighted_mean_of_all_values_by_elu_plus_one_of_the_products():
    attention, tokens = LinearAttention(12, 3), torch.randn(2, 5, 12)
    moved(attention)
    query, key, value = attention.qkv(tokens).double().split(12, dim=2)

    def positive(vector: Tensor) -> Tensor:
        return torch.where(vector > 0, vector + 1, vector.exp())

    expected = torch.zeros(2, 5, 12, dtype=torch.float64)
    for image in range(2):
        for head in range(3):
            own = slice(4 * head, 4 * head + 4)
            for i in range(5):
                weights = [positive(query[image, i, own]) @ positive(key[image, j, own]) for j in range(5)]
                for j in range(5):
                    expected[image, i, own] += weights[j] / sum(weights) * value[image, j, own]
    torch.testing.assert_close(attention(tokens), attention.proj(expected.float()), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_block_adds_attention_and_a_perceptron_of_normalised_tokens():
    block, tokens = Block(64, 1), torch.randn(2, 5, 64)
    moved(block)
    after = tokens + block.attn(layer_norm(tokens, (64,), block.norm1.weight, block.norm1.bias, 1e-8))
    hidden = block.mlp.fc1(layer_norm(after, (64,), block.norm2.weight, block.norm2.bias, 1e-8))
    exact = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    torch.testing.assert_close(block(tokens), after + block.mlp.fc2(exact), rtol=1e-4, atol=1e-4)


class Plus(nn.Module):
    def __init__(self, number: float) -> None:
        super().__init__()
        self.number = number

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.number


def test_the_decoders_last_blocks_reconstruct_the_encoders_first_group():
    reconstruction = Reconstruction(64, 1, 4, 2, 0.2).eval()
    reconstruction.bottleneck = nn.Identity()
    reconstruction.decoder = nn.ModuleList([Plus(1.0), Plus(10.0), Plus(100.0), Plus(1000.0)])
    first, second = reconstruction(torch.zeros(1, 2, 64))
    assert first.unique().tolist() == [(1111 + 111) / 2]
    assert second.unique().tolist() == [(11 + 1) / 2]


def test_the_bottleneck_drops_a_share_of_numbers_three_times_and_only_in_training():
    reconstruction, shares = Reconstruction(64, 1, 2, 2, 0.25), []
    dropouts = [reconstruction.noise, reconstruction.bottleneck.drop1, reconstruction.bottleneck.drop2]
    for dropout in dropouts:
        dropout.register_forward_hook(lambda _, inputs, output: shares.append((output == 0).float().mean().item()))
    tokens = torch.rand(4, 50, 64) + 1
    reconstruction(tokens)
    assert shares == [pytest.approx(0.25, abs=0.02)] * 3
    with torch.no_grad():
        one, other = (reconstruction.eval()(tokens)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_weights_begin_as_a_truncated_normal_and_biases_at_zero():
    linear = [module for module in Reconstruction(64, 1, 2, 2, 0.2).modules() if isinstance(module, nn.Linear)]
    weights = torch.cat([module.weight.flatten() for module in linear])
    assert weights.abs().max() <= 0.03
    assert weights.std().item() == pytest.approx(0.0099, abs=2e-4)
    assert not any(module.bias.any() for module in linear)


def test_heads_have_64_numbers_as_in_dinov2():
    assert [heads_of(width) for width in (384, 768, 1024, 64)] == [6, 12, 16, 1]


# Loss


def test_the_loss_is_one_minus_the_cosine_of_an_images_whole_features_averaged_over_images_and_groups():
    encoded, decoded = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7)
    expected = [
        1 - float(np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))
        for a, b in zip(encoded.reshape(6, 35).numpy(), decoded.reshape(6, 35).numpy(), strict=True)
    ]
    for share in (0.0, 0.9):
        found = hard_mining_loss(list(encoded), list(decoded), share, 0.1)
        assert found.item() == pytest.approx(np.mean(expected), abs=1e-6)


def gradients(share: float, factor: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    encoded = torch.randn(4, 10, 8, generator=generator, requires_grad=True)
    decoded = torch.randn(4, 10, 8, generator=generator, requires_grad=True)
    hard_mining_loss([encoded], [decoded], share, factor).backward()
    assert encoded.grad is None
    return encoded.detach(), decoded.detach(), decoded.grad


def test_the_gradient_of_all_but_the_hardest_tenth_of_the_batch_is_multiplied_by_the_factor():
    encoded, decoded, plain = gradients(0.0, 0.1)
    _, _, mined = gradients(0.9, 0.1)
    cosine = (encoded * decoded).sum(dim=2) / encoded.norm(dim=2) / decoded.norm(dim=2)
    hardest = cosine.flatten().argsort()[: int(40 * (1 - 0.9))]  # of all four images together
    factors = torch.full((40,), 0.1)
    factors[hardest] = 1
    torch.testing.assert_close(mined, plain * factors.view(4, 10, 1), rtol=1e-5, atol=1e-8)
    assert len(hardest) == 3, "the authors' int(40 * (1 - .9)), which is below 4 by a rounding"


def test_the_easy_share_rises_linearly_and_then_stays():
    assert [easy_share_at(update, 0.9, 1000) for update in (0, 500, 1000, 9999)] == [0, 0.45, 0.9, 0.9]
    assert easy_share_at(0, 0.9, 0) == 0


def test_one_token_at_least_is_hard():
    weights = gradient_weights(torch.randn(1, 2, 8), torch.randn(1, 2, 8), 0.99, 0.1)
    assert sorted(weights.flatten().tolist()) == [pytest.approx(0.1), 1.0]


# Optimiser


def steps_of_stable_adamw(start, gradients, *, lr, betas, eps, weight_decay, amsgrad) -> np.ndarray:
    """Algorithm 2 of Wortsman et al. as Dinomaly's authors have it, in numpy, for one tensor."""
    value, mean, square, largest = start.copy(), 0.0, 0.0, np.zeros_like(start)
    for number, gradient in enumerate(gradients, start=1):
        mean = betas[0] * mean + (1 - betas[0]) * gradient
        square = betas[1] * square + (1 - betas[1]) * gradient**2
        largest = np.maximum(largest, square)
        denominator = np.sqrt((largest if amsgrad else square) / (1 - betas[1] ** number)) + eps
        shrink = max(1.0, np.sqrt(np.mean((gradient / denominator) ** 2)))
        value = value * (1 - lr * weight_decay)
        value = value - lr / shrink * (mean / (1 - betas[0] ** number)) / denominator
    return value


@pytest.mark.parametrize("amsgrad", [False, True])
def test_the_optimiser_is_stable_adamw(amsgrad):
    generator = np.random.default_rng(0)
    # Gradients that grow a thousandfold, then shrink: both the clipping and the largest moment count.
    gradients = [scale * generator.normal(size=(3, 4)) for scale in (1, 1000, 0.01, 5, 0.001)]
    settings = {"lr": 0.05, "betas": (0.9, 0.99), "eps": 1e-10, "weight_decay": 0.1, "amsgrad": amsgrad}
    start = generator.normal(size=(3, 4))
    parameter = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = StableAdamW([parameter], **settings)
    for gradient in gradients:
        parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
    expected = steps_of_stable_adamw(start, gradients, **settings)
    np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-10)
    others = steps_of_stable_adamw(start, gradients, **settings | {"amsgrad": not amsgrad})
    assert np.abs(expected - others).max() > 1e-4, "the two variants differ here"


def test_where_no_gradient_outgrows_its_moment_the_steps_are_those_of_adamw():
    ours, theirs = (nn.Parameter(torch.ones(5)) for _ in range(2))
    optimizers = (
        StableAdamW([ours], 0.1, weight_decay=0.2, amsgrad=True),
        torch.optim.AdamW([theirs], 0.1, weight_decay=0.2, amsgrad=True),
    )
    for scale in (1.0, 0.8, 0.5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = scale * torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0])
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_its_state_goes_on_where_it_was_saved():
    parameter = nn.Parameter(torch.ones(3))
    other = copy.deepcopy(parameter)
    one = StableAdamW([parameter], 0.1, amsgrad=True)
    parameter.grad = torch.tensor([1.0, 2.0, 3.0])
    one.step()
    two = StableAdamW([other], 0.1, amsgrad=True)
    two.load_state_dict(copy.deepcopy(one.state_dict()))
    with torch.no_grad():
        other.copy_(parameter)
    other.grad = parameter.grad.clone()
    one.step()
    two.step()
    assert torch.equal(parameter, other)


def test_the_learning_rate_is_the_authors_warm_up_and_cosine():
    warm_up = np.linspace(0, 2e-3, 100)
    updates = np.arange(9900)
    falling = 2e-4 + 0.5 * (2e-3 - 2e-4) * (1 + np.cos(np.pi * updates / 9900))
    found = [2e-3 * warm_cosine(update, 10_000, 100, 0.1) for update in range(10_000)]
    np.testing.assert_allclose(found, np.concatenate([warm_up, falling]), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("warm_up", "highest"), [(4, 3), (100, 9)])
def test_the_rate_falls_to_its_end_with_the_last_update_and_rises_in_a_training_shorter_than_the_warm_up(
    warm_up, highest
):
    model = make(warm_up=warm_up)
    model.trainer = SimpleNamespace(estimated_stepping_batches=10)
    configured = model.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == 0
    assert max(rates[:10]) == rates[highest] == pytest.approx(2e-3)
    if warm_up < 10:
        assert rates[9] < 4e-4
        assert rates[10] == pytest.approx(2e-4)


# Map and score


def authors_map(distance: Tensor, size: int, reduced: int) -> Tensor:
    """`cal_anomaly_maps` and `evaluation_batch` of the authors' code."""
    enlarged = interpolate(distance[:, None], size=size, mode="bilinear", align_corners=True)
    smaller = interpolate(enlarged, size=reduced, mode="bilinear", align_corners=False)
    offset = torch.arange(5) - 2.0
    kernel = torch.exp(-(offset[:, None] ** 2 + offset**2) / (2 * 4.0**2))
    return conv2d(smaller, (kernel / kernel.sum())[None, None], padding=2)[:, 0]


def authors_score(reduced: Tensor) -> Tensor:
    flat = reduced.flatten(1).sort(dim=1, descending=True)[0]
    return flat[:, : int(flat.shape[1] * 0.01)].mean(dim=1)


@pytest.mark.parametrize(("size", "reduced"), [(392, 256), (64, 64), (98, 128)])
def test_the_map_is_the_authors_enlarged_reduced_and_blurred_one(size, reduced):
    distance = torch.rand(2, 7, 7)
    found = ReducedUpsampling((7, 7), size, reduced, 4.0)
    torch.testing.assert_close(found(distance), authors_map(distance, size, reduced), rtol=1e-4, atol=1e-6)
    expected = interpolate(found(distance)[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(found.enlarge(found(distance)), expected, rtol=1e-4, atol=1e-6)


@torch.no_grad()
def test_a_score_is_the_mean_of_the_highest_hundredth_of_the_reduced_map_of_both_groups():
    model = make().eval()
    moved(model.reconstruction)
    groups = model.encoder(images())
    distances = []
    for encoded, decoded in zip(groups, model.reconstruction((groups[0] + groups[1]) / 2), strict=True):
        pairs = zip(encoded[:, 1:].flatten(0, 1), decoded[:, 1:].flatten(0, 1), strict=True)
        distances.append(torch.stack([1 - (a @ b) / a.norm() / b.norm() for a, b in pairs]).view(3, 4, 4))
    expected = authors_map((distances[0] + distances[1]) / 2, 64, 40)
    found = model(images())
    torch.testing.assert_close(found.score, authors_score(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        found.map, interpolate(expected[:, None], size=64, mode="bilinear")[:, 0], rtol=1e-4, atol=1e-6
    )


def test_the_mean_of_the_highest_is_over_the_share_of_the_pixels_that_count():
    values = torch.randperm(10_000).float().view(1, 100, 100)
    assert mean_of_highest(values, 0.01).item() == np.mean(range(9900, 10_000))
    half = values.masked_fill(values >= 5000, -torch.inf)
    assert mean_of_highest(half, 0.01).item() == np.mean(range(4950, 5000))
    assert mean_of_highest(values, 1e-6).item() == 9999
    for pixels in range(1, 1200):  # int() of the authors' product
        assert mean_of_highest(torch.arange(pixels).view(1, 1, -1).float(), 0.01).item() == pytest.approx(
            np.mean(range(pixels)[-max(1, int(pixels * 0.01)) :])
        )


@torch.no_grad()
def test_what_lies_in_the_padding_does_not_reach_the_score():
    model = make().eval()
    moved(model.reconstruction)
    inside = Content(Box(0, 0, 64, 32))
    reduced = model.reduced_map(model.encoder(images()))
    expected = authors_score(reduced[:, :20])
    torch.testing.assert_close(model.predict(images(), [inside] * 3).score, expected)


# Recentring


@torch.no_grad()
def test_a_recentred_target_is_the_normalised_difference_of_patch_and_class_token():
    model = make(recentre=True)
    groups = [torch.randn(2, 17, 64) for _ in range(2)]
    targets, _ = model._compared(groups)
    for tokens, target in zip(groups, targets, strict=True):
        for patch in (0, 15):
            difference = tokens[1, 1 + patch] - tokens[1, 0]
            expected = (difference - difference.mean()) / difference.var(correction=0).sqrt()
            torch.testing.assert_close(target[1, patch], expected, rtol=1e-4, atol=1e-5)
    plain, _ = make()._compared(groups)
    assert torch.equal(plain[0], groups[0][:, 1:])


# Training


def test_a_step_reaches_every_parameter_of_bottleneck_and_decoder_and_no_other():
    model = make()
    model.loss(Batch(images(), torch.arange(3)))["loss"].backward()
    learned = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name.split(".")[0] for name in learned} == {"reconstruction"}
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in learned.values())


def test_training_reconstructs_what_it_sees_and_half_precision_learns_as_well():
    for precision in (torch.float32, torch.bfloat16):
        model = make(warm_up=5).train()
        model.trainer = SimpleNamespace(estimated_stepping_batches=60, global_step=0)
        configured, losses = model.configure_optimizers(), []
        for _ in range(60):
            with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
                loss = model.loss(Batch(images(), torch.arange(3)))["loss"]
            assert loss.dtype == torch.float32
            configured["optimizer"].zero_grad()
            loss.backward()
            configured["optimizer"].step()
            configured["lr_scheduler"]["scheduler"].step()
            losses.append(loss.item())
        assert losses[-1] < 0.3 * losses[0]


def test_scores_in_half_precision_are_single_ones():
    model = make().eval()
    moved(model.reconstruction, 0.1)
    exact = model.predict(images())
    model.autocast = torch.bfloat16
    found = model.predict(images())
    assert found.map.dtype == found.score.dtype == torch.float32
    torch.testing.assert_close(found.map, exact.map, rtol=0.05, atol=0.02)
    with networks_in(torch.bfloat16, torch.device("cpu")), torch.no_grad():
        assert all(part.dtype == torch.float32 for part in model.reconstruction(torch.rand(1, 17, 64)))


# Refusals


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(64, 3, 12, patch=32), {}, "--data.texture_patch null"),
        (SPEC, {"groups": 3}, "--model.groups 3"),
        (SPEC, {"depth": 3}, "--model.depth 3"),
        (SPEC, {"levels": []}, "--model.groups"),
        (SPEC, {"backbone": "test_vit2", "recentre": True}, "test_vit2 has no class token"),
        (SPEC, {"backbone": "resnet18"}, "no plain vision transformer"),
        (DataSpec(60, 3, 12), {}, "multiple of 16"),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        Dinomaly(spec, **SMALL | settings)


# Runs


@pytest.fixture
def cell(data_root) -> tuple[str, ...]:
    """Eight images to learn from in two batches, four to hold out."""
    model = ("--model", "dinomaly_cpu", "--model.weights", "none", "--model.backbone", "test_vit", "--model.depth", "2")
    model += ("--model.levels", "[0,1]", "--model.warm_up", "2", "--trainer.max_epochs", "3")
    data = ("--category", "screw", "--data.root", str(data_root), "--data.image_size", "32", "--data.batch_size", "4")
    return (*model, *data, "--data.validation_share", "0.34", "--data.samples_per_epoch", "null")


def test_a_run_that_is_stopped_is_resumed_to_the_same_bits(bench, cell, monkeypatch):
    expect_the_same_bits_after_a_stop(bench, cell, monkeypatch, epoch=2)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(cell):
    """Without dropout, whose draws differ, and without hard mining, which each process does among its own images."""
    found = []
    for count in (1, 2):
        command = [sys.executable, "-m", "bench", "fit", *cell, "--runs", f"on {count}", "--json"]
        command += ["--model.dropout", "0", "--model.easy_share", "0"]
        command += ["--trainer.devices", str(count), "--trainer.accelerator", "cpu"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, done.stderr
        found.append((json.loads(done.stdout), checkpoint(f"on {count}")))
    (alone, one), (together, two) = found
    assert together["cost"]["processes"] == 2
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-4, msg=name)
    for name, value in alone["metrics"].items():
        assert together["metrics"][name] == pytest.approx(value, abs=1e-3), name
