"""Every method on an emulated CUDA device: what mixes devices is refused, what a GPU would be waited for is counted."""

from collections.abc import Callable
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from bench.config.presets import preset_names, read_preset
from bench.config.settings import resolve
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.evaluation import passes
from bench.evaluation.passes import Machine, ScoredImages, learn_statistics
from bench.models.autoencoder import Autoencoder
from bench.models.base import Detector
from bench.runs.fitting import build_model
from emulated_cuda import DEVICE, EmulatedCuda, on_cpu

CPU = torch.device("cpu")
COUNT, BATCH = 12, 4
IMAGES = torch.randint(256, (COUNT, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TYPES = torch.arange(COUNT) % 3
EPOCHS = 2
BACKBONE = {"backbone": "resnet18", "weights": "none"}
VIT = {"backbone": "test_vit", "weights": "none", "level": 1}

# At least one preset of each class, with settings by which two epochs see all that it does.
# Adam's first step follows the sign of each gradient, which rounding decides where a gradient is almost 0.
SLOWLY = {"learning_rate": 1e-8}
# Of untrained networks whose scores are nearly the same for all: rounding is a large part of how they differ.
NEARLY_ALIKE = {"draem": 5e-3, "simplenet": 2e-2}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "autoencoder": ("autoencoder", {}),
    "autoencoder in colour": ("autoencoder_l2", {}),
    "vae": ("vae", {}),
    "vae of a ResNet": ("vae_padim", {}),
    "deep svdd": ("deep_svdd", {"width": 4, "pretrain_epochs": 1}),
    "deep svdd, soft": ("deep_svdd_soft", {"width": 4, "pretrain_epochs": 1, "warm_up_epochs": 0}),
    "f-anogan": ("f_anogan", {"width": 4, "pretrain_epochs": 1, "critic_steps": 2}),
    "anogan": ("f_anogan", {"width": 4, "inversion": "search", "search_steps": 3, "critic_steps": 2}),
    "cutpaste": ("cutpaste", {"head_layers": 1}),
    "cutpaste, frozen": ("cutpaste_cpu", {**BACKBONE, "head_layers": 1, "freeze_backbone_epochs": 1}),
    "cutpaste, windows": ("cutpaste_patch", {"head_layers": 1, "stride": 8, "density": "per_location"}),
    "fastflow": ("fastflow", {**BACKBONE, "steps": 2}),
    "fastflow of a transformer": (
        "fastflow_cait_paper", {**BACKBONE, "backbone": "cait_xxs24_224", "levels": [3], "steps": 2}
    ),
    "stfpm": ("stfpm", BACKBONE),
    "reverse distillation": ("reverse_distillation", {**BACKBONE, **SLOWLY}),
    "reverse distillation by positions": (
        "reverse_distillation_mobilenetv2", {**BACKBONE, **SLOWLY, "levels": [1, 2], "cosine": "position"}
    ),
    "efficientad": ("efficient_ad_cpu", {"weights": "none"}),
    "draem": ("draem_cpu", {**SLOWLY, "width": 2}),
    "dinomaly": (
        "dinomaly", {"backbone": "test_vit", "weights": "none", "levels": [0, 1], "depth": 2, "recentre": True}
    ),
    "supersimplenet": ("supersimplenet", {**BACKBONE, **SLOWLY, "hidden": 8, "classification_channels": 4}),
    "simplenet": ("simplenet", {**BACKBONE, **SLOWLY, "hidden": 8, "patch_features": 24}),
    "padim": ("padim", BACKBONE),
    "padim with pca": ("padim", {**BACKBONE, "reduction": "pca", "channels": 20}),
    "patchcore": ("patchcore", {**BACKBONE, "share": 0.2, "projection": 16}),
    "patchcore, re-weighted": ("patchcore_r18", {**BACKBONE, "share": 0.2, "projection": None, "reweighting": 3}),
    "spade": ("spade", {**BACKBONE, "neighbours": 3}),
    "anomaly dino": ("anomaly_dino", {**VIT, "rotations": 3, "foreground": "always"}),
    "anomaly dino, auto": ("anomaly_dino", VIT),
    "gaussian": ("gaussian_mobilenetv2", BACKBONE),
    "ocsvm": ("ocsvm", BACKBONE),
    "knn": ("knn", {**BACKBONE, "neighbours": 2}),
    "trivial": ("trivial_thumbnail", {}),
    "classifier": ("classifier", {"weights": "none", "views": 3, "focal_gamma": 1.0}),
    "reslt": ("reslt", {"weights": "none"}),
    "weight balancing": ("weight_balancing", {"weights": "none", "balancing_epochs": 1}),
}  # fmt: skip


class Outcome(NamedTuple):
    score: Tensor
    map: Tensor | None
    left_out: Tensor | None
    losses: list[Tensor]
    tested: ScoredImages
    pixels: dict[str, float]


def build(name: str) -> Detector:
    preset, settings = CASES[name]
    options = {f"model.{key}": "null" if value is None else str(value) for key, value in settings.items()}
    config = resolve(model=preset, data=None, category="screw", files=[], options=options)
    classes = ("good", "bent", "scratched") if config.settings["data"]["fold"] is not None else ()
    return build_model(config, DataSpec(64, 3, COUNT, classes=classes, class_counts=(4, 4, 4)[: len(classes)]))


def batches() -> list[Batch]:
    """As a loader gives them, to a test as well."""
    parts = zip(IMAGES.split(BATCH), torch.arange(COUNT).split(BATCH), TYPES.split(BATCH), strict=True)
    mask = torch.arange(64**2).view(64, 64) % 7 == 0
    return [
        Batch(images, places, types, [mask & bool(each) for each in types], places.tolist())
        for images, places, types in parts
    ]


def sent(batch: Batch, device: torch.device) -> Batch:
    """As Lightning sends them from pinned memory."""
    assert batch.defect_type is not None
    image, types = (each.to(device, non_blocking=True) for each in (batch.image, batch.defect_type))
    return batch._replace(image=image.float() / 255, defect_type=types)


class Steps(SimpleNamespace):
    """What Lightning makes of an optimiser, for methods that take their own steps."""

    def toggle_model(self, **_: Any) -> Any:
        return nullcontext()


def plain_trainer(model: Detector) -> SimpleNamespace:
    """What methods ask of Lightning, and nothing else."""
    trainer = SimpleNamespace(
        current_epoch=0,
        global_step=0,
        max_epochs=EPOCHS,
        num_training_batches=COUNT // BATCH,
        accumulate_grad_batches=1,
        estimated_stepping_batches=EPOCHS * COUNT // BATCH,
        strategy=SimpleNamespace(all_gather=lambda tensor, **_: tensor),
    )
    model.trainer = trainer
    model.log = model.log_dict = lambda *_, **__: None
    model.manual_backward = lambda loss: loss.backward()
    configured: Any = model.configure_optimizers()
    found = configured["optimizer"] if isinstance(configured, dict) else configured
    found = found[0] if isinstance(found, tuple) else found
    trainer.optimizers = found if isinstance(found, list) else [found]
    steps = [
        Steps(step=each.step, zero_grad=each.zero_grad, param_groups=each.param_groups, state=each.state)
        for each in trainer.optimizers
    ]
    model.optimizers = lambda: steps if len(steps) > 1 else steps[0]
    return trainer


def train(model: Detector, machine: Machine, waits: list[str]) -> list[Tensor]:
    """Two epochs; the loss of each step, none of which may add to `waits`."""
    trainer, losses = plain_trainer(model), []
    for trainer.current_epoch in range(EPOCHS):
        before = [each for each in model.passes() if each.epoch == trainer.current_epoch]
        learn_statistics(model.eval(), before, batches, COUNT, machine)
        model.train().on_train_epoch_start()
        for place, batch in enumerate(batches()):
            waits.clear()
            losses.append(take_step(model, sent(batch, machine.device), place, trainer.optimizers[0]))
            assert not waits, f"a training step waits for the GPU: {sorted(set(waits))}"
            trainer.global_step += 1
        model.on_train_epoch_end()
    model.on_train_end()
    return losses


def take_step(model: Detector, batch: Batch, place: int, optimizer: torch.optim.Optimizer) -> Tensor:
    model.on_train_batch_start(batch, place)
    if model.automatic_optimization:
        loss = model.loss(batch)["loss"]
        optimizer.zero_grad()
        loss.backward()
        model.on_before_optimizer_step(optimizer)
        optimizer.step()
    else:
        loss = model.training_step(batch, place)
    model.on_train_batch_end(loss, batch, place)
    return loss.detach()


def outcome(model: Detector, device: torch.device, waits: list[str]) -> Outcome:
    """All that the framework asks of a method: training, statistics, scores of a few images, a test."""
    machine = Machine(device)
    model.to(device)
    torch.manual_seed(0)
    losses = train(model, machine, waits) if model.is_trained() else []
    after = [each for each in model.eval().passes() if each.epoch is None]
    learn_statistics(model, after, batches, COUNT, machine)
    image = sent(batches()[0], device).image
    score, anomaly_map, _ = model.predict(image)
    left_out = model.predict_leave_one_out(image) if model.supports_leave_one_out else None
    found = passes.test_images(model, batches(), COUNT, machine)
    assert found is not None
    assert all(each.device == device for each in (score, *model.parameters(), *model.buffers()))
    pixels = found[1].overall if found[1] else {}
    return Outcome(*on_cpu((score, anomaly_map, left_out, losses)), found[0], pixels)


@pytest.fixture
def as_runs(monkeypatch):
    """What runs tell torch: with `deterministic: warn` it takes other ways on a GPU."""
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def test_every_class_is_among_the_cases():
    known = {read_preset("model", name).class_path for name in preset_names("model")}
    assert {read_preset("model", preset).class_path for preset, _ in CASES.values()} == known


@pytest.mark.slow
@pytest.mark.usefixtures("as_runs")
@pytest.mark.parametrize("name", CASES)
def test_a_method_finds_on_the_device_what_it_finds_on_the_cpu_and_no_training_step_waits(name, monkeypatch):
    expected = outcome(build(name), CPU, [])
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=2**33))
    with EmulatedCuda() as emulated:
        found = outcome(build(name), DEVICE, emulated.waits)
    torch.testing.assert_close(found, expected, rtol=NEARLY_ALIKE.get(name, 1e-4), atol=1e-6)


