import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model, get_model_weights

from bench.config.settings import resolve
from bench.data.datamodule import DataSpec
from bench.errors import UsageError
from bench.models.classifier import Classifier
from bench.models.parts.classifier_network import ClassifierBackbone
from bench.models.parts.precision import networks_in

CLASSES = ("good", "a", "b")
PRESETS = ("resnet18", "vgg19", "regnet_y_16gf", "mobilenet_v2", "efficientnet_b0")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class WithoutValues(TorchFunctionMode):
    """Large networks in no time: their parameters take no memory and are not drawn."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if func is torch.empty else {}))


def compose(library: str, name: str) -> nn.Module:
    """The library's own network, with a last layer for three classes, without values yet."""
    with WithoutValues():
        return timm.create_model(name, num_classes=3) if library == "timm" else get_model(name, num_classes=3)


@pytest.mark.parametrize(
    ("library", "name", "last", "width", "channels"),
    [
        ("torchvision", "resnet18", "fc", 512, 512),
        ("torchvision", "alexnet", "classifier.6", 4096, 256),  # layers after the pooling, as in VGG, but smaller
        pytest.param("torchvision", "vgg11", "classifier.6", 4096, 512, marks=pytest.mark.slow),
        ("torchvision", "mobilenet_v2", "classifier.1", 1280, 1280),
        ("torchvision", "efficientnet_b0", "classifier.1", 1280, 1280),
        ("torchvision", "regnet_y_400mf", "fc", 440, 440),
        ("timm", "resnet18", "fc", 512, 512),
        ("timm", "test_vit", "head", 64, None),
    ],
)
def test_logits_are_those_of_the_librarys_network_with_its_last_layer_replaced(library, name, last, width, channels):
    spec = DataSpec(224, 3, 20, classes=CLASSES, class_counts=(12, 5, 3))
    model = Classifier(spec, library=library, backbone=name, weights="none").eval()
    assert (model.backbone.width, model.backbone.map_channels) == (width, channels)
    state = model.backbone.network.state_dict()
    state |= {f"{last}.{key}": value for key, value in model.head[1].state_dict().items()}
    whole = compose(library, name)
    whole.load_state_dict(state, assign=True)  # strict: nothing is missing, nothing left over
    whole.eval()
    image = torch.rand(2, 3, 224, 224)
    statistics = [torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    mean, std = statistics if name != "test_vit" else (torch.tensor(0.5), torch.tensor(0.5))
    with torch.inference_mode():
        expected = whole((image - mean) / std)
        torch.testing.assert_close(model(image).logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("library", "name", "channels_first"),
    [
        ("torchvision", "shufflenet_v2_x0_5", True),
        ("torchvision", "mobilenet_v2", True),
        ("timm", "test_resnet", True),
        ("timm", "test_vit", False),
    ],
)
def test_the_last_map_is_what_features_are_pooled_from(library, name, channels_first):
    backbone = ClassifierBackbone(library, name, "none", 64).eval()
    features, last = backbone.with_map(torch.rand(2, 3, 224, 224))
    assert backbone.has_map is (last is not None) is channels_first
    if last is not None:
        assert last.shape == (2, backbone.map_channels, 7, 7)
        torch.testing.assert_close(features, last.mean(dim=(2, 3)), rtol=1e-4, atol=1e-5)


def test_each_map_is_that_of_its_own_images():
    backbone = ClassifierBackbone("timm", "test_resnet", "none", 64).eval()
    first, second = torch.rand(2, 2, 3, 64, 64).unbind()
    expected = backbone.with_map(first)[1]
    backbone(second)
    assert torch.equal(backbone.with_map(first)[1], expected)


def test_building_leaves_batch_statistics_and_mode_as_they_were():
    backbone = ClassifierBackbone("torchvision", "mobilenet_v2", "none", 64)
    assert backbone.training
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.training and m.num_batches_tracked == 0 and not m.running_mean.any() for m in norms)


