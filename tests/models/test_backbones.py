import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn.functional import interpolate
from torchvision.models import get_model

from bench.errors import UsageError
from bench.models.parts.backbones import Backbone
from bench.models.parts.precision import networks_in
from bench.models.parts.weights import load_weights


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100"])
def test_features_are_those_of_timms_features_only_network(name, tmp_path):
    whole = timm.create_model(name)
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    backbone = Backbone(name, [1, 2, 3], str(tmp_path / "weights.safetensors"), 64)
    expected = timm.create_model(name, features_only=True, out_indices=(1, 2, 3)).eval()
    expected.load_state_dict(whole.state_dict(), strict=False)
    image = torch.rand(6, 3, 64, 64)  # more than are run at once on a CPU
    with torch.inference_mode():
        for ours, theirs in zip(backbone(image), expected((image - backbone.mean) / backbone.std), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_named_modules_are_the_papers_blocks_of_efficientnet_b5():
    backbone = Backbone("tf_efficientnet_b5", ["blocks.1.3", "blocks.3.6", "blocks.4.5"], "none", 64)
    assert backbone.channels == [40, 128, 176]


def test_what_lies_beyond_the_last_level_is_dropped():
    short = Backbone("resnet18", [1], "none", 64)
    whole = timm.create_model("resnet18")
    kept = sum(p.numel() for p in short.parameters())
    wanted = [whole.conv1, whole.bn1, whole.layer1]
    assert kept == sum(p.numel() for module in wanted for p in module.parameters())


def test_a_backbone_never_learns_nor_moves_its_batch_statistics():
    backbone = Backbone("resnet18", [1], "none", 64).train()
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    backbone(torch.rand(2, 3, 64, 64))
    assert not any(p.requires_grad for p in backbone.parameters())
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())


def test_grey_images_are_seen_in_three_equal_channels():
    backbone = Backbone("resnet18", [1], "none", 64)
    grey = torch.rand(1, 1, 64, 64)
    torch.testing.assert_close(backbone(grey)[0], backbone(grey.expand(-1, 3, -1, -1))[0])


@pytest.mark.parametrize(
    ("architecture", "theirs"),
    [
        ("resnet18", "resnet18"),
        ("mobilenetv2_100", "mobilenet_v2"),
        ("efficientnet_b0", "efficientnet_b0"),
        ("vgg11_bn", "vgg11_bn"),
        pytest.param("vgg19", "vgg19", marks=pytest.mark.slow),
        pytest.param("wide_resnet50_2", "wide_resnet50_2", marks=pytest.mark.slow),
    ],
)
def test_torchvisions_weights_make_timms_network_compute_torchvisions_output(architecture, theirs, tmp_path):
    reference = get_model(theirs, weights=None).eval()
    for module in reference.modules():  # statistics that a wrong order would betray
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.8, 1.2)
    save_file(reference.state_dict(), tmp_path / "weights.safetensors")
    network = timm.create_model(architecture).eval()
    load_weights(network, architecture, str(tmp_path / "weights.safetensors"))
    image = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(network(image), reference(image), rtol=1e-3, atol=1e-3)


