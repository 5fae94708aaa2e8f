"""A classifier's backbone: any network of torchvision or timm, without its last layer."""

from typing import Any, Literal

import timm
import torch
import torchvision
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn

from bench.errors import UsageError, unknown
from bench.models.weights import input_statistics, load_torchvision_weights, load_weights

Library = Literal["torchvision", "timm"]

# Where all weights of torchvision for classification say the same.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_PROBE = 224


class ClassifierBackbone(nn.Module):
    """Features of a whole image, and the last map that they are pooled from.

    Args:
        library: whose network it is.
        name: its name there.
        weights: a file, a tag of the library's, or 'none' for random ones.
        freeze_batchnorm: whether BatchNorm keeps the weights' statistics, scales and offsets.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, library: Library, name: str, weights: str, *, freeze_batchnorm: bool = False) -> None:
        super().__init__()
        build = _torchvision_network if library == "torchvision" else _timm_network
        network, (mean, std) = build(name, weights)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self._kept: list[Tensor] = []
        freeze: Any = freeze_batch_norm_2d
        self.network: Any = freeze(network) if freeze_batchnorm else network
        self.width, last, self.map_channels = self._probe(name)
        if last is not None:
            self.network.get_submodule(last).register_forward_hook(lambda _m, _i, output: self._kept.append(output))

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, width) of (B, 1 or 3, side, side) images in [0, 1]."""
        return self.with_map(image)[0]

    def with_map(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The same, and the last map (B, C, h, w); None where a network has none, as transformers."""
        self._kept.clear()
        features: Tensor = self.network((image - self.mean) / self.std)
        return features.flatten(1), self._kept.pop() if self._kept else None

    @property
    def has_map(self) -> bool:
        """Whether features are pooled from a map; those of most transformers are not."""
        return self.map_channels is not None

    def _probe(self, name: str) -> tuple[int, str | None, int | None]:
        """Width of the features; the last module whose output still has more than one place, and its channels."""
        last: tuple[str, tuple[int, ...]] = ("", ())

        def note(module_name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                nonlocal last
                if isinstance(output, Tensor) and output.shape[2:].numel() > 1:
                    last = (module_name, tuple(output.shape))

            return hook

        hooks = [m.register_forward_hook(note(n)) for n, m in self.network.named_modules() if n]
        was_training = self.network.training
        self.network.eval()
        with torch.inference_mode():
            features = self.network(torch.zeros(1, 3, _PROBE, _PROBE))
        self.network.train(was_training)
        for hook in hooks:
            hook.remove()
        if features.flatten(1).shape[1] < 2 or features.ndim not in (2, 4):
            raise UsageError(f"{name} gives no features of a whole image; name another --model.backbone")
        place, shape = last
        # Channels first: where transformers end in (B, tokens, C) or (B, h, w, C) there is no map to read.
        width = features.flatten(1).shape[1]
        return (width, place, shape[1]) if len(shape) == 4 and shape[2] == shape[3] else (width, None, None)


def _torchvision_network(name: str, weights: str) -> tuple[nn.Module, Any]:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("backbone of torchvision", name, known, hint="--model.library timm has others")
    settings = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    network: nn.Module = torchvision.models.get_model(name, weights=None, **settings)
    layers = [n for n, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise UsageError(f"{name} of torchvision does not end in a linear layer; name another --model.backbone")
    load_torchvision_weights(network, name, weights, layers[-1])
    parent, _, own = layers[-1].rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return network, (_MEAN, _STD)


def _timm_network(name: str, weights: str) -> tuple[nn.Module, Any]:
    if name not in timm.list_models():
        raise unknown("backbone of timm", name, timm.list_models(), hint="timm.list_models() names them all")
    network: Any = timm.create_model(name)
    load_weights(network, name, weights)
    network.reset_classifier(0)
    return network, input_statistics(name, weights)
