"""Reverse distillation: its networks against torchvision's blocks, map and loss against plain formulas."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.resnet import BasicBlock, Bottleneck

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.parts.reverse_distillation_network import BlockShape, Decoder, OneClassEmbedding
from bench.models.reverse_distillation import ReverseDistillation

SPEC = DataSpec(64, 3, 12)
SMALL = {"backbone": "mobilenetv2_100", "weights": "none", "levels": [1, 2, 3]}
# By network: torchvision's block, its width, the blocks of the authors' decoder and embedding.
AUTHORS: dict[str, tuple[Any, int, list[int], int]] = {
    "resnet18": (BasicBlock, 64, [2, 2, 2], 2),
    "resnet34": (BasicBlock, 64, [3, 4, 6], 3),
    "resnet50": (Bottleneck, 64, [3, 4, 6], 3),
    "wide_resnet50_2": (Bottleneck, 128, [3, 4, 6], 3),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(size: int = 64, **settings) -> ReverseDistillation:
    return ReverseDistillation(DataSpec(size, 3, 12), **SMALL | settings)


def images(count: int = 3, size: int = 64) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def batch_of(count: int = 3) -> Batch:
    return Batch(images(count), torch.arange(count))


def shapes_of(expansion: int) -> list[tuple[int, ...]]:
    """A ResNet's three levels of an image of 64 pixels."""
    return [(64 * expansion, 16, 16), (128 * expansion, 8, 8), (256 * expansion, 4, 4)]


# The networks of a ResNet: those of the authors' repository, written with torchvision's blocks


def torchvisions_stage(block: Any, width: int, inputs: int, planes: int, count: int, change: str) -> nn.Sequential:
    """`_make_layer` of the authors' resnet.py (down) or de_resnet.py (up)."""
    outputs = planes * block.expansion
    carry = nn.Conv2d(inputs, outputs, 1, 2, bias=False)
    if change == "up":
        carry = nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False)
    first = block(inputs, planes, 2, nn.Sequential(carry, nn.BatchNorm2d(outputs)), base_width=width)
    if change == "up":
        name = "conv2" if block is Bottleneck else "conv1"
        old = getattr(first, name)
        setattr(first, name, nn.ConvTranspose2d(old.in_channels, old.out_channels, 2, 2, bias=False))
    return nn.Sequential(first, *(block(outputs, planes, base_width=width) for _ in range(count - 1)))


