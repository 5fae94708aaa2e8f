import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn
from torch.overrides import TorchFunctionMode
from torchvision.models import get_model

from bench.errors import UsageError
from bench.models.parts.classifier_network import ClassifierBackbone
from bench.models.parts.weights import _layers, _timm_keys, fill


class WithoutValues(TorchFunctionMode):
    """Large networks in no time: their parameters take no memory and are not drawn."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}) | ({"device": "meta"} if func is torch.empty else {}))


def build(library: str, name: str) -> nn.Module:
    """A network with random weights, and with statistics that a wrong order would betray."""
    torch.manual_seed(0)
    network = timm.create_model(name) if library == "timm" else get_model(name, weights=None)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


def headless(library: str, name: str, last: str, network: nn.Module) -> nn.Module:
    """The same network without its last layer."""
    if library == "timm":
        network.reset_classifier(0)
        return network
    parent, _, own = last.rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return network


MOBILENETS = {"torchvision": ("mobilenet_v2", "classifier.1"), "timm": ("mobilenetv2_100", "classifier")}
VGGS = {"torchvision": ("vgg11", "classifier.6"), "timm": ("vgg11", "head.fc")}


@pytest.mark.parametrize(
    ("names", "saved", "built"),
    [
        (MOBILENETS, "torchvision", "torchvision"),
        (MOBILENETS, "timm", "timm"),
        (MOBILENETS, "timm", "torchvision"),
        (MOBILENETS, "torchvision", "timm"),
        pytest.param(VGGS, "timm", "torchvision", marks=pytest.mark.slow),
        pytest.param(VGGS, "torchvision", "timm", marks=pytest.mark.slow),
    ],
)
def test_a_file_of_either_library_gives_the_features_of_the_network_that_saved_it(names, saved, built, tmp_path):
    reference = build(saved, names[saved][0])
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    backbone = ClassifierBackbone(built, names[built][0], str(tmp_path / "weights.safetensors"), 64).eval()
    image = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = headless(saved, *names[saved], reference)((image - backbone.mean) / backbone.std)
        torch.testing.assert_close(backbone(image), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("saved", ["timm", "torchvision"])
def test_a_regnets_layers_are_matched_by_their_order(saved, tmp_path):
    names = {"torchvision": "regnet_y_400mf", "timm": "regnety_004"}
    (built,) = names.keys() - {saved}
    reference = build(saved, names[saved])
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    network = build(built, names[built])
    head = {"torchvision": "fc.", "timm": "head.fc."}[built]
    fill(network, names[built], tmp_path / "weights.safetensors", (head,), lambda: _layers(build(saved, names[saved])))
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), reference(image), rtol=1e-4, atol=1e-5)


def test_timms_layers_of_regnet_y_16gf_have_torchvisions_shapes_in_their_order():
    with WithoutValues():
        theirs, own = timm.create_model("regnety_160").state_dict(), get_model("regnet_y_16gf")
        names = _timm_keys("regnet_y_16gf")
    mine = own.state_dict()
    assert [theirs[name].shape for name in names] == [mine[name].shape for name in _layers(own)]


def test_looking_up_the_other_librarys_names_leaves_the_seeds_draws_alone(tmp_path):
    save_file(build("timm", "mobilenetv2_100").state_dict(), tmp_path / "theirs.safetensors")
    save_file(build("torchvision", "mobilenet_v2").state_dict(), tmp_path / "own.safetensors")
    draws = []
    for name in ("theirs", "own"):
        torch.manual_seed(3)
        ClassifierBackbone("torchvision", "mobilenet_v2", str(tmp_path / f"{name}.safetensors"), 64)
        draws.append(torch.rand(4))
    assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("saved", "library", "built", "reason"),
    [
        ("mobilenet_v2", "torchvision", "resnet18", "does not fit resnet18: it lacks 'conv1.weight'"),
        ("mnasnet0_5", "torchvision", "mnasnet1_0", r"does not fit mnasnet1_0: '.*' has another shape"),
        ("mnasnet0_5", "torchvision", "mobilenet_v2", "does not fit mobilenet_v2: it lacks"),
        ("mnasnet0_5", "timm", "mobilenetv2_100", "does not fit mobilenetv2_100: it lacks"),
    ],
)
def test_weights_of_another_architecture_are_refused_by_name(saved, library, built, reason, tmp_path):
    save_file(build("torchvision", saved).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UsageError, match=reason) as raised:
        ClassifierBackbone(library, built, str(tmp_path / "weights.safetensors"), 64)
    assert str(tmp_path / "weights.safetensors") in str(raised.value)


def test_a_last_layer_of_other_classes_is_no_obstacle(tmp_path):
    reference = get_model("mobilenet_v2", num_classes=7)
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    weights = str(tmp_path / "weights.safetensors")
    backbone = ClassifierBackbone("torchvision", "mobilenet_v2", weights, 64, freeze_batchnorm=True)
    assert torch.equal(backbone.network.features[0][0].weight, reference.features[0][0].weight)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"no weights file .*none\.pth; give --model.weights"):
        ClassifierBackbone("torchvision", "mobilenet_v2", str(tmp_path / "none.pth"), 64)


def test_a_densenets_published_file_is_read(tmp_path):
    state = build("torchvision", "densenet121").state_dict()
    # The names of torchvision's file, which its own loader mends: norm.1 for norm1, conv.2 for conv2.
    published = {}
    for name, value in state.items():
        layer, dot, rest = name.rpartition(".denselayer")
        for old in ("norm1", "norm2", "conv1", "conv2"):
            rest = rest.replace(old, f"{old[:-1]}.{old[-1]}")
        published[layer + dot + rest if dot else name] = value
    torch.save(published, tmp_path / "densenet121-a639ec97.pth")
    backbone = ClassifierBackbone("torchvision", "densenet121", str(tmp_path / "densenet121-a639ec97.pth"), 64)
    assert torch.equal(backbone.network.features.conv0.weight, state["features.conv0.weight"])
