"""A CUDA device that is none: tensors that say `cuda:0` and hold values of the CPU, for machines without a GPU.

Within `EmulatedCuda` what a GPU refuses is refused, with torch's own words: operations between devices, `.numpy()`, a
generator of the CPU for its draws. Each moment at which the CPU would wait for a GPU is written down. Values are those
of the CPU's kernels: half precision, memory and speed are not emulated.

C++ takes such a tensor for one of the `meta` device, as torch's own FakeTensor does, so that no driver is asked for
and the automatic differentiation stays on this thread.
"""

import traceback
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
_META, _CPU = torch.device("meta"), torch.device("cpu")

# What reads from the device to decide what comes next: values, or how many there are of them.
_WAITING = {
    "_local_scalar_dense",
    "is_nonzero",
    "equal",
    "nonzero",
    "masked_select",
    "unique_dim",
    "unique_consecutive",
    "_unique",
    "_unique2",
    "bincount",
    "repeat_interleave",
    "_linalg_check_errors",
}
_INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
# They join tensors: not even a number of the CPU is taken as one of them.
_JOINING = {"cat", "stack"}
# They read Python's numbers, and `meta` would not keep these.
_READING = {torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor}


class EmulatedTensor(Tensor):
    """A tensor that lies on `cuda:0`, as far as Python is told."""

    value: Tensor  # on the CPU

    @staticmethod
    def __new__(cls, value: Tensor) -> "EmulatedTensor":
        return torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls,
            value.shape,
            strides=value.stride(),
            storage_offset=value.storage_offset(),
            dtype=value.dtype,
            layout=value.layout,
            device=_META,
        )

    def __init__(self, value: Tensor) -> None:
        self.value = value

    device = property(lambda _: DEVICE)  # type: ignore[assignment]
    is_cuda = property(lambda _: True)  # type: ignore[assignment]
    is_cpu = is_meta = property(lambda _: False)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    def __repr__(self) -> str:
        return f"emulated({self.value!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, _args: Any = (), _kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} meets an emulated tensor outside EmulatedCuda")


class EmulatedCuda:
    """A context in which the device `cuda:0` is there.

    Attributes:
        waits: each moment at which the CPU would have waited for the device: operation, file and line.
        operations: how often each operation ran on it.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.operations: Counter[str] = Counter()
        self._modes = ExitStack()

    def __enter__(self) -> "EmulatedCuda":
        # What torch itself writes in Python makes tensors on `cuda` that `_Functions` does not see: no driver is asked.
        self._modes.enter_context(patch("torch.cuda._lazy_init"))
        self._modes.enter_context(_Functions())
        self._modes.enter_context(_Operations(self.waits, self.operations))
        return self

    def __exit__(self, *error: object) -> None:
        self._modes.__exit__(*error)  # type: ignore[arg-type]


def on_cpu(values: Any) -> Any:
    """The values of all emulated tensors in a structure, for a comparison: no wait is counted."""
    return tree_map(lambda each: each.value.detach() if isinstance(each, EmulatedTensor) else each, values)


class _Functions(TorchFunctionMode):
    """Python's calls of torch, before they are taken apart: `cuda` is named to C++ as `meta`."""

    def __torch_function__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        own = bool(args) and isinstance(args[0], EmulatedTensor)
        if own and func in (Tensor.numpy, Tensor.__array__):
            raise TypeError(
                f"can't convert {DEVICE} device type tensor to numpy. "
                "Use Tensor.cpu() to copy the tensor to host memory first."
            )
        if own and func is Tensor.tolist:
            return args[0].cpu().tolist()
        if func is Tensor.cuda:
            return args[0].to(_META)
        if func in _READING and (own or _named(kwargs.get("device")) == _META):
            device = kwargs.pop("device", DEVICE)
            made = func(args[0].value, *args[1:], **kwargs) if func is Tensor.new_tensor else func(*args, **kwargs)
            return made.to(_named(device))
        return func(*tree_map(_named, args), **tree_map(_named, kwargs))


