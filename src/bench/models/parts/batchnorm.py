"""BatchNorm whose statistics are taken over the images of all GPUs together."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from lightning.pytorch.plugins import LayerSync
from timm.layers.norm_act import BatchNormAct2d, convert_sync_batchnorm
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from bench.collectives import rank_and_processes
from bench.errors import UsageError

# The forward methods that the synchronised module replaces.
_KNOWN_FORWARDS = (_BatchNorm.forward, BatchNormAct2d.forward)


class Submodule(NamedTuple):
    """The location of a module: `name` in `parent`."""

    parent: nn.Module
    name: str
    module: _BatchNorm


class TrainedBatchNormSync(LayerSync):
    """Synchronises BatchNorm that is trained, while it is trained; a plugin for Lightning's Trainer.

    Lightning's own `sync_batchnorm` converts frozen networks as well, and permanently loses the activation that timm
    keeps within its BatchNorm, which changes the network. This plugin leaves frozen networks alone, uses timm's
    converter, keeps hooks, and puts back the very modules that it replaced.

    torch synchronises on GPUs only; do not use the plugin on CPUs.
    """

    def __init__(self) -> None:
        self._replaced: list[tuple[Submodule, nn.SyncBatchNorm]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        """Replace trained BatchNorm by synchronised modules with the same parameters and statistics."""
        if rank_and_processes()[1] == 1:
            return model
        synchronised: dict[nn.Module, nn.SyncBatchNorm] = {}  # a module may occur twice
        for submodule in list(trained_batchnorm(model)):
            if submodule.module not in synchronised:
                _check_forward(submodule.module)
                synchronised[submodule.module] = _synchronised(submodule.module)
            setattr(submodule.parent, submodule.name, synchronised[submodule.module])
            self._replaced.append((submodule, synchronised[submodule.module]))
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Put the original modules back, with what has been learned."""
        while self._replaced:
            submodule, synchronised = self._replaced.pop()
            original = submodule.module
            # The tensors, not only their values: a move to another device replaces buffers.
            original._parameters.update(synchronised._parameters)
            original._buffers.update(synchronised._buffers)
            original.train(synchronised.training)
            setattr(submodule.parent, submodule.name, original)
        return model


def trained_batchnorm(module: nn.Module, *, around: bool = False) -> Iterator[Submodule]:
    """The trained BatchNorm within a module: with a trained scale, or without a scale in a network that is trained.

    A module is trained if one of its parameters is; without parameters, if the module `around` it is.
    """
    trained = _learns(module, around)
    for name, child in module._modules.items():
        if isinstance(child, _BatchNorm):
            if _learns(child, trained) and not isinstance(child, nn.SyncBatchNorm):
                yield Submodule(module, name, child)
        elif child is not None:
            yield from trained_batchnorm(child, around=trained)


def _learns(module: nn.Module, around: bool) -> bool:
    parameters = list(module.parameters())
    return any(parameter.requires_grad for parameter in parameters) if parameters else around


def _synchronised(original: _BatchNorm) -> nn.SyncBatchNorm:
    convert: Any = convert_sync_batchnorm
    synchronised: nn.SyncBatchNorm = convert(original)
    for name, value in vars(original).items():
        if "_hook" in name:  # the same dictionaries: handles given out before still remove their hooks
            vars(synchronised)[name] = value
    return synchronised


def _check_forward(module: _BatchNorm) -> None:
    """Refuse a class with a forward of its own, which the synchronised module would leave out."""
    kind = type(module)
    if kind.forward not in _KNOWN_FORWARDS and not getattr(module, "alike_over_processes", False):
        raise UsageError(
            f"{kind.__name__} is a BatchNorm with a forward of its own, which cannot be synchronised over GPUs: "
            "train on one, --trainer.devices 1"
        )
