"""FastFlow: the flow against its definition, autograd and FrEIA; its map and loss against the field's formulas."""

import copy
import json
import math
import subprocess
import sys

import pytest
import torch
from lightning import Callback, Trainer
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.data.datamodule import DataSpec
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.fastflow import FastFlow
from bench.models.parts.fastflow_flow import CouplingStep, Flow
from bench.models.parts.precision import networks_in
from bench.runs.callbacks import EpochSeed
from stopped_runs import checkpoint, expect_the_same_bits_after_a_stop

SPEC = DataSpec(64, 3, 12)
SMALL = {"backbone": "mobilenetv2_100", "weights": "none", "levels": [1, 2], "steps": 3}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> FastFlow:
    return FastFlow(SPEC, **SMALL | settings)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def moved(module: nn.Module, by: float = 0.3) -> nn.Module:
    """As if trained: no parameter where it began."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += by * torch.randn_like(parameter)
    return module


def made_flow(channels: int, steps: int = 4, by: float = 0.3) -> Flow:
    flow = moved(Flow(channels, steps, alternate=True, hidden_ratio=1.0, clamp=2.0), by)
    assert isinstance(flow, Flow)
    return flow


# The flow


@pytest.mark.parametrize("channels", [2, 5])
def test_the_log_determinant_is_that_of_the_jacobian_that_autograd_finds(channels):
    flow, features = made_flow(channels).double(), torch.randn(3, channels, 3, 4, dtype=torch.float64)
    _, found = flow(features)
    for image, own in zip(features, found, strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: flow(x[None])[0][0], image)
        expected = torch.linalg.slogdet(jacobian.reshape(image.numel(), -1)).logabsdet
        torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-9)


def test_a_flow_of_the_papers_depth_is_inverted_to_1e_4_in_single_precision():
    flow, features = made_flow(64, 20, 0.05), torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        latent = flow(features)[0]
        assert (latent - features).abs().mean() > 0.1
        torch.testing.assert_close(flow.inverse(latent), features, rtol=0, atol=1e-4)


def test_a_step_is_the_block_of_freia():
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

    step = CouplingStep(7, 3, hidden_ratio=0.5, clamp=1.5)
    moved(step)
    theirs = SequenceINN(7, 5, 6)
    network = copy.deepcopy(step.network)
    theirs.append(AllInOneBlock, subnet_constructor=lambda *_: network, affine_clamping=1.5, permute_soft=False)
    (block,) = theirs.module_list
    with torch.no_grad():
        block.global_scale.copy_(step.scale[None])
        block.global_offset.copy_(step.offset[None])
        block.w_perm.copy_(torch.eye(7)[step.order][..., None, None])
        features = torch.randn(2, 7, 5, 6)
        for ours, expected in zip(step(features), theirs(features), strict=True):
            torch.testing.assert_close(ours, expected)


def test_fresh_steps_scale_nothing_yet_and_begin_as_freias_do():
    from FrEIA.framework import SequenceINN
    from FrEIA.modules import AllInOneBlock

    theirs = SequenceINN(4, 2, 2)
    theirs.append(AllInOneBlock, subnet_constructor=lambda i, o: nn.Conv2d(i, o, 1))
    torch.testing.assert_close(
        CouplingStep(4, 3, hidden_ratio=1.0, clamp=2.0).scale[None], theirs.module_list[0].global_scale
    )


@pytest.mark.parametrize(
    ("channels", "settings", "millions"),
    [
        ((256, 512, 1024), {"steps": 8, "alternate": True, "hidden_ratio": 1.0}, 41.3),  # the paper's count as well
        ((64, 128, 256), {"steps": 8, "alternate": False, "hidden_ratio": 1.0}, 4.7),  # the paper counts 4.9
        ((768,), {"steps": 20, "alternate": True, "hidden_ratio": 0.16}, 7.1),  # the paper counts 14.8
        ((768,), {"steps": 20, "alternate": True, "hidden_ratio": 0.334}, 14.8),
    ],
)
def test_the_flows_of_the_papers_backbones_have_as_many_parameters_as_the_presets_say(channels, settings, millions):
    with torch.device("meta"):
        flows = [Flow(each, clamp=2.0, **settings) for each in channels]
    count = sum(parameter.numel() for flow in flows for parameter in flow.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


# Map, score and loss


def reference_map(model: FastFlow, image: Tensor) -> Tensor:
    """-exp of the mean over channels of -z^2 / 2, enlarged, then averaged over levels: gathierry's and anomalib's."""
    maps = []
    for features, norm, flow in zip(model.backbone(image), model.norms, model.flows, strict=True):
        log_probability = -torch.mean(flow(norm(features))[0] ** 2, dim=1, keepdim=True) * 0.5
        maps.append(interpolate(-torch.exp(log_probability), size=64, mode="bilinear", align_corners=False))
    return torch.stack(maps, dim=-1).mean(dim=-1)[:, 0]


@torch.no_grad()
def test_the_map_is_minus_the_logarithm_of_the_fields_and_the_score_its_maximum():
    model = make().eval()
    moved(model.flows, 0.1)
    score, anomaly_map, _ = model(images())
    torch.testing.assert_close(anomaly_map, -torch.log(-reference_map(model, images())), rtol=1e-4, atol=1e-5)
    assert torch.equal(score, anomaly_map.amax(dim=(1, 2)))
    assert score.unique().numel() == 3


@torch.no_grad()
def test_images_so_unlikely_that_their_probability_rounds_to_0_keep_different_scores():
    model = make().eval()
    for flow in model.flows:
        flow.steps[-1].offset += 100
    assert not reference_map(model, images()).any()
    score = model(images()).score
    assert score.isfinite().all()
    assert score.unique().numel() == 3


@torch.no_grad()
def test_the_loss_is_the_negative_log_likelihood_but_for_its_constant():
    model, normal = make().eval(), torch.distributions.Normal(0.0, 1.0)
    moved(model.flows, 0.1)
    expected, numbers = torch.zeros(3), 0
    for features, norm, flow in zip(model.backbone(images()), model.norms, model.flows, strict=True):
        latent, determinant = flow(norm(features))
        expected -= normal.log_prob(latent).sum(dim=(1, 2, 3)) + determinant
        numbers += latent[0].numel()
    found = model.loss(Batch(images(), torch.arange(3)))["loss"]
    torch.testing.assert_close(found + numbers * math.log(2 * math.pi) / 2, expected.mean(), rtol=1e-5, atol=0.1)


# Half precision


def test_latents_and_determinants_are_in_single_precision_where_the_couplings_networks_are_in_half():
    flow, features = made_flow(6), torch.randn(2, 6, 8, 8)
    dtypes = []
    flow.steps[0].network[0].register_forward_hook(lambda *call: dtypes.append(call[-1].dtype))
    with torch.no_grad():
        exact = flow(features)
        with torch.autocast("cpu", torch.bfloat16):
            in_training = flow(features)
        with networks_in(torch.bfloat16, torch.device("cpu")):
            in_evaluation = flow(features)
    assert dtypes == [torch.float32, torch.bfloat16, torch.bfloat16]
    for found, other, expected in zip(in_training, in_evaluation, exact, strict=True):
        assert found.dtype == torch.float32
        assert torch.equal(found, other)
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.05)


@torch.no_grad()
def test_scale_shift_and_determinant_are_computed_of_a_half_output_in_single_precision():
    step, features, outputs = CouplingStep(6, 3, hidden_ratio=1.0, clamp=2.0), torch.randn(2, 6, 8, 8), []
    moved(step)
    step.network.register_forward_hook(lambda *call: outputs.append(call[-1]))
    with torch.autocast("cpu", torch.bfloat16):
        found, determinant = step(features)
    assert outputs[0].dtype == torch.bfloat16
    log_scale, shift = (0.1 * outputs[0].double()).chunk(2, dim=1)
    log_scale, scale = 2 * log_scale.tanh(), step._scale().double()
    joined = torch.cat([features[:, :3].double(), features[:, 3:] * log_scale.exp() + shift], dim=1)
    expected = (joined * scale + step.offset)[:, step.order]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        determinant.double(), log_scale.sum(dim=(1, 2, 3)) + 64 * scale.log().sum(), rtol=1e-5, atol=1e-4
    )


def test_scores_and_maps_in_half_precision_are_single_ones_with_all_their_values():
    model = make().eval()
    moved(model.flows, 0.1)
    exact = model.predict(images())
    model.autocast = torch.bfloat16
    found = model.predict(images())
    assert found.map.dtype == found.score.dtype == torch.float32
    assert found.map.isfinite().all()
    assert found.map.unique().numel() > 0.9 * exact.map.unique().numel()
    torch.testing.assert_close(found.map, exact.map, rtol=0.05, atol=0.05)


def test_training_in_half_precision_lowers_the_loss():
    model, losses = make().train(), []
    optimizer = model.configure_optimizers()
    for _ in range(6):
        with torch.autocast("cpu", torch.bfloat16):
            loss = model.loss(Batch(images(), torch.arange(3)))["loss"]
        assert loss.dtype == torch.float32
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert all(math.isfinite(loss) for loss in losses)


# Training


class Losses(Callback):
    def __init__(self) -> None:
        self.train: list[float] = []
        self.held_out: list[float] = []

    def on_train_batch_start(self, trainer, model, batch, index):
        assert model.norms[0].training
        assert not any(module.training for module in model.backbone.modules())

    def on_train_epoch_end(self, trainer, model):
        self.train.append(float(trainer.callback_metrics["train/loss"]))
        self.held_out.append(float(trainer.callback_metrics["validation/loss"]))


def test_training_lowers_the_loss_also_of_held_out_images_and_leaves_the_backbone_as_it_is(data_root):
    data = MVTecAD("screw", 0, "model", root=str(data_root), image_size=64, validation_share=0.25, batch_size=4)
    data.prepare_data()
    model, losses = make(), Losses()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    callbacks = [EpochSeed(0), losses]
    trainer = Trainer(accelerator="cpu", max_epochs=4, callbacks=callbacks, enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=data)
    assert losses.train == sorted(losses.train, reverse=True)
    assert losses.held_out == sorted(losses.held_out, reverse=True)
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    fixed = {name for name in before if name.startswith("backbone.") or name.endswith(".order")}
    assert same == fixed, "threshold aside, which is no number yet"


def test_only_norms_and_flows_are_trained():
    learned = {name.split(".")[0] for name, parameter in make().named_parameters() if parameter.requires_grad}
    assert learned == {"norms", "flows"}
    (optimized,) = make().configure_optimizers().param_groups
    assert (optimized["lr"], optimized["weight_decay"]) == (1e-3, 1e-5)
    assert len(optimized["params"]) == sum(parameter.requires_grad for parameter in make().parameters())


def test_each_level_is_normalised_over_all_its_numbers_with_a_scale_and_an_offset_for_each():
    model = make()
    assert [tuple(norm.weight.shape) for norm in model.norms] == model.backbone.shapes
    normalised = model.norms[0](model.backbone(images())[0])
    torch.testing.assert_close(normalised.mean(dim=(1, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised.var(dim=(1, 2, 3)), torch.ones(3), atol=1e-2, rtol=0)


# Transformers


@pytest.mark.parametrize(
    ("backbone", "level"), [("deit_tiny_distilled_patch16_224", 7), ("cait_xxs24_224", 20)], ids=["deit", "cait"]
)
@torch.no_grad()
def test_a_transformer_gives_one_map_of_its_tokens_and_needs_no_norm(backbone, level):
    model = make(backbone=backbone, levels=[level], layer_norm=False, hidden_ratio=0.16, alternate_kernels=True).eval()
    assert model.backbone.shapes == [(192, 4, 4)]
    assert not list(model.norms.parameters())
    prediction = model(images())
    assert (prediction.score.shape, prediction.map.shape) == ((3,), (3, 64, 64))


# Refusals


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(64, 3, 12, patch=32), {}, "--data.texture_patch null"),
        (SPEC, {"steps": 0}, "--model.steps"),
        (SPEC, {"hidden_ratio": 0.0}, "--model.hidden_ratio"),
    ],
)
def test_settings_that_mean_nothing_are_refused(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        FastFlow(spec, **SMALL | settings)


# Runs


@pytest.fixture
def cell(data_root) -> tuple[str, ...]:
    """Eight images to learn from in two batches, four to hold out."""
    model = (
        "--model",
        "fastflow_mobilenetv2",
        "--model.weights",
        "none",
        "--model.steps",
        "2",
        "--trainer.max_epochs",
        "3",
    )
    data = ("--category", "screw", "--data.root", str(data_root), "--data.image_size", "32", "--data.batch_size", "4")
    return (*model, *data, "--data.validation_share", "0.34", "--data.samples_per_epoch", "null")


def test_a_run_that_is_stopped_is_resumed_to_the_same_bits(bench, cell, monkeypatch):
    expect_the_same_bits_after_a_stop(bench, cell, monkeypatch, epoch=2)


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(cell):
    """Nothing in training depends on the other images of a process's share, so that only rounding may differ."""
    found = []
    for count in (1, 2):
        command = [sys.executable, "-m", "bench", "fit", *cell, "--runs", f"on {count}", "--json"]
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