def tiny(_name: str, **_: object) -> nn.Module:
    """In place of a large network, where its values do not matter."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


@pytest.mark.parametrize(
    ("name", "tag"),
    [
        *(
            (name, "IMAGENET1K_V2" if name in ("regnet_y_16gf", "mobilenet_v2") else "IMAGENET1K_V1")
            for name in PRESETS
        ),
        ("efficientnet_v2_l", "IMAGENET1K_V1"),
    ],
)
def test_images_are_normalised_as_those_that_torchvisions_weights_learned_from(name, tag, monkeypatch):
    monkeypatch.setattr("torchvision.models.get_model", tiny)
    monkeypatch.setattr("bench.models.parts.classifier_network.load_torchvision_weights", lambda *_: None)
    backbone = ClassifierBackbone("torchvision", name, tag, 64)
    facts = get_model_weights(name)[tag].transforms()
    assert backbone.mean.flatten().tolist() == pytest.approx(list(facts.mean))
    assert backbone.std.flatten().tolist() == pytest.approx(list(facts.std))


@pytest.mark.parametrize("name", PRESETS)
def test_a_presets_images_have_the_size_and_the_filter_that_its_weights_learned_from(name):
    config = resolve(model=name, data=None, category="screw", files=[], options={})
    model, data = config.section("model"), config.section("data")
    assert (model["library"], model["backbone"]) == ("torchvision", name)
    facts = get_model_weights(name)[model["weights"]].transforms()
    assert (data["image_size"], data["interpolation"]) == (facts.crop_size[0], facts.interpolation.value)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_differ_in_nothing_but_the_network_and_vggs_rate(name):
    config = resolve(model=name, data=None, category="screw", files=[], options={})
    base = resolve(model="resnet18", data=None, category="screw", files=[], options={})
    differing = {k for k, v in config.section("model").items() if v != base.section("model")[k]}
    assert differing <= {"backbone", "weights", *({"learning_rate"} if name == "vgg19" else ())}
    if name == "vgg19":
        assert config.section("model")["learning_rate"] == base.section("model")["learning_rate"] / 10


def test_a_network_that_ends_in_no_linear_layer_is_refused():
    with pytest.raises(UsageError, match="squeezenet1_0 of torchvision does not end in a linear layer") as raised:
        ClassifierBackbone("torchvision", "squeezenet1_0", "none", 64)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("library", "typed", "nearest"),
    [("torchvision", "resnet81", "resnet18"), ("timm", "wide_resnet50_3", "wide_resnet50_2")],
)
def test_an_unknown_backbone_is_refused_by_the_name_of_the_nearest(library, typed, nearest):
    with pytest.raises(UsageError, match=f"unknown backbone of {library} '{typed}'; did you mean '{nearest}'"):
        ClassifierBackbone(library, typed, "none", 64)


def test_a_network_with_heads_beside_the_last_layer_trains():
    backbone = ClassifierBackbone("torchvision", "googlenet", "none", 64).train()
    assert backbone(torch.rand(2, 3, 64, 64)).shape == (2, 1024)


def test_a_network_of_another_size_than_224_is_built_for_its_own():
    assert ClassifierBackbone("timm", "vit_tiny_patch16_384", "none", 384).width == 192


def test_a_network_that_takes_one_size_only_refuses_another_in_one_line():
    with pytest.raises(UsageError, match="vit_tiny_patch16_224 takes no images of 64 pixels") as raised:
        ClassifierBackbone("timm", "vit_tiny_patch16_224", "none", 64)
    assert "\n" not in str(raised.value)


def test_weights_with_folded_batchnorm_are_refused_unless_it_is_frozen(tmp_path):
    network = get_model("mobilenet_v2")  # fresh statistics are those of folded weights: mean 0, variance 1
    save_file(network.state_dict(), tmp_path / "folded.safetensors")
    weights = str(tmp_path / "folded.safetensors")
    with pytest.raises(UsageError, match=r"BatchNorm folded .* --model.freeze_batchnorm true"):
        ClassifierBackbone("torchvision", "mobilenet_v2", weights, 64)
    assert ClassifierBackbone("torchvision", "mobilenet_v2", weights, 64, freeze_batchnorm=True).width == 1280


@pytest.mark.parametrize(
    ("library", "name"), [("timm", "test_resnet"), ("timm", "mobilenetv2_100"), ("torchvision", "alexnet")]
)
def test_features_map_and_logits_are_in_single_precision_where_the_network_computes_in_half(library, name):
    spec = DataSpec(64, 3, 20, classes=CLASSES, class_counts=(12, 5, 3))
    model, image = Classifier(spec, library=library, backbone=name, weights="none").eval(), torch.rand(2, 3, 64, 64)
    exact, cpu = model.backbone.with_map(image), torch.device("cpu")
    with networks_in(torch.bfloat16, cpu):
        found, logits = model.backbone.with_map(image), model(image).logits
        explained = model.explain(image, torch.tensor([0, 1]))
    assert {part.dtype for part in (*found, logits, explained)} == {torch.float32}
    assert all(part.isfinite().all() for part in (*found, logits, explained))
    for half, full in zip(found, exact, strict=True):
        assert not torch.equal(half, full), "the network itself was to compute in half"
        torch.testing.assert_close(half, full, rtol=0.1, atol=0.1 * full.abs().max().item())