def test_weights_of_another_architecture_are_refused(tmp_path):
    save_file(timm.create_model("resnet34").state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(UsageError, match="does not fit resnet50"):
        Backbone("resnet50", [1], str(tmp_path / "weights.safetensors"), 64)


def tokens_of(network, image, blocks: int) -> torch.Tensor:
    """Patch tokens after so many blocks and the last norm, step by step as implementations of FastFlow have it."""
    x = network.patch_embed(image)
    prefix = [] if isinstance(network, timm.models.cait.Cait) else [network.cls_token, network.dist_token]
    x = torch.cat([*(token.expand(len(image), -1, -1) for token in prefix), x], dim=1) + network.pos_embed
    for block in network.blocks[:blocks]:
        x = block(x)
    return network.norm(x)[:, len(prefix) :]


@pytest.mark.parametrize(("name", "block"), [("deit_tiny_distilled_patch16_224", 7), ("cait_xxs24_224", 20)])
def test_a_level_of_a_transformer_is_the_map_of_its_patch_tokens(name, block, tmp_path):
    whole = timm.create_model(name).eval()
    save_file(whole.state_dict(), tmp_path / "weights.safetensors")
    backbone = Backbone(name, [block, 1], str(tmp_path / "weights.safetensors"), 224)
    image = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        for found, number in zip(backbone(image), (block, 1), strict=True):
            expected = tokens_of(whole, (image - backbone.mean) / backbone.std, number + 1)
            torch.testing.assert_close(found, expected.mT.reshape(1, 192, 14, 14), rtol=1e-4, atol=1e-4)
    assert len([module for module in backbone.modules() if type(module) is type(whole.blocks[0])]) == block + 1


def resampled(positions: torch.Tensor, prefix: int, grid: int) -> torch.Tensor:
    """A position embedding of 14 x 14 patches for another grid, class and distillation tokens as they are."""
    square = positions[:, prefix:].mT.reshape(1, -1, 14, 14)
    larger = interpolate(square, size=(grid, grid), mode="bicubic", antialias=True)
    return torch.cat([positions[:, :prefix], larger.flatten(2).mT], dim=1)


@pytest.mark.parametrize("by_tag", [False, True], ids=["file", "tag"])
@pytest.mark.parametrize(
    ("name", "tag", "prefix"),
    [
        ("vit_tiny_patch16_224", "augreg_in21k", 1),
        ("deit_tiny_distilled_patch16_224", "fb_in1k", 2),
        ("cait_xxs24_224", "fb_dist_in1k", 0),
    ],
)
def test_a_transformers_position_embedding_is_resampled_to_images_of_another_size(
    name, tag, prefix, by_tag, tmp_path, monkeypatch
):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    path, whole = tmp_path / f"{name}.{tag}.safetensors", timm.create_model(name)
    torch.nn.init.normal_(whole.pos_embed)
    save_file(whole.state_dict(), path)
    backbone = Backbone(name, [1], tag if by_tag else str(path), 96)
    assert backbone.shapes == [(192, 6, 6)]
    torch.testing.assert_close(backbone.network.pos_embed, resampled(whole.pos_embed.detach(), prefix, 6))


@pytest.mark.parametrize("size", [64, 256])
def test_a_resampled_transformer_has_the_very_features_of_timms(size, tmp_path):
    name, path = "vit_tiny_patch16_224", str(tmp_path / "half.safetensors")
    half = {key: value.half() for key, value in timm.create_model(name).state_dict().items()}
    save_file(half, path)
    backbone = Backbone(name, [7], path, size)
    theirs = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": path}, img_size=size).eval()
    image = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        normalised = ((image - backbone.mean) / backbone.std).contiguous(memory_format=torch.channels_last)
        (expected,) = theirs.forward_intermediates(normalised, indices=[7], norm=True, intermediates_only=True)
        assert torch.equal(backbone(image)[0], expected)


def test_weights_whose_positions_fit_no_square_grid_are_refused(tmp_path):
    state = timm.create_model("vit_tiny_patch16_224").state_dict()
    state["pos_embed"] = state["pos_embed"][:, :-1].clone()
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(UsageError, match="'pos_embed' has another shape"):
        Backbone("vit_tiny_patch16_224", [7], str(tmp_path / "weights.safetensors"), 64)


@pytest.mark.parametrize(
    ("levels", "weights", "size", "named"),
    [
        ([7], "fb_in1k", 250, "a multiple of 16 pixels, not 250: set --data.image_size"),
        ([7], "none", 60, "a multiple of 16 pixels, not 60"),
        ([12], "none", 64, "has no level 12; its levels are 0 to 11"),
        (["blocks.7"], "none", 64, "the numbers of its blocks"),
    ],
)
def test_what_a_transformer_cannot_do_is_named(levels, weights, size, named):
    with pytest.raises(UsageError, match=named):
        Backbone("deit_tiny_distilled_patch16_224", levels, weights, size)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "levels"), [("mobilenetv2_100", [1, 2, 3]), ("test_resnet", [1, 2]), ("deit_tiny_patch16_224", [3])]
)
@torch.inference_mode()
def test_an_images_features_are_the_same_to_the_bit_whichever_images_pass_with_it(name, levels, two_threads):
    torch.manual_seed(0)
    backbone, image = Backbone(name, levels, "none", 64), torch.rand(7, 3, 64, 64)
    whole = backbone(image)
    for groups in ([[0], [1], [2], [3], [4], [5], [6]], [[6, 0, 3], [5, 1], [2, 4]], [[6, 5, 4, 3, 2, 1, 0]]):
        order = torch.tensor([place for group in groups for place in group])
        for expected, found in zip(whole, zip(*(backbone(image[group]) for group in groups), strict=True), strict=True):
            assert torch.equal(torch.cat(found), expected[order])


@pytest.mark.parametrize("name", ["test_resnet", "deit_tiny_patch16_224"])
@torch.inference_mode()
def test_features_are_in_single_precision_also_where_the_network_computes_in_half(name):
    backbone, image, cpu = Backbone(name, [1], "none", 64), torch.rand(3, 3, 64, 64), torch.device("cpu")
    (exact,) = backbone(image)
    with torch.autocast("cpu", torch.bfloat16):
        (in_training,) = backbone(image)
    with networks_in(torch.bfloat16, cpu):
        (in_evaluation,) = backbone(image)
    assert in_training.dtype == torch.float32
    assert in_training.isfinite().all()
    assert torch.equal(in_evaluation, in_training)
    assert not torch.equal(in_training, exact), "the network itself was to compute in half"
    torch.testing.assert_close(in_training, exact, rtol=0.1, atol=0.1 * exact.abs().max().item())
