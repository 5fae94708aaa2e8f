"""Synchronised BatchNorm: what is converted, and that every method is the same before, meanwhile and after."""

from typing import Any

import pytest
import timm
import torch
from lightning import Trainer
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn

from bench.config.presets import preset_names, read_preset
from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.evaluation.passes import Machine, learn_statistics
from bench.models.base import Detector
from bench.models.classifier import Classifier
from bench.models.parts.backbones import Backbone
from bench.models.parts.batchnorm import TrainedBatchNormSync, trained_batchnorm
from bench.models.parts.deep_svdd_network import CodeNorm, Decoder, Encoder

CLASSES = {"classes": ("good", "a", "b"), "class_counts": (12, 5, 3)}
# The smallest that has all levels of the largest backbones; what is tested is no accuracy.
SMALL: dict[str, Any] = {"width": 4, "neighbours": 3, "share": 0.2, "search_steps": 2, "weights": "none"}
WITHOUT_IMAGES = {"efficient_ad": {"penalty": "none"}, "efficient_ad_m": {"penalty": "none"},
                  "draem": {"textures": "procedural"}}  # fmt: skip
SLOW_TO_BUILD = {"wide_resnet50_2", "wide_resnet101_2", "tf_efficientnet_b5", "vgg19", "regnet_y_16gf", "cait_m48_448"}