class AuthorsEmbedding(nn.Module):
    """`BN_layer` of the authors' resnet.py, without the layers that its forward leaves out."""

    def __init__(self, block: Any, width: int, count: int) -> None:
        super().__init__()
        e = block.expansion
        self.conv1 = nn.Conv2d(64 * e, 128 * e, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(128 * e)
        self.conv2 = nn.Conv2d(128 * e, 256 * e, 3, 2, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(256 * e)
        self.conv3 = nn.Conv2d(128 * e, 256 * e, 3, 2, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(256 * e)
        self.layer = torchvisions_stage(block, width, 3 * 256 * e, 512, count, "down")

    def forward(self, x: list[Tensor]) -> Tensor:
        first = self.bn2(self.conv2(self.bn1(self.conv1(x[0])).relu())).relu()
        second = self.bn3(self.conv3(x[1])).relu()
        return self.layer(torch.cat([first, second, x[2]], 1))


def same_values(ours: nn.Module, theirs: nn.Module) -> None:
    """Give both the same random values, statistics included, in the order in which their modules are declared."""
    own, other = ours.state_dict(), theirs.state_dict()
    assert [value.shape for value in own.values()] == [value.shape for value in other.values()]
    filled = {
        name: value if value.ndim == 0 else torch.rand(value.shape) + 0.1 if "running_var" in name else
        torch.randn(value.shape) / max(1, value[0].numel()) ** 0.5
        for name, value in other.items()
    }  # fmt: skip
    theirs.load_state_dict(filled)
    ours.load_state_dict(dict(zip(own, filled.values(), strict=True)))


def reference_of(backbone: str) -> tuple[list[tuple[int, ...]], AuthorsEmbedding, list[nn.Module]]:
    block, width, blocks, count = AUTHORS[backbone]
    e = block.expansion
    inputs, planes = [512 * e, 256 * e, 128 * e], [256, 128, 64]
    stages = [torchvisions_stage(block, width, *sizes, "up") for sizes in zip(inputs, planes, blocks, strict=True)]
    return shapes_of(e), AuthorsEmbedding(block, width, count), stages


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("backbone", ["resnet18", pytest.param("wide_resnet50_2", marks=pytest.mark.slow)])
def test_embedding_and_decoder_of_a_resnet_are_the_authors(backbone, training):
    shapes, embedding, stages = reference_of(backbone)
    blocks = BlockShape.of(backbone, 3)
    ours = nn.ModuleList([OneClassEmbedding(shapes, blocks), Decoder(shapes, blocks)])
    same_values(ours, nn.ModuleList([embedding, *stages]))
    for module in (ours, embedding, *stages):
        module.train(training)
    features = [torch.randn(2, *shape) for shape in shapes]
    feature, expected = embedding(features), []
    torch.testing.assert_close(ours[0](features), feature, rtol=1e-4, atol=1e-4)
    for stage in stages:
        feature = stage(feature)
        expected.append(feature)
    for found, level in zip(ours[1](ours[0](features)), reversed(expected), strict=True):
        torch.testing.assert_close(found, level, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("backbone", AUTHORS)
def test_embedding_and_decoder_of_a_resnet_have_as_many_parameters_as_the_authors(backbone):
    with torch.device("meta"):
        shapes, embedding, stages = reference_of(backbone)
        blocks = BlockShape.of(backbone, 3)
        ours = [OneClassEmbedding(shapes, blocks), Decoder(shapes, blocks)]
    counts = [
        sum(parameter.numel() for module in modules for parameter in module.parameters())
        for modules in (ours, [embedding, *stages])
    ]
    assert counts[0] == counts[1] > 0


def test_convolutions_begin_with_hes_values_and_transposed_ones_with_torchs():
    """The authors' loop over `nn.Conv2d` leaves out `nn.ConvTranspose2d`, which is none."""
    decoder = Decoder(shapes_of(1), BlockShape.of("resnet18", 3))
    up, plain = decoder.stages[0][0].main[0], decoder.stages[0][0].main[3]
    assert isinstance(up, nn.ConvTranspose2d)
    assert float(up.weight.detach().abs().max()) <= 1 / (256 * 4) ** 0.5 + 1e-6, "uniform within this bound"
    assert float(plain.weight.detach().std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("backbone", "levels", "size"),
    [
        ("mobilenetv2_100", [1, 2, 3], 64),
        ("tf_efficientnet_lite0", [1, 2, 3], 64),
        ("mobilenetv2_100", [1, 3], 64),  # from strides of 4 to 16 at once
        ("mobilenetv2_100", ["blocks.3", "blocks.4"], 64),  # of one stride
        ("resnext50_32x4d", [2, 3], 64),
        ("convnext_atto", [0, 1, 2], 64),
        ("mobilenetv2_100", [1, 2, 3], 96),
    ],
)
def test_features_are_restored_in_the_shapes_of_any_convolutional_teacher(backbone, levels, size):
    model = make(size, backbone=backbone, levels=levels)
    features = model.backbone(images(2, size))
    assert [each.shape for each in model.restore(features)] == [each.shape for each in features]


# Map, score and loss


@torch.no_grad()
def test_the_map_is_the_sum_over_levels_up_sampled_and_blurred_and_the_score_its_maximum():
    model, expected = make().eval(), np.zeros((3, 64, 64))
    features = model.backbone(images())
    for one, other in zip(features, model.restore(features), strict=True):
        a, b = one.double(), other.double()
        cosine = (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
        expected += interpolate(1 - cosine[:, None], 64, mode="bilinear", align_corners=True)[:, 0].numpy()
    expected = np.stack([gaussian_filter(each, 4) for each in expected])
    score, anomaly_map, _ = model(images())
    np.testing.assert_allclose(anomaly_map.numpy(), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(score, anomaly_map.amax(dim=(1, 2)))


@torch.no_grad()
def test_features_restored_without_loss_give_a_map_and_a_loss_of_zero(monkeypatch):
    model = make().eval()
    monkeypatch.setattr(model, "restore", lambda features: [3 * each for each in features])
    assert float(model(images()).map.abs().max()) < 1e-5
    assert abs(float(model.loss(batch_of())["loss"])) < 1e-5


@torch.no_grad()
@pytest.mark.parametrize("cosine", ["image", "position"])
def test_the_loss_is_one_minus_the_cosine_of_whole_levels_or_of_positions(cosine):
    model, expected = make(cosine=cosine).eval(), 0.0
    features = model.backbone(images())
    for one, other in zip(features, model.restore(features), strict=True):
        a, b = (each.double().numpy() for each in (one, other))
        vectors = [(x.ravel(), y.ravel()) for x, y in zip(a, b, strict=True)]
        if cosine == "position":
            places = np.ndindex(len(a), *a.shape[2:])
            vectors = [(a[i, :, row, column], b[i, :, row, column]) for i, row, column in places]
        expected += 1 - np.mean([x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in vectors])
    assert float(model.loss(batch_of())["loss"]) == pytest.approx(expected, rel=1e-5)


# Training


def test_embedding_and_decoder_alone_are_trained_and_each_parameter_gets_a_gradient():
    model = make().train()
    assert not any(module.training for module in model.backbone.modules())
    model.loss(batch_of())["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith(("embedding.", "decoder.")), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    (group,) = model.configure_optimizers().param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (5e-3, (0.5, 0.999), 0)
    assert len(group["params"]) == sum(parameter.requires_grad for parameter in model.parameters())


def test_a_few_images_are_restored():
    model = make(backbone="test_resnet", levels=[1, 2]).train()
    before = {name: value.clone() for name, value in model.backbone.state_dict().items()}
    optimizer, losses = model.configure_optimizers(), []
    for _ in range(60):
        loss = model.loss(batch_of())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]
    assert all(torch.equal(value, before[name]) for name, value in model.backbone.state_dict().items())


# Refusals


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(64, 3, 12, patch=32), {}, "--data.texture_patch null"),
        (DataSpec(80, 3, 12), {}, "grids of 20, 10, 5 at 80 pixels .* --data.image_size"),
        (DataSpec(72, 3, 12), {}, "grids of 18, 9, 5 at 72 pixels"),
        (SPEC, {"levels": [3, 2]}, "from the finest to the coarsest"),
    ],
)
def test_settings_that_cannot_be_restored_are_refused(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        ReverseDistillation(spec, **SMALL | settings)


def test_a_batch_of_one_image_that_batchnorm_cannot_normalise_is_one_line():
    model = make(32).train()
    with pytest.raises(UsageError, match=r"--data\.batch_size"):
        model.loss(Batch(images(1, 32), torch.arange(1)))
    assert model.eval().loss(Batch(images(1, 32), torch.arange(1)))["loss"] > 0