# What each of them would do to an author's method.
FAULTS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a value that is read": (
        lambda loss: loss * (1 if loss.item() > 0 else 2),
        "waits for the GPU: .*_local_scalar_dense in",
    ),
    "a mask that is counted": (lambda loss: loss[None][loss[None] > 0].sum(), "waits for the GPU: .*index in"),
    "numbers that are sent": (
        lambda loss: loss * loss.new_tensor([1.0, 2.0]).sum(),
        "waits for the GPU: .*_to_copy in",
    ),
    "a tensor of the CPU": (lambda loss: (loss * torch.ones(2)).sum(), "on the same device"),
    "a generator of the CPU": (
        lambda loss: loss * torch.rand((), generator=torch.Generator(), device=loss.device),
        "device type for generator",
    ),
    "numpy": (lambda loss: loss * float(loss.detach().numpy()), "can't convert cuda:0 device type tensor to numpy"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_planted_in_a_training_step_is_found(fault, monkeypatch):
    change, message = FAULTS[fault]
    plain = Autoencoder.loss
    monkeypatch.setattr(Autoencoder, "loss", lambda self, batch: {"loss": change(plain(self, batch)["loss"])})
    model = build("autoencoder")
    with EmulatedCuda() as emulated, pytest.raises((AssertionError, RuntimeError, TypeError), match=message):
        outcome(model, DEVICE, emulated.waits)


def test_results_of_the_device_stay_there_until_they_are_fetched():
    with EmulatedCuda() as emulated:
        values = torch.arange(6.0, device="cuda").view(2, 3)
        values += torch.ones_like(values)
        values[:, 1] = 0
        assert emulated.waits == []
        assert (values.device, values.T.device, values.sum().device) == (DEVICE, DEVICE, DEVICE)
        assert values.cpu().tolist() == [[1, 0, 3], [4, 0, 6]]
        assert [wait.partition(" in ")[0] for wait in emulated.waits] == ["_to_copy"]
