"""What reverse distillation trains: a one-class embedding and a decoder of residual blocks (Deng and Li, CVPR 2022)."""

from itertools import pairwise
from typing import Any, Literal, NamedTuple

import timm
import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from bench.errors import UsageError

_EXPANSION = 4  # output channels of a bottleneck block per channel of the plain one
Change = Literal["down", "up"]


class BlockShape(NamedTuple):
    """The residual blocks of a ResNet, of which the embedding and the decoder are made."""

    bottleneck: bool
    width: float  # inner channels of a bottleneck per channel of the plain ResNet's: 2 for WideResNet-50-2
    groups: int
    blocks: tuple[int, ...]  # of the decoder's stages, from the embedding on
    embedding_blocks: int

    @classmethod
    def of(cls, backbone: str, levels: int) -> "BlockShape":
        """A ResNet's own blocks; for other networks those of ResNet-18.

        In the authors' decoder the first stage has as many blocks as the ResNet's first layer, and so on; their
        embedding has as many as the fourth layer.
        """
        if timm.model_entrypoint(backbone).__module__ != ResNet.__module__:
            return cls(False, 1.0, 1, (2,) * levels, 2)
        # The network without memory, for the backbone has dropped its fourth layer; it draws no numbers of the seed's.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            network: Any = timm.create_model(backbone)
        layers: list[Any] = [network.layer1, network.layer2, network.layer3, network.layer4]
        blocks = (*(len(layer) for layer in layers), *(2,) * levels)[:levels]
        first = layers[0][0]
        if isinstance(first, BasicBlock):
            return cls(False, 1.0, 1, blocks, len(layers[3]))
        groups = first.conv2.groups
        planes = first.conv3.out_channels / _EXPANSION
        return cls(True, first.conv2.out_channels / planes, groups, blocks, len(layers[3]))


class Residual(nn.Module):
    """A ResNet's block, basic or bottleneck, that may halve or double its input's sides.

    Sides are doubled by a transposed convolution of 2 x 2, halved by a convolution of 3 x 3.
    """

    def __init__(self, inputs: int, outputs: int, shape: BlockShape, change: Change | None) -> None:
        super().__init__()
        if shape.bottleneck:
            inner = int(outputs / _EXPANSION * shape.width)
            self.main = nn.Sequential(
                nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
                _convolution(inner, inner, change, shape.groups), nn.BatchNorm2d(inner), nn.ReLU(),
                nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs),
            )  # fmt: skip
        else:
            self.main = nn.Sequential(
                _convolution(inputs, outputs, change), nn.BatchNorm2d(outputs), nn.ReLU(),
                _convolution(outputs, outputs, None), nn.BatchNorm2d(outputs),
            )  # fmt: skip
        self.shortcut: nn.Module = nn.Identity()
        if change is not None or inputs != outputs:
            stride = 2 if change == "down" else 1
            carry = (
                _convolution(inputs, outputs, change)
                if change == "up"
                else nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            )
            self.shortcut = nn.Sequential(carry, nn.BatchNorm2d(outputs))

    def forward(self, features: Tensor) -> Tensor:
        """(B, outputs, h', w') of (B, inputs, h, w)."""
        return torch.relu(self.main(features) + self.shortcut(features))


class OneClassEmbedding(nn.Module):
    """All levels brought to the last one's grid and fused, then to half its sides and twice its channels.

    Args:
        shapes: (channels, h, w) of the teacher's levels, finest first.
        blocks: what its residual blocks are like.
    """

    def __init__(self, shapes: list[tuple[int, ...]], blocks: BlockShape) -> None:
        super().__init__()
        self.fuse = nn.ModuleList(_halvings(shapes[level:]) for level in range(len(shapes)))
        last = shapes[-1][0]
        self.embed = _stage(len(shapes) * last, 2 * last, blocks, blocks.embedding_blocks, ["down"])
        initialise(self)

    def forward(self, levels: list[Tensor]) -> Tensor:
        """The embedding (B, 2 C, h / 2, w / 2) of features (B, ., ., .) of which the last are (B, C, h, w)."""
        fused = torch.cat([fuse(level) for fuse, level in zip(self.fuse, levels, strict=True)], dim=1)
        embedding: Tensor = self.embed(fused)
        return embedding


class Decoder(nn.Module):
    """From the embedding to the teacher's levels, the last of them first.

    Args:
        shapes: (channels, h, w) of the teacher's levels, finest first.
        blocks: what its residual blocks are like.
    """

    def __init__(self, shapes: list[tuple[int, ...]], blocks: BlockShape) -> None:
        super().__init__()
        channels, sides = [shape[0] for shape in shapes], [shape[1] for shape in shapes]
        inputs = [2 * channels[-1], *reversed(channels[1:])]
        ratios = [2, *(finer // coarser for finer, coarser in reversed(list(pairwise(sides))))]
        self.stages = nn.ModuleList(
            _stage(before, after, blocks, count, ["up"] * (ratio.bit_length() - 1))
            for before, after, count, ratio in zip(inputs, reversed(channels), blocks.blocks, ratios, strict=True)
        )
        initialise(self)

    def forward(self, embedding: Tensor) -> list[Tensor]:
        """Features of the teacher's shapes, in its order."""
        levels = []
        for stage in self.stages:
            embedding = stage(embedding)
            levels.append(embedding)
        return levels[::-1]


def check_shapes(shapes: list[tuple[int, ...]], size: int) -> None:
    """A UsageError where halving and doubling does not lead from level to level, finest first, and to the embedding."""
    sides = [shape[1] for shape in shapes]
    ratios = [finer / coarser for finer, coarser in pairwise(sides)]
    if any(ratio < 1 for ratio in ratios):
        raise UsageError("--model.levels go from the finest to the coarsest")
    if sides[-1] % 2 or any(ratio not in (2.0**power for power in range(8)) for ratio in ratios):
        raise UsageError(
            f"the levels' grids of {', '.join(map(str, sides))} at {size} pixels are not halves of each other with an "
            "even last one: choose another --data.image_size, as 256, or other --model.levels"
        )


def initialise(network: nn.Module) -> None:
    """He's initial values for convolutions; transposed ones keep torch's, as in the authors' code."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def _halvings(shapes: list[tuple[int, ...]]) -> nn.Sequential:
    """Convolutions from the first of these levels to the last one's grid and channels."""
    layers: list[nn.Module] = []
    for finer, coarser in pairwise(shapes):
        channels, ratio = finer[0], finer[1] // coarser[1]
        changes: list[Change | None] = ["down"] * (ratio.bit_length() - 1)
        for change in changes or [None]:
            layers += [_convolution(channels, coarser[0], change), nn.BatchNorm2d(coarser[0]), nn.ReLU()]
            channels = coarser[0]
    return nn.Sequential(*layers)


def _stage(inputs: int, outputs: int, shape: BlockShape, count: int, changes: list[Change]) -> nn.Sequential:
    """At least `count` blocks, the first of which make the changes."""
    each: list[Change | None] = [*changes, *[None] * (count - len(changes))] or [None]
    return nn.Sequential(
        *(Residual(inputs if index == 0 else outputs, outputs, shape, change) for index, change in enumerate(each))
    )


def _convolution(inputs: int, outputs: int, change: Change | None, groups: int = 1) -> nn.Module:
    if change == "up":
        return nn.ConvTranspose2d(inputs, outputs, 2, 2, bias=False, groups=groups)
    return nn.Conv2d(inputs, outputs, 3, 2 if change == "down" else 1, 1, bias=False, groups=groups)
