"""Declared statistics of the training images: correct on any number of processes, however often they are learned."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.collectives import add_over_processes, from_first_process, rank_and_processes


@dataclass(frozen=True, init=False)
class _Reduced:
    """An accumulator reduced over all processes: its shape, and the buffer that it is kept in, if any."""

    shape: tuple[int, ...]
    into: Tensor | None

    def __init__(self, *shape: int, into: Tensor | None = None) -> None:
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "into", into)


class Sum(_Reduced):
    """A sum (*shape) over all images of all processes, in double precision where the device has it.

    With `into`, a buffer of that shape, the sum is kept in it alone, in the buffer's own precision.
    """


class Rows(_Reduced):
    """A row (*shape) for each image of all processes, in the order of the images; written at `state.indices`.

    With `into`, a buffer (N, *shape) with room for the largest pass, the rows are kept in it alone.
    """


@dataclass(frozen=True)
class OwnRows:
    """A row (*shape) for each image of this process, not shared with others; written at `state.own_indices`."""

    shape: tuple[int, ...]

    def __init__(self, *shape: int) -> None:
        object.__setattr__(self, "shape", shape)


@dataclass(frozen=True)
class First:
    """A value (*shape) of the first batch of the first process, in every process; `state.first` sets it.

    Sums of values far from zero cancel when squares are subtracted later. Sums shifted by any value near the mean do
    not.
    """

    shape: tuple[int, ...]

    def __init__(self, *shape: int) -> None:
        object.__setattr__(self, "shape", shape)


Accumulator = Sum | Rows | OwnRows | First


class State:
    """What one pass has accumulated: each accumulator is a tensor under its name.

    Attributes:
        images: number of images of all processes in this pass.
        indices: (B,) indices of the batch's images in the order of all processes' images.
        own_indices: (B,) indices of the batch's images among this process's own.
        batches: number of batches that this process has accumulated, this one included.
    """

    images: int
    indices: Tensor
    own_indices: Tensor
    batches: int

    def __init__(self, accumulators: Mapping[str, Accumulator], images: int, device: torch.device) -> None:
        rank, processes = rank_and_processes()
        self.images = images
        self._accumulators, self._device = dict(accumulators), device
        self._told: set[str] = set()
        self._own_images = len(range(rank, images, processes))
        self._values = {name: self._zeros(each) for name, each in accumulators.items()}
        self._seen, self.batches = 0, 0

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(f"the pass declares no accumulator '{name}'") from None

    def __setattr__(self, name: str, value: Any) -> None:
        values = self.__dict__.get("_values", {})
        if name in values:
            if value is not values[name]:  # `state.total += x` sets the very tensor it has changed
                raise AttributeError(f"'{name}' is added to in place: state.{name} += ..., never state.{name} = ...")
        elif name in type(self).__annotations__ or name.startswith("_"):
            self.__dict__[name] = value
        else:
            raise AttributeError(f"the pass declares no accumulator '{name}'")

    def first(self, name: str, value: Callable[[], Tensor]) -> Tensor:
        """The accumulator `name`, a `First`: what `value` returned on the first batch of the first process."""
        if name not in self._told:
            self._values[name].copy_(value())
            self._told.add(name)
        told: Tensor = self._values[name]
        return told

    def take(self, name: str) -> Tensor:
        """Remove and return an accumulator, so that its memory is freed when the caller drops it."""
        return self._values.pop(name)

    @property
    def all_own_indices(self) -> Tensor:
        """Indices of this process's images in the order of all processes' images."""
        rank, processes = rank_and_processes()
        return torch.arange(rank, self.images, processes, device=self._device)

    def fill(self, batches: Iterable[Tensor], accumulate: Callable[["State", Tensor], None]) -> None:
        """Accumulate this process's batches, and reduce the accumulators over all processes.

        The first process accumulates its first batch before the others begin, and its `First` values are theirs too.
        """
        waiting = iter(batches)
        if rank_and_processes()[0] == 0:
            self._add(next(waiting), accumulate)
        for name, accumulator in self._accumulators.items():
            if isinstance(accumulator, First):
                self._values[name].copy_(from_first_process(self._values[name]))
                self._told.add(name)
        for batch in waiting:
            self._add(batch, accumulate)
        for name, accumulator in self._accumulators.items():
            if isinstance(accumulator, Sum | Rows):
                add_over_processes(self._values[name])

    def _add(self, batch: Tensor, accumulate: Callable[["State", Tensor], None]) -> None:
        rank, processes = rank_and_processes()  # image i of the order lies on process i modulo their number
        self.own_indices = torch.arange(self._seen, self._seen + len(batch), device=self._device)
        self.indices = rank + processes * self.own_indices
        self._seen += len(batch)
        self.batches += 1
        accumulate(self, batch)

    def _zeros(self, accumulator: Accumulator) -> Tensor:
        shape = accumulator.shape
        if isinstance(accumulator, Sum | Rows) and accumulator.into is not None:
            into = accumulator.into.zero_()
            return into[: self.images] if isinstance(accumulator, Rows) else into
        if isinstance(accumulator, Sum):
            dtype = torch.float32 if self._device.type == "mps" else torch.float64
            return _zeros(shape, dtype, self._device)
        if isinstance(accumulator, First):
            return _zeros(shape, torch.float32, self._device)
        rows = self.images if isinstance(accumulator, Rows) else self._own_images
        return _zeros((rows, *shape), torch.float32, self._device)


def _zeros(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros; on a CPU by numpy, which takes memory from the system only where something is written."""
    if device.type != "cpu":
        return torch.zeros(shape, dtype=dtype, device=device)
    return torch.from_numpy(np.zeros(shape, np.float64 if dtype is torch.float64 else np.float32))


@dataclass(frozen=True)
class Pass:
    """One pass over all training images, or over those held out, without augmentation and in evaluation mode.

    Accumulators are zero when it begins, and are reduced over all processes when `finish` is called, so that neither
    function needs to know of processes, batches or earlier passes.

    Args:
        name: what it learns, as a person would say it.
        accumulators: what it adds up, by name.
        accumulate: adds (B, channels, size, size) images in [0, 1] to the accumulators, in place.
        finish: turns them into buffers of the model, which later passes can use.
        epoch: the training epoch before which it runs; None: after training, or instead of it.
        held_out: it sees the images that set the threshold, which no method that trains learns from, and runs last.
    """

    name: str
    accumulators: Mapping[str, Accumulator]
    accumulate: Callable[[State, Tensor], None]
    finish: Callable[[State], None]
    epoch: int | None = None
    held_out: bool = False