def _named(value: Any) -> Any:
    """`cuda` in any spelling as `meta`; all else as it is."""
    if isinstance(value, str) and value.partition(":")[0] == "cuda":
        return _META
    return _META if isinstance(value, torch.device) and value.type == "cuda" else value


class _Operations(TorchDispatchMode):
    """What remains of the calls, on values."""

    def __init__(self, waits: list[str], operations: Counter[str]) -> None:
        super().__init__()
        self.waits, self.operations = waits, operations

    def __torch_dispatch__(self, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = tree_map(_named, kwargs or {})
        leaves = tree_leaves((args, kwargs))
        emulated = any(isinstance(each, EmulatedTensor) for each in leaves)
        if not emulated and kwargs.get("device") != _META:
            return func(*args, **kwargs)
        if any(isinstance(each, torch.Generator) for each in leaves):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        name = func._schema.name.partition("::")[2]
        written = [each for each in _written(func, args, kwargs) if isinstance(each, Tensor)]
        if name not in ("copy_", "_to_copy"):
            _refuse_other_devices(name, leaves if name not in _INDEXING else tree_leaves((args[0], args[2:])), written)
        if _waits(name, args, kwargs):
            self.waits.append(f"{name} in {_line()}")
        self.operations[name] += 1
        to_cpu = kwargs.get("device") == _CPU
        inner = {**kwargs, "device": _CPU} if kwargs.get("device") == _META else kwargs
        found = func(*_values(args), **_values(inner))
        if to_cpu:
            return found
        if torch.Tag.inplace_view in func.tags:  # what C++ holds of the tensor has a shape of its own
            with no_dispatch(), _on_meta():
                func(*args, **kwargs)
        changed = {id(_values(each)): each for each in written}
        return tree_map(lambda each: _wrapped(each, changed), found)


def _values(values: Any) -> Any:
    return tree_map(lambda each: each.value if isinstance(each, EmulatedTensor) else each, values)


def _wrapped(found: Any, changed: Mapping[int, Tensor]) -> Any:
    """A result on the device; of an operation in place the tensor itself, which it has changed."""
    if not isinstance(found, Tensor):
        return found
    return changed[id(found)] if id(found) in changed else EmulatedTensor(found)


def _refuse_other_devices(name: str, leaves: Iterable[Any], written: list[Tensor]) -> None:
    """CUDA takes numbers of the CPU, tensors without dimensions, and nothing larger; nor does it change those."""
    for each in leaves:
        plain = isinstance(each, Tensor) and not isinstance(each, EmulatedTensor)
        if plain and (each.ndim or name in _JOINING or any(each is own for own in written)):
            raise RuntimeError(
                f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and "
                f"{each.device}! ({name})"
            )


def _waits(name: str, args: Any, kwargs: Any) -> bool:
    if name == "_to_copy":
        to_device = kwargs.get("device")
        crosses = to_device is not None and (to_device == _CPU) == isinstance(args[0], EmulatedTensor)
        return crosses and (to_device == _CPU or not kwargs.get("non_blocking"))
    if name == "copy_":
        target, source = (isinstance(each, EmulatedTensor) for each in args[:2])
        blocking = not (args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        return target != source and (source or blocking)
    if name in _INDEXING:  # masks are counted first, places of the CPU are sent
        return any(
            each.dtype == torch.bool or not isinstance(each, EmulatedTensor) for each in args[1] if each is not None
        )
    return name in _WAITING and kwargs.get("output_size") is None


def _written(func: Any, args: Any, kwargs: Any) -> Iterator[Any]:
    """The arguments that an operation writes to."""
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from tree_leaves(args[place] if place < len(args) else kwargs.get(argument.name))


@contextmanager
def _on_meta() -> Iterator[None]:
    """A context in which C++ takes emulated tensors for what it believes them to be."""
    before = torch._C._meta_in_tls_dispatch_include()
    torch._C._set_meta_in_tls_dispatch_include(True)
    try:
        yield
    finally:
        torch._C._set_meta_in_tls_dispatch_include(before)


def _line() -> str:
    """The line of our own code that is running: no torch's, nor this file's."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if "site-packages" not in path.parts and path != Path(__file__):
            return f"{path.name}:{frame.lineno}"
    return "?"
