import copy

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from sklearn.covariance import LedoitWolf
from torch.utils.data import DataLoader

from bench.config.settings import resolve
from bench.data.datamodule import DataSpec
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.cutpaste import CutPaste
from bench.models.parts.cutpaste_network import pool
from bench.models.parts.density import ShrunkGaussian
from bench.models.parts.statistics import PositionGaussians
from learning import learn

SPEC = DataSpec(32, 3, 12)
CLASSES = {"binary": 2, "scar": 2, "three_way": 3}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(spec: DataSpec = SPEC, **settings) -> CutPaste:
    return CutPaste(spec, **{"head_layers": 1} | settings)


def batch(count: int = 4, size: int = 32, channels: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.rand(count, channels, size, size, generator=generator), torch.arange(count))


class Rates(Callback):
    """The learning rate of each step, and the one that is left at the end."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_end(self, trainer, *_):
        self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])


class SameDraws(Callback):
    """The same draws at the same step of each run."""

    def on_train_batch_start(self, trainer, *_):
        torch.manual_seed(trainer.global_step)


class SaveFirstEpoch(Callback):
    """What a run that is stopped after its first epoch goes on from."""

    def on_train_epoch_end(self, trainer, *_):
        if trainer.current_epoch == 0:
            trainer.save_checkpoint("first.ckpt")


def train(model: CutPaste, epochs: int, *callbacks: Callback, steps: int = 5, **settings) -> CutPaste:
    """Train on `steps` batches an epoch, as bench's Trainer does."""
    resume = settings.pop("resume", None)
    batches = [Batch((batch().image * 255).byte(), torch.arange(4))] * steps
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), **quiet | settings)
    trainer.fit(model, DataLoader(batches, batch_size=None), ckpt_path=resume, weights_only=True if resume else None)
    return model