@pytest.fixture(autouse=True)
def two_processes(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr("bench.models.parts.batchnorm.rank_and_processes", lambda: (0, 2))


def build(preset: str) -> Detector:
    """A preset's class with its settings, but small."""
    found = read_preset("model", preset)
    settings = found.settings["model"]
    settings = settings | {name: value for name, value in SMALL.items() if name in settings}
    settings |= WITHOUT_IMAGES.get(preset, {})
    if settings.get("backbone") == "cait_m48_448":
        settings |= {"backbone": "cait_xxs24_224", "levels": [20]}
    if "patch14" in settings.get("backbone", ""):  # 32 pixels are no multiple of 14
        settings |= {"backbone": "test_vit", **({"level": 1} if "level" in settings else {"levels": [0, 1]})}
    patch = found.settings["data"].get("texture_patch")
    side = 64 if settings.get("patch") or patch or "hard_quantile" in settings else 32
    spec = DataSpec(side, 3, 12, **CLASSES if found.settings["data"].get("fold") is not None else {})
    model = found.load_class()(spec, **settings)
    batch = Batch(torch.randint(256, (12, 3, side, side), dtype=torch.uint8), torch.arange(12))
    after_training = [each for each in model.passes() if each.epoch is None]
    learn_statistics(model.eval(), after_training, lambda: [batch], 12, Machine(torch.device("cpu")))
    return model


def scores(model: nn.Module) -> list[Tensor | None]:
    image = torch.rand(2, 3, model.spec.size, model.spec.size, generator=torch.Generator().manual_seed(1))
    model.eval()
    return list(model.predict(image))


def assert_same_bits(found: list[Tensor | None], expected: list[Tensor | None]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


def hooks_of(module: nn.Module) -> list[Any]:
    return [hook for each in module.modules() for hook in each._forward_hooks.values()]


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    backbones = [module for module in model.modules() if isinstance(module, Backbone) and not module.trained]
    return [each for module in backbones for each in module.modules()]


def presets() -> list[Any]:
    marked = []
    for name in sorted(preset_names("model")):
        large = read_preset("model", name).settings["model"].get("backbone") in SLOW_TO_BUILD
        marked.append(pytest.param(name, marks=pytest.mark.slow) if large else name)
    return marked


@pytest.mark.parametrize("preset", presets())
def test_no_preset_changes_by_synchronised_batchnorm(preset):
    model, plugin = build(preset), TrainedBatchNormSync()
    before, modules, names, hooks = scores(model), list(model.modules()), list(model.state_dict()), hooks_of(model)
    frozen = frozen_modules(model)
    assert plugin.apply(model) is model
    assert frozen_modules(model) == frozen
    assert not list(trained_batchnorm(model)), "all that is trained is synchronised"
    assert_same_bits(scores(model), before)
    assert hooks_of(model) == hooks
    assert plugin.revert(model) is model
    assert_same_bits(scores(model), before)
    assert list(model.modules()) == modules
    assert list(model.state_dict()) == names
    assert hooks_of(model) == hooks


@pytest.mark.parametrize(
    ("preset", "converted"), [("cutpaste_cpu", True), ("deep_svdd", True), ("f_anogan", True), ("classifier", True),
                              ("stfpm_mobilenetv2", True), ("reverse_distillation_mobilenetv2", True),
                              ("draem_cpu", True),
                              ("fastflow_mobilenetv2", False), ("patchcore_mobilenetv2", False)]
)  # fmt: skip
def test_methods_that_train_batchnorm_share_it(preset, converted):
    model = build(preset)
    assert any(isinstance(module, nn.SyncBatchNorm) for module in TrainedBatchNormSync().apply(model).modules()) is (
        converted
    )


def test_a_frozen_part_of_a_classifier_keeps_its_batchnorm_and_a_frozen_one_stays_frozen():
    spec, settings = DataSpec(32, 3, 20, **CLASSES), {"library": "timm", "backbone": "mobilenetv2_100"}
    model = Classifier(spec, **settings, weights="none", freeze_backbone=True, head="normalised")
    assert [each.name for each in trained_batchnorm(model)] == ["0"], "that of the head alone, which has no scale"
    model = Classifier(spec, **settings, weights="none", freeze_batchnorm=True)
    TrainedBatchNormSync().apply(model)
    assert any(isinstance(module, FrozenBatchNormAct2d) for module in model.modules())
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


def test_a_hook_on_timms_batchnorm_stays_while_it_is_synchronised_and_after():
    model = Classifier(DataSpec(64, 3, 20, **CLASSES), library="timm", backbone="mobilenetv2_100", weights="none")
    assert isinstance(model.backbone.network.get_submodule(model.backbone.last), BatchNormAct2d), "as the test means"
    image, plugin = torch.rand(2, 3, 64, 64), TrainedBatchNormSync()
    expected = model.eval().backbone.with_map(image)
    for change in (plugin.apply, plugin.revert):
        change(model)
        assert_same_bits(list(model.backbone.with_map(image)), list(expected))


def test_batchnorm_without_a_scale_is_trained_where_the_network_around_it_is():
    encoder = Encoder(32, 3, 4, 32)
    assert len(list(trained_batchnorm(encoder))) == 3
    assert not list(trained_batchnorm(nn.Sequential(encoder.requires_grad_(False), nn.Linear(2, 2))))


def test_what_was_learned_meanwhile_stays_also_when_a_device_replaced_the_statistics():
    model, plugin = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), TrainedBatchNormSync()
    original, handle = model[1], model[1].register_forward_hook(lambda *_: None)
    plugin.apply(model)
    assert model[1].weight is original.weight
    model.double().float()  # as a move to a GPU: other buffers in place of these
    model.train()(torch.rand(8, 3, 4, 4) + 3)
    torch.optim.SGD(model.parameters(), 0.1).step()
    learned = {name: value.clone() for name, value in model.state_dict().items()}
    plugin.revert(model.eval())
    assert model[1] is original
    assert not original.training
    assert original.running_mean.any()
    assert all(torch.equal(value, learned[name]) for name, value in model.state_dict().items())
    handle.remove()
    assert not original._forward_hooks


def test_a_module_in_two_places_stays_one():
    shared = nn.BatchNorm2d(3)
    model = nn.Sequential(shared, nn.Sequential(shared))
    plugin = TrainedBatchNormSync()
    plugin.apply(model)
    assert model[0] is model[1][0]
    assert model[0] is not shared
    plugin.revert(model)
    assert model[0] is model[1][0] is shared


def test_timms_batchnorm_keeps_its_activation_while_it_is_synchronised():
    network = timm.create_model("mobilenetv2_100")
    TrainedBatchNormSync().apply(network)
    kinds = {type(module) for module in network.modules()}
    assert SyncBatchNormAct in kinds
    assert BatchNormAct2d not in kinds
    assert network.bn1(torch.randn(2, 32, 4, 4)).min() >= 0


class Doubled(nn.BatchNorm2d):
    def forward(self, maps: Tensor) -> Tensor:
        return 2 * super().forward(maps)


def test_batchnorm_with_a_forward_of_its_own_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"Doubled .* cannot be synchronised .* --trainer.devices 1"):
        TrainedBatchNormSync().apply(nn.Sequential(Doubled(3)))
    decoder = TrainedBatchNormSync().apply(Decoder(32, 3, 4, 32))
    assert not any(isinstance(module, CodeNorm) for module in decoder.modules())


def test_one_process_has_nothing_to_share(monkeypatch):
    monkeypatch.setattr("bench.models.parts.batchnorm.rank_and_processes", lambda: (0, 1))
    model = nn.Sequential(nn.BatchNorm2d(3))
    original = model[0]
    assert TrainedBatchNormSync().apply(model)[0] is original


def test_lightning_takes_it_as_a_plugin_in_place_of_its_own(tmp_path):
    plugin = TrainedBatchNormSync()
    trainer = Trainer(accelerator="cpu", strategy="ddp", devices=2, plugins=[plugin], default_root_dir=tmp_path,
                      logger=False, enable_checkpointing=False)  # fmt: skip
    assert trainer.strategy._layer_sync is plugin
