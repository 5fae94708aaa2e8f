"""A classifier's backbone: any network of torchvision or timm, without its last layer."""

from typing import Any, Literal

import timm
import torch
import torchvision
from timm.layers.norm_act import freeze_batch_norm_2d
from torch import Tensor, nn

from bench.errors import UsageError, first_line, unknown
from bench.models.parts.precision import network_precision
from bench.models.parts.weight_files import has_identity_batchnorm, refuse_identity_batchnorm
from bench.models.parts.weights import (
    NONE,
    input_statistics,
    load_torchvision_weights,
    load_weights,
    torchvision_statistics,
)

Library = Literal["torchvision", "timm"]

_PROBE = 224
# Networks with auxiliary classifiers, which only their own training needs; they normalise images once more inside.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}


class ClassifierBackbone(nn.Module):
    """Features of a whole image, and the last map that they are pooled from.

    Args:
        library: whose network it is.
        name: its name there.
        weights: a file, a tag of the library's, or 'none' for random ones.
        size: side of the square input in pixels.
        freeze_batchnorm: whether BatchNorm keeps the weights' statistics, scales and offsets.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, library: Library, name: str, weights: str, size: int, *, freeze_batchnorm: bool = False) -> None:
        super().__init__()
        build = _torchvision_network if library == "torchvision" else _timm_network
        network, (mean, std) = build(name, weights)
        if not freeze_batchnorm and weights != NONE:
            _check_batchnorm(network, weights)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        freeze: Any = freeze_batch_norm_2d
        # Channels last: on CPUs, training of convolutions takes two thirds of the time.
        self.network: Any = (freeze(network) if freeze_batchnorm else network).to(memory_format=torch.channels_last)
        self.last, self.map_channels = "", None
        for probed in dict.fromkeys((size, _PROBE)):
            self.width, last, channels = self._probe(name, probed, required=probed == size)
            if channels is not None:  # at small sizes a map has one position and is not recognised
                self.last, self.map_channels = last, channels
        if self.has_map:
            self.network.get_submodule(self.last).register_forward_hook(_keep_output)

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, width) of (B, 1 or 3, side, side) images in [0, 1], in single precision."""
        return self.with_map(image)[0]

    def with_map(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """The features, and the last map (B, C, h, w); None for networks without one, such as transformers."""
        image = ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)
        with network_precision(image.device):
            features: Tensor = self.network(image)
        last = self.network.get_submodule(self.last).__dict__.pop("kept_output") if self.has_map else None
        return features.flatten(1).float(), last

    @property
    def has_map(self) -> bool:
        """Whether features are pooled from a map; those of most transformers are not."""
        return self.map_channels is not None

    def _probe(self, name: str, size: int, *, required: bool) -> tuple[int, str, int | None]:
        """Width of the features; the last module whose output has more than one position, and its channels."""
        found: tuple[str, tuple[int, ...]] = ("", ())

        def note(module_name: str) -> Any:
            def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
                nonlocal found
                if isinstance(output, Tensor) and output.shape[2:].numel() > 1:
                    found = (module_name, tuple(output.shape))

            return hook

        hooks = [m.register_forward_hook(note(n)) for n, m in self.network.named_modules() if n]
        was_training = self.network.training
        self.network.eval()
        try:
            with torch.inference_mode():
                features = self.network(torch.zeros(1, 3, size, size))
        except (AssertionError, RuntimeError, ValueError) as error:
            if required:
                raise UsageError(f"{name} takes no images of {size} pixels ({first_line(error)})") from error
            return self.width, "", None
        finally:
            self.network.train(was_training)
            for hook in hooks:
                hook.remove()
        if features.ndim not in (2, 4) or features[0].numel() < 2:
            raise UsageError(f"{name} gives no features of a whole image; name another --model.backbone")
        layer, shape = found
        # Channels first: where transformers end in (B, tokens, C) or (B, h, w, C) there is no map to read.
        square = len(shape) == 4 and shape[2] == shape[3]
        return features[0].numel(), layer, shape[1] if square else None


def _check_batchnorm(network: nn.Module, weights: str) -> None:
    """Refuse to train BatchNorm that was folded into its convolutions: by a batch's statistics it ends in zeros."""
    if has_identity_batchnorm(network.state_dict()):
        raise refuse_identity_batchnorm(weights)


def _keep_output(module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
    # Kept on the module itself, by a function of this file: a copied network keeps its own output, and pickle finds the
    # function. The network goes on with the kept tensor, so that its features have a gradient for it in half precision
    # too.
    kept = output.float()
    module.__dict__["kept_output"] = kept
    return kept


def _torchvision_network(name: str, weights: str) -> tuple[nn.Module, Any]:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise unknown("backbone of torchvision", name, known, hint="--model.library timm has others")
    auxiliary = _AUXILIARY.get(name, ())
    settings = {"init_weights": False, "transform_input": True} if auxiliary else {}
    network: Any = torchvision.models.get_model(name, weights=None, **settings)
    layers = [n for n, module in network.named_modules() if isinstance(module, nn.Linear)]
    layers = [n for n in layers if not n.startswith(auxiliary or (" ",))]
    if not layers:
        raise UsageError(f"{name} of torchvision does not end in a linear layer; name another --model.backbone")
    load_torchvision_weights(network, name, weights, layers[-1])
    if auxiliary:
        network.aux_logits = False
        for module in auxiliary:
            setattr(network, module, None)
    parent, _, own = layers[-1].rpartition(".")
    setattr(network.get_submodule(parent), own, nn.Identity())
    return network, torchvision_statistics(name, weights)


def _timm_network(name: str, weights: str) -> tuple[nn.Module, Any]:
    if name not in timm.list_models():
        raise unknown("backbone of timm", name, timm.list_models(), hint="timm.list_models() names them all")
    network: Any = timm.create_model(name)
    load_weights(network, name, weights)
    network.reset_classifier(0)
    return network, input_statistics(name, weights)