def same(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize("task", CLASSES)
def test_the_loss_is_over_equal_parts_of_all_classes_made_of_the_same_images(task):
    model, images = make(task=task).eval(), batch()
    seen: list[torch.Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    terms = model.loss(images)
    parts = seen[0].chunk(CLASSES[task])
    assert torch.equal(parts[0], images.image)
    for part in parts[1:]:
        changed = (part != images.image).any(dim=1)
        assert changed.any(dim=(1, 2)).all()
        assert changed.float().mean() < 0.2
    target = torch.arange(CLASSES[task]).repeat_interleave(4)
    logits = model.network.head(pool(model.network(seen[0])[0]))
    torch.testing.assert_close(terms["loss"], torch.nn.functional.cross_entropy(logits, target))
    torch.testing.assert_close(terms["accuracy"], (logits.argmax(dim=1) == target).float().mean())


def test_the_same_seed_pastes_alike_and_another_seed_otherwise():
    model = make()
    losses = []
    for number in (5, 5, 6):
        torch.manual_seed(number)
        losses.append(model.loss(batch())["loss"])
    assert losses[0] == losses[1] != losses[2]


def test_images_are_normalised_after_pasting():
    model = make().eval()
    seen: list[torch.Tensor] = []
    model.network.backbone.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = batch().image
    model.network(image)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(seen[0], (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1))


def test_grey_images_train_and_are_scored():
    model = make(DataSpec(32, 1, 12))
    assert torch.isfinite(model.loss(batch(channels=1))["loss"])
    assert model.eval()(batch(channels=1).image).map.shape == (4, 32, 32)


def test_the_score_is_half_the_squared_mahalanobis_distance_of_features_before_the_head():
    model = make().eval()
    learn(model, batch(20).image.split(7))
    with torch.inference_mode():
        features = model.network(batch(20).image)[1].double().numpy()
        score = model(batch(20).image).score
    assert features.shape == (20, 512)
    np.testing.assert_allclose(score, LedoitWolf().fit(features).mahalanobis(features) / 2, rtol=1e-3)


def test_the_gaussian_may_see_a_lower_level_than_the_head():
    model = make(backbone="mobilenetv2_100", level=4).eval()
    top, description = model.network(batch().image)
    assert (top.shape[1], description.shape[1]) == (1280, 320)
    expected = model.network.backbone.forward_intermediates(
        (batch().image - model.network.mean) / model.network.std, indices=[4], intermediates_only=True
    )
    torch.testing.assert_close(description, expected[0].mean(dim=(2, 3)))


@pytest.mark.parametrize("task", ["binary", "three_way"])
def test_grad_cam_is_that_of_autograd_on_the_last_features_even_in_inference_mode(task):
    model = make(task=task).eval()
    top = torch.randn(4, 512, 3, 3, requires_grad=True)
    logits = model.network.head(top.mean(dim=(2, 3)))
    joint = logits[:, 1] if task == "binary" else torch.logsumexp(logits[:, 1:], dim=1)
    joint.sum().backward()
    expected = (top.grad.mean(dim=(2, 3), keepdim=True) * top).sum(dim=1).relu().detach()
    with torch.inference_mode():
        found = model.network.explain(top.detach().clone())
    assert 0 < (expected > 0).float().mean() < 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def test_the_map_of_whole_images_is_grad_cam_up_sampled_and_leaves_no_gradient():
    model = make(DataSpec(96, 3, 12)).eval()
    with torch.inference_mode():
        coarse = model.network.explain(model.network(batch(size=96).image)[0])
        found = model(batch(size=96).image).map
    assert coarse.shape == (4, 3, 3)
    expected = torch.nn.functional.interpolate(coarse[:, None], 96, mode="bilinear")[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_one_cosine_cycle_falls_to_zero_over_all_updates_and_never_restarts():
    rates = Rates()
    train(make(), 3, rates, steps=4)
    expected = 0.03 * (1 + np.cos(np.pi * np.arange(13) / 12)) / 2
    np.testing.assert_allclose(rates.seen, expected, atol=1e-12)


def test_a_pretrained_network_has_one_cycle_for_the_head_and_a_smaller_one_for_all_layers():
    rates = Rates()
    train(make(freeze_backbone_epochs=1), 3, rates, steps=4)
    head = 0.03 * (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    whole = 1e-4 * (1 + np.cos(np.pi * np.arange(9) / 8)) / 2
    np.testing.assert_allclose(rates.seen, [*head, *whole], atol=1e-12)


def test_the_papers_schedule_is_65536_updates_of_96_images(data_root):
    config = resolve(model="cutpaste", data=None, category="screw", files=[], options={})
    assert config.settings["model"] | {"task": "three_way", "learning_rate": 0.03} == config.settings["model"]
    data = MVTecAD("screw", 0, "model", **config.section("data") | {"root": str(data_root), "image_size": 32})
    assert len(data.train_dataloader()) * config.section("trainer")["max_epochs"] == 65_536
    assert 3 * data.batch_size == 96


def test_a_frozen_backbone_keeps_its_bits_and_batch_statistics_while_the_head_learns():
    model = make(freeze_backbone_epochs=1)
    before = copy.deepcopy(model.network.state_dict())
    train(model, 1)
    backbone = {name: value for name, value in before.items() if name.startswith("backbone.")}
    after = model.network.state_dict()
    assert same(backbone, after)
    assert not torch.equal(after["head.0.weight"], before["head.0.weight"])


def test_a_backbone_set_free_learns():
    model = make(freeze_backbone_epochs=1)
    before = copy.deepcopy(model.network.backbone.state_dict())
    train(model, 2)
    after = model.network.backbone.state_dict()
    assert not torch.equal(after["conv1.weight"], before["conv1.weight"])
    assert not torch.equal(after["bn1.running_mean"], before["bn1.running_mean"])


def test_a_resumed_run_ends_with_the_bits_of_one_that_was_not_stopped():
    undisturbed = train(make(freeze_backbone_epochs=1), 3, SameDraws(), SaveFirstEpoch())
    resumed = train(make(freeze_backbone_epochs=1), 3, SameDraws(), resume="first.ckpt")
    assert same(undisturbed.network.state_dict(), resumed.network.state_dict())


def test_checkpoints_after_an_epoch_leave_out_the_gaussians_that_are_not_known_yet():
    train(make(density="per_location"), 1, SaveFirstEpoch())
    saved = torch.load("first.ckpt", weights_only=True)["state_dict"]
    assert saved.keys() == {name for name in make().state_dict() if not name.startswith("gaussians.")}
    complete = {"state_dict": make().state_dict()}
    complete["state_dict"]["gaussians.mean"].fill_(7.0)
    make().on_load_checkpoint(complete)
    assert (complete["state_dict"]["gaussians.mean"] == 7.0).all()


@pytest.mark.parametrize(("backbone", "first"), [("resnet18", "conv1"), ("mobilenetv2_100", "conv_stem")])
def test_frozen_batchnorm_keeps_statistics_scales_and_offsets_while_convolutions_learn(backbone, first):
    model = make(backbone=backbone, freeze_batchnorm=True)
    before = copy.deepcopy(model.network.backbone.state_dict())
    train(model, 1, steps=2)
    after = model.network.backbone.state_dict()
    kept = {name: value for name, value in before.items() if "bn" in name or "running" in name}
    assert len(kept) > 50
    assert same(kept, after)
    assert not torch.equal(after[f"{first}.weight"], before[f"{first}.weight"])


def test_256_pixels_have_57_by_57_windows_of_32_at_a_stride_of_4():
    assert make(DataSpec(256, 3, 12), patch=32, stride=4).per_side == 57


def test_windows_are_embedded_row_by_row():
    model = make(DataSpec(64, 3, 12), patch=16, stride=8).eval()
    image = batch(2, 64).image
    windows = model._embed_windows(image)
    assert windows.shape == (2, 49, 512)
    torch.testing.assert_close(windows[1, 7 + 6], model.network(image[1:, :, 8:24, 48:])[1][0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("density", "aligned", "expected"),
    [
        ("auto", True, PositionGaussians),
        ("auto", False, ShrunkGaussian),
        ("shared", True, ShrunkGaussian),
        ("per_location", False, PositionGaussians),
    ],
)
def test_aligned_objects_have_a_gaussian_per_location_and_others_share_one(density, aligned, expected):
    model = make(SPEC._replace(aligned=aligned), patch=16, stride=8, density=density)
    assert isinstance(model.gaussians, expected)


def test_whole_images_have_one_gaussian_even_of_aligned_objects():
    assert isinstance(make(SPEC._replace(aligned=True)).gaussians, ShrunkGaussian)


@pytest.mark.parametrize("density", ["shared", "per_location"])
def test_the_map_of_a_planted_anomaly_peaks_there_and_its_image_scores_highest(density):
    model = make(DataSpec(64, 3, 12), patch=16, stride=8, density=density).eval()
    normal = 0.5 + 0.05 * torch.randn(12, 3, 64, 64)
    probe = 0.5 + 0.05 * torch.randn(3, 3, 64, 64)
    probe[1, :, 16:32, 40:56] = torch.rand(3, 16, 16)
    learn(model, [normal])
    with torch.inference_mode():
        prediction = model(probe)
    assert prediction.score.argmax() == 1
    y, x = divmod(int(prediction.map[1].argmax()), 64)
    assert 16 <= y < 32
    assert 40 <= x < 56


def test_the_score_of_windows_is_the_largest_before_up_sampling():
    model = make(DataSpec(64, 3, 12), patch=16, stride=8).eval()
    learn(model, [batch(6, 64).image])
    with torch.inference_mode():
        surprise = model._surprise(model._embed_windows(batch(2, 64).image))
        torch.testing.assert_close(model(batch(2, 64).image).score, surprise.amax(dim=1))


def test_windows_learn_from_crops_with_scars_that_fit():
    model = make(DataSpec(64, 3, 12), patch=16, stride=8)
    seen: list[torch.Tensor] = []
    model.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.loss(batch(5, 64))
    assert seen[0].shape == (15, 3, 16, 16)


@pytest.mark.parametrize(("patch", "stride"), [(32, 5), (300, 4), (16, 32), (32, 0)])
def test_windows_that_do_not_cover_the_image_are_refused(patch, stride):
    with pytest.raises(UsageError, match="do not cover 256 pixels"):
        make(DataSpec(256, 3, 12), patch=patch, stride=stride)


def test_a_transformer_is_refused():
    with pytest.raises(UsageError, match="no convolutional network"):
        make(DataSpec(224, 3, 12), backbone="vit_tiny_patch16_224")


def test_a_checkpoint_brings_how_its_weights_were_normalised():
    assert {"network.mean", "network.std"} <= make().state_dict().keys()


@pytest.mark.slow
def test_two_processes_train_a_head_and_then_all_layers():
    model = make(freeze_backbone_epochs=1)
    before = copy.deepcopy(model.network.state_dict())
    train(model, 2, steps=2, devices=2, strategy="ddp_spawn", use_distributed_sampler=False)
    after = model.network.state_dict()
    for name in ("backbone.conv1.weight", "head.0.weight"):
        assert not torch.equal(after[name], before[name]), name
