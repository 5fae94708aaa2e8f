"""SuperSimpleNet and SimpleNet: noise, losses, heads and steps against plain formulas of the papers and their code."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, interpolate
from torchvision.transforms import GaussianBlur

from bench.config.presets import read_preset
from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Content
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.parts.patch_features import patch_features
from bench.models.parts.perlin import perlin, random_regions
from bench.models.parts.simplenet_network import UpscaledFeatures, focal, truncated_l1
from bench.models.super_simple_net import SuperSimpleNet
from stopped_runs import expect_the_same_bits_after_a_stop

SPEC = DataSpec(64, 3, 12)
SMALL = {"backbone": "mobilenetv2_100", "weights": "none", "levels": [2, 3], "hidden": 16}
SIMPLE = {"patch_features": 24, "perlin_threshold": None, "classification_channels": None, "use_focal": False}
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> SuperSimpleNet:
    model = SuperSimpleNet(SPEC, **SMALL | {"classification_channels": 8} | settings)
    model.trainer = SimpleNamespace(estimated_stepping_batches=100)
    return model


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def batch(count: int = 4) -> Batch:
    return Batch(images(count), torch.arange(count))


# Noise


def plain_perlin(angles: Tensor, rows: int, columns: int, side: int) -> Tensor:
    """Pixel by pixel, as Perlin describes it."""
    found = torch.zeros(side, side, dtype=torch.float64)
    for y in range(side):
        for x in range(side):
            v, u = y * rows / side, x * columns / side
            i, j = int(v), int(u)
            corners = {}
            for a in (0, 1):
                for b in (0, 1):
                    angle = float(angles[i + a, j + b])
                    corners[a, b] = math.cos(angle) * (v - i - a) + math.sin(angle) * (u - j - b)
            fade = [6 * t**5 - 15 * t**4 + 10 * t**3 for t in (v - i, u - j)]
            left, right = (corners[0, b] + fade[0] * (corners[1, b] - corners[0, b]) for b in (0, 1))
            found[y, x] = math.sqrt(2) * (left + fade[1] * (right - left))
    return found


def test_perlin_noise_is_that_of_plain_loops_with_any_number_of_cells_along_each_axis():
    cells = torch.tensor([[1, 1], [2, 8], [16, 4]])
    angles = 2 * math.pi * torch.rand(3, 17, 17, dtype=torch.float64)
    found = perlin(cells, angles, 16)
    for field, each, (rows, columns) in zip(found, angles, cells.tolist(), strict=True):
        torch.testing.assert_close(field.double(), plain_perlin(each, rows, columns, 16), rtol=0, atol=1e-6)


@pytest.mark.parametrize("side", [4, 28, 64])
def test_half_of_the_regions_are_left_empty_and_the_others_lie_where_noise_is_high(side):
    masks = random_regions(2000, side, 0.0, CPU)
    assert masks.shape == (2000, 1, side, side)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    filled = masks.flatten(1).any(dim=1)
    assert 0.4 < filled.float().mean() <= 0.54
    assert 0.3 < masks[filled].mean() < 0.6, "noise is as often above 0 as below it, and 0 at the corners of cells"
    assert random_regions(2000, side, 0.6, CPU).mean() < masks.mean() / 3


def test_training_adds_noise_where_the_mask_is_1_and_nowhere_else(monkeypatch):
    model, seen, masks = make(noise=0.5), [], []
    judge, regions = model.judge, model.regions
    monkeypatch.setattr(model, "judge", lambda adapted, other: seen.append(adapted) or judge(adapted, other))
    monkeypatch.setattr(model, "regions", lambda *of: masks.append(regions(*of)) or masks[-1])
    features = model.embed(model.backbone(images()))
    model.terms(features)
    clean = model.adaptor(torch.cat([features, features]))
    changed = seen[0] - clean
    inside = masks[0].expand_as(changed) > 0
    assert not changed[~inside].any()
    assert changed[inside].std().item() == pytest.approx(0.5, rel=0.05)


def test_simplenets_noise_is_everywhere_in_the_second_copy_of_each_batch():
    mask = make(**SIMPLE).regions(8, CPU)
    assert not mask[:4].any()
    assert mask[4:].all()


# Features


def test_levels_are_enlarged_to_twice_the_first_with_aligned_corners_then_averaged_over_nine():
    levels = [torch.randn(2, 3, 4, 4), torch.randn(2, 5, 2, 2)]
    embed = UpscaledFeatures([(3, 4, 4), (5, 2, 2)])
    found = embed(levels)
    assert (embed.channels, embed.side) == (8, 8)
    position = torch.arange(8) * 3 / 7  # of each new position among the old ones: the first and the last are kept
    before = position.long().clamp_max(2)
    weights = torch.zeros(8, 4).scatter_(1, before[:, None], (1 - (position - before))[:, None])
    weights.scatter_add_(1, before[:, None] + 1, (position - before)[:, None])
    larger = torch.einsum("yi,bcij,xj->bcyx", weights, levels[0], weights)
    padded = nn.functional.pad(larger, (1, 1, 1, 1))
    expected = sum(padded[:, :, y : y + 8, x : x + 8] for y in range(3) for x in range(3)) / 9
    torch.testing.assert_close(found[:, :3], expected)


def test_simplenets_features_are_patchcores_as_maps():
    model = make(**SIMPLE)
    levels = model.backbone(images())
    found = model.embed(levels)
    assert found.shape == (4, 24, 8, 8)
    assert torch.equal(found.flatten(2).mT, patch_features(levels, 24, 24))


# Losses


def test_the_truncated_l1_loss_is_that_of_both_papers_code():
    anomalies, mask = torch.randn(3, 1, 5, 5), (torch.rand(3, 1, 5, 5) > 0.7).float()
    normal, anomalous = anomalies[mask == 0], anomalies[mask > 0]
    expected = torch.clip(normal + 0.5, min=0).mean() + torch.clip(-anomalous + 0.5, min=0).mean()
    torch.testing.assert_close(truncated_l1(anomalies, mask, 0.5), expected)
    torch.testing.assert_close(
        truncated_l1(anomalies, torch.zeros_like(mask), 0.5), torch.clip(anomalies + 0.5, min=0).mean()
    )


def test_the_focal_loss_is_that_of_the_authors_on_probabilities():
    logits, target = 3 * torch.randn(50), (torch.rand(50) > 0.5).float()
    probability = logits.sigmoid()
    right = probability * target + (1 - probability) * (1 - target)
    expected = (binary_cross_entropy(probability, target, reduction="none") * (1 - right) ** 4).mean()
    torch.testing.assert_close(focal(logits, target), expected)
    assert focal(torch.tensor([-200.0]), torch.ones(1)).item() == pytest.approx(200), "not cut where exp is 0"


def test_simplenets_loss_is_that_of_its_discriminator_with_signs_changed():
    model = make(**SIMPLE, noise=0.3).train()
    features = model.embed(model.backbone(images()))
    torch.manual_seed(3)
    found = model.terms(features)
    assert set(found) == {"truncated_l1"}
    torch.manual_seed(3)
    adapted = model.adaptor(torch.cat([features, features]))
    true, fake = adapted[:4], (adapted + 0.3 * torch.randn_like(adapted))[4:]
    scores = -model.segmentation(torch.cat([true, fake]))
    expected = torch.clip(0.5 - scores[:4], min=0).mean() + torch.clip(0.5 + scores[4:], min=0).mean()
    torch.testing.assert_close(found["truncated_l1"], expected)


def test_an_image_is_defective_for_the_classification_head_where_any_position_has_noise(monkeypatch):
    model = make().train()
    mask = torch.zeros(8, 1, 16, 16)
    mask[2, 0, 3, 3] = 1
    monkeypatch.setattr(model, "regions", lambda *_: mask)
    judged = []
    monkeypatch.setattr(model, "judge", lambda a, s: judged.append(SuperSimpleNet.judge(model, a, s)) or judged[-1])
    found = model.terms(model.embed(model.backbone(images())))
    target = torch.tensor([0, 0, 1, 0, 0, 0, 0, 0.0])
    torch.testing.assert_close(found["classification"], focal(judged[0][1], target))


# Heads


@torch.no_grad()
def test_the_score_is_the_classification_heads_logit_of_what_the_paper_pools():
    model = make().eval()
    adapted = model.adaptor(model.embed(model.backbone(images())))
    anomalies = model.segmentation(adapted)
    head = model.classification
    assert head is not None
    convolved = head.convolution(torch.cat([adapted, anomalies], dim=1))
    pooled = [f(each.flatten(2), dim=2) for each in (convolved, anomalies) for f in (torch.amax, torch.mean)]
    expected = torch.cat(pooled, dim=1) @ head.linear.weight[0] + head.linear.bias
    prediction = model(images())
    torch.testing.assert_close(prediction.score, expected)
    larger = interpolate(anomalies, 64, mode="bilinear", align_corners=False)
    torch.testing.assert_close(prediction.map, GaussianBlur(25, 4.0)(larger)[:, 0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_without_a_classification_head_the_score_is_the_largest_position_within_the_image():
    model = make(**SIMPLE).eval()
    grid = model.segmentation(model.adaptor(model.embed(model.backbone(images()))))[:, 0]
    assert torch.equal(model.predict(images()).score, grid.amax(dim=(1, 2)))
    top = model.predict(images(), [Content(Box(0, 0, 64, 32))] * 4).score
    assert torch.equal(top, grid[:, :4].amax(dim=(1, 2)))


@torch.no_grad()
def test_features_for_classification_are_adapted_or_the_networks_own():
    models = [make(adapt_classification=adapted).eval() for adapted in (True, False)]
    models[1].load_state_dict(models[0].state_dict())
    first, second = (model(images()) for model in models)
    assert torch.equal(first.map, second.map)
    assert not torch.equal(first.score, second.score)


@pytest.mark.parametrize("stops", [True, False])
def test_the_classification_head_leaves_the_segmentation_head_alone_or_not(stops):
    model = make(stop_gradient=stops, noise=3.0).train()
    loss = model.terms(model.embed(model.backbone(images())))["classification"]
    loss.backward()
    assert (model.segmentation[0].weight.grad is None) == stops
    assert model.adaptor.weight.grad is not None


@pytest.mark.parametrize("settings", [{}, {"adapt_classification": False}, SIMPLE], ids=["icpr", "jims", "simplenet"])
def test_every_trained_parameter_gets_a_gradient_in_every_step(settings):
    model = make(**settings).train()
    for _ in range(3):
        model.zero_grad()
        model.loss(batch(1))["loss"].backward()
        lacking = [name for name, each in model.named_parameters() if each.requires_grad and each.grad is None]
        assert not lacking
    assert not any(name.startswith("backbone.") for name, each in model.named_parameters() if each.requires_grad)


# Training


def test_the_rates_are_the_papers_and_fall_after_80_and_90_percent_of_training():
    configured = make().configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01, 1e-5, 1e-5]
    rates = []
    for _ in range(100):
        rates.append(tuple(group["lr"] for group in optimizer.param_groups))
        optimizer.step()
        schedule.step()
    for update, factor in ((0, 1.0), (79, 1.0), (80, 0.4), (89, 0.4), (90, 0.16), (99, 0.16)):
        assert rates[update] == pytest.approx([factor * rate for rate in (1e-4, 2e-4, 2e-4)])


def test_the_l2_penalty_is_that_of_torchs_adam():
    ours, theirs = (make(**SIMPLE, noise=3.0, weight_decay=0.0, l2_penalty=each).train() for each in (0.1, 0.0))
    theirs.load_state_dict(ours.state_dict())
    optimizers = [
        ours.configure_optimizers()["optimizer"],
        torch.optim.Adam(theirs.segmentation.parameters(), 2e-4, weight_decay=0.1),
    ]
    for _ in range(3):
        for model, optimizer in zip((ours, theirs), optimizers, strict=True):
            torch.manual_seed(4)
            optimizer.zero_grad()
            model.loss(batch())["loss"].backward()
            optimizer.step()
        theirs.adaptor.load_state_dict(ours.adaptor.state_dict())
    for found, expected in zip(ours.segmentation.parameters(), theirs.segmentation.parameters(), strict=True):
        torch.testing.assert_close(found, expected)
    held_out = ours.eval().loss(batch())
    assert held_out["loss"] == held_out["truncated_l1"], "what is watched on held-out images has no penalty"


@pytest.mark.parametrize("settings", [{}, SIMPLE], ids=["supersimplenet", "simplenet"])
def test_training_learns_to_tell_noise_from_features(settings):
    model = make(**settings, noise=3.0, learning_rate=1e-2, adaptor_rate=1e-3).train()
    optimizer, losses = model.configure_optimizers()["optimizer"], []
    for _ in range(60):
        optimizer.zero_grad()
        terms = model.loss(batch())
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["truncated_l1"].item())
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_only_the_backbone_computes_in_half_precision():
    model, dtypes = make().train(), []
    for module in (model.backbone.network.get_submodule("conv_stem"), model.adaptor, model.segmentation[0]):
        module.register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(batch())["loss"]
    assert set(dtypes[:-2]) == {torch.bfloat16}
    assert dtypes[-2:] == [torch.float32, torch.float32]
    loss.backward()
    dtypes.clear()
    model.eval().autocast = torch.bfloat16
    score = model.predict(images()).score
    assert set(dtypes[:-2]) == {torch.bfloat16}
    assert dtypes[-2:] == [torch.float32, torch.float32]
    assert score.unique().numel() == 4


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(64, 3, 12, patch=32), {}, "--data.texture_patch null"),
        (SPEC, {"perlin_threshold": 1.0}, "--model.perlin_threshold"),
        (SPEC, {"use_focal": False}, "--model.use_focal"),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        SuperSimpleNet(spec, **SMALL | settings)


def test_the_class_has_the_settings_of_supersimplenet_and_simplenet_is_as_its_docstring_says():
    first, second = (read_preset("model", name).settings["model"] for name in ("supersimplenet", "simplenet_paper"))
    assert {key for key in first if first[key] != second[key]} == {
        *("patch_features", "perlin_threshold", "classification_channels", "use_focal"),
        *("gamma", "weight_decay", "l2_penalty"),
    }


def test_a_run_that_is_stopped_is_resumed_to_the_same_bits(bench, data_root, monkeypatch):
    cell = (
        *("--model", "supersimplenet_mobilenetv2", "--category", "screw", "--data.root", data_root),
        *("--model.weights", "none", "--data.image_size", "64", "--data.samples_per_epoch", "8"),
        *("--data.validation_share", "0.25", "--trainer.max_epochs", "2"),
    )
    expect_the_same_bits_after_a_stop(bench, cell, monkeypatch, epoch=1)
