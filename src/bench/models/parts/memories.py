"""Detect a method that remembers images by itself: on several processes, and in a refit, it would silently be wrong."""

from collections.abc import Mapping, Set
from types import FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from lightning import LightningModule
from torch import Tensor, nn

from bench.errors import RunError
from bench.models.accumulators import Pass, Rows, State, Sum

_BATCHES = 2  # of each process that are checked
_LARGE = 2**24  # values; of a larger tensor only the version is compared
_DEPTH = 4  # of objects within objects
_OF_LIBRARIES = ("torch.", "timm.", "torchvision.")  # their layers remember nothing in evaluation mode
_OF_LIGHTNING = frozenset(vars(LightningModule()))


class _Lent:
    """Stands for a tensor without memory, which it has lent to the sums."""


def accumulate_watched(model: nn.Module, own: Pass, state: State, image: Tensor) -> None:
    """Accumulate a batch; refuse a class that thereby changes anything of its own but its accumulators."""
    if int(state.batches) > _BATCHES:
        own.accumulate(state, image)
        return
    declared = {id(each.into) for each in own.accumulators.values() if isinstance(each, Sum | Rows)}
    before = _values(model, declared) | {"passes()": _content(own.accumulate, declared)}
    own.accumulate(state, image)
    after = _values(model, declared) | {"passes()": _content(own.accumulate, declared)}
    for name, value in after.items():
        lent = isinstance(value, _Lent) and name in before  # it lent its memory to the sums, and `finish` fills it
        if not lent and (name not in before or before[name] != value):
            raise RunError(
                f"{type(model).__name__} changes its '{name}' while it sees the training images; statistics are kept "
                "in accumulators that passes() declares, and 'finish' turns them into buffers"
            )


def public_values(model: nn.Module) -> dict[str, Any]:
    """The attributes that no checkpoint holds: no buffers, no names that begin with '_'."""
    found = {}
    for prefix, module in _own_modules(model):
        for name, value in vars(module).items():
            if not name.startswith("_") and name not in _OF_LIGHTNING:
                found[f"{prefix}.{name}".lstrip(".")] = _content(value, set())
    return found


def check_kept(model: nn.Module, before: Mapping[str, Any]) -> None:
    """Refuse a class that keeps what it has learned in an attribute that no checkpoint holds."""
    for name, value in public_values(model).items():
        if name not in before or before[name] != value:
            raise RunError(
                f"{type(model).__name__} keeps what it has learned in '{name}', which no checkpoint holds; make it a "
                "buffer: self.register_buffer"
            )


def _own_modules(model: nn.Module) -> list[tuple[str, nn.Module]]:
    return [(name, each) for name, each in model.named_modules() if not type(each).__module__.startswith(_OF_LIBRARIES)]


def _values(model: nn.Module, declared: Set[int]) -> dict[str, Any]:
    found = {}
    for prefix, module in _own_modules(model):
        members = {**vars(module), **module._buffers, **module._parameters}
        for name, value in members.items():
            if name not in _OF_LIGHTNING:
                found[f"{prefix}.{name}".lstrip(".")] = _content(value, declared)
    return found


def _content(value: Any, declared: Set[int], depth: int = 0) -> Any:
    """A fingerprint of a value that changes with it, however deep in it the change lies."""
    if isinstance(value, Tensor):
        return None if id(value) in declared else _tensor_content(value)
    if isinstance(value, np.ndarray):
        return value.shape, value.tobytes() if value.dtype != object else [id(each) for each in value.flat]
    if isinstance(value, bool | int | float | complex | str | bytes | None):
        return type(value), repr(value)
    if isinstance(value, nn.Module) or depth > _DEPTH:
        return id(value)
    if isinstance(value, Mapping):
        return {repr(key): _content(each, declared, depth + 1) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_content(each, declared, depth + 1) for each in value]
    if isinstance(value, MethodType):
        return id(value.__func__)
    if isinstance(value, FunctionType):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return id(value.__code__), [_content(each, declared, depth + 1) for each in cells]
    if isinstance(value, Set):
        return sorted(map(repr, value))
    held = getattr(value, "__dict__", None)
    return (id(value), _content(dict(held), declared, depth + 1)) if held and not isinstance(value, type) else id(value)


def _tensor_content(value: Tensor) -> Any:
    version = -1 if value.is_inference() else value._version
    kept = value.layout == torch.strided and value.untyped_storage().nbytes()
    if not kept and value.numel():
        return _Lent()
    if value.numel() > _LARGE:
        return id(value), version
    # The sum as well: changes through `.data` do not count as a new version.
    total = value.detach().float().sum().item()
    return id(value), version, repr(total)  # as text: nan is equal to no nan
