import copy
import math

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.models.classifier import Classifier

SPEC = DataSpec(32, 3, 20, classes=("good", "a", "b"), class_counts=(12, 5, 3))
TINY = {"library": "timm", "backbone": "test_resnet", "weights": "none"}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> Classifier:
    return Classifier(SPEC, **TINY | settings)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    return Batch(torch.rand(6, 3, 32, 32, generator=generator), torch.arange(6), torch.arange(6) % 3)


def train(model: Classifier, epochs: int, *callbacks: Callback, steps: int = 3, **settings) -> Classifier:
    """Train on `steps` batches an epoch, as bench's Trainer does."""
    data = [batch()._replace(image=(batch().image * 255).byte())] * steps
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, callbacks=list(callbacks), **quiet | settings)
    trainer.fit(model, DataLoader(data, batch_size=None))
    return model


class Rates(Callback):
    """The learning rates of all groups in each step."""

    def __init__(self) -> None:
        self.seen: list[list[float]] = []

    def on_train_batch_start(self, trainer, *_):
        self.seen.append([group["lr"] for group in trainer.optimizers[0].param_groups])


def same(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


def decayed(module: nn.Module) -> set[int]:
    """Weights of convolutions and linear layers, by their ids."""
    return {id(m.weight) for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)}


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weights_decay_and_neither_biases_nor_batchnorm_and_the_backbones_rate_is_a_share(optimizer):
    model = make(optimizer=optimizer, learning_rate=0.01, backbone_rate=0.1, weight_decay=0.02)
    built = model.build_optimizer(0.01)
    seen: dict[int, tuple[float, float]] = {}
    for group in built.param_groups:
        for parameter in group["params"]:
            assert id(parameter) not in seen
            seen[id(parameter)] = (group["lr"], group["weight_decay"])
    for part, rate in ((model.backbone, 0.001), (model.head, 0.01)):
        heavy = decayed(part)
        for name, parameter in part.named_parameters():
            assert seen.pop(id(parameter)) == pytest.approx((rate, 0.02 if id(parameter) in heavy else 0.0)), name
    assert not seen


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_each_optimizer_is_torchs(name, kind):
    built = make(optimizer=name).build_optimizer(0.01)
    assert type(built) is kind
    assert name != "sgd" or {group["momentum"] for group in built.param_groups} == {0.9}


def test_an_optimizer_of_a_frozen_backbone_holds_the_head_alone():
    model = make(freeze_backbone=True)
    held = {id(p) for group in model.build_optimizer(0.01).param_groups for p in group["params"]}
    assert held == {id(p) for p in model.head.parameters()}


def test_a_frozen_backbone_has_no_gradient_and_keeps_weights_and_batch_statistics_while_the_head_learns():
    model = make(freeze_backbone=True, weight_decay=0.1)
    before = copy.deepcopy(model.state_dict())
    train(model, 2)
    after = model.state_dict()
    assert all(parameter.grad is None for parameter in model.backbone.parameters())
    assert not model.observe(batch().image)[0].requires_grad
    assert same({k: v for k, v in before.items() if k.startswith("backbone.")}, after)
    assert not torch.equal(after["head.1.weight"], before["head.1.weight"])


def test_a_free_backbone_learns_with_its_batch_statistics():
    model = make()
    before = copy.deepcopy(model.backbone.network.state_dict())
    train(model, 1)
    after = model.backbone.network.state_dict()
    learned = [name for name in before if not torch.equal(before[name], after[name])]
    assert {"conv1.0.weight", "bn1.running_mean", "bn1.weight"} <= set(learned)


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_frozen_batchnorm_keeps_statistics_scales_and_offsets_while_convolutions_learn(library):
    backbone = {"timm": "test_resnet", "torchvision": "shufflenet_v2_x0_5"}[library]
    model = make(library=library, backbone=backbone, freeze_batchnorm=True)
    for name, scale in model.backbone.network.named_buffers():
        if name.endswith(".weight"):
            scale.fill_(1.0)  # timm's random networks begin with scales of 0, through which nothing learns
    before = copy.deepcopy(model.backbone.network.state_dict())
    train(model, 1, steps=2)
    after = model.backbone.network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert sum("running_mean" in name for name in before) > 10
    assert changed == {name for name, value in before.items() if value.ndim > 1}


def test_the_rate_rises_from_0_in_the_warm_up_and_then_falls_along_a_cosine():
    model = make(warmup_epochs=2)
    shares = [model.share_of_rate(update, per_epoch=4, total=24) for update in (0, 3, 7, 8, 16, 20, 24)]
    half_wave = [(1 + math.cos(math.pi * t / 16)) / 2 for t in (0, 8, 12, 16)]
    assert shares == pytest.approx([1 / 8, 4 / 8, 1, *half_wave])


def test_the_rate_falls_to_a_tenth_every_few_epochs():
    model = make(schedule="step", step_epochs=3)
    shares = [model.share_of_rate(update, per_epoch=4, total=100) for update in (0, 11, 12, 23, 24)]
    assert shares == pytest.approx([1, 1, 0.1, 0.1, 0.01])


def test_steps_count_from_the_end_of_the_warm_up():
    model = make(schedule="step", step_epochs=3, warmup_epochs=1)
    shares = [model.share_of_rate(update, per_epoch=4, total=100) for update in (3, 4, 15, 16)]
    assert shares == pytest.approx([1, 1, 1, 0.1])


def test_a_constant_rate_stays():
    assert {make(schedule="constant").share_of_rate(u, per_epoch=4, total=24) for u in (0, 11, 23)} == {1.0}


def test_a_warm_up_that_never_ends_rises_to_the_last_update():
    assert make(warmup_epochs=9).share_of_rate(7, per_epoch=4, total=8) == 1.0


def test_a_training_follows_the_schedule_in_every_group_by_accumulated_updates():
    rates = Rates()
    model = make(learning_rate=0.01, backbone_rate=0.5, warmup_epochs=1)
    train(model, 3, rates, steps=4, accumulate_grad_batches=2)
    shares = [1 / 2, 2 / 2, *((1 + math.cos(math.pi * t / 4)) / 2 for t in range(4))]
    head = [rate[-1] for rate in rates.seen[::2]]
    assert head == pytest.approx([0.01 * share for share in shares])
    assert [rate[0] for rate in rates.seen[::2]] == pytest.approx([0.005 * share for share in shares])


