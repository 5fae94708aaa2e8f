"""Communication between the processes of a run; with one process, nothing changes."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


def rank_and_processes() -> tuple[int, int]:
    """The rank of this process and the number of processes."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1


def add_over_processes(total: Tensor) -> None:
    """Replace a tensor by its sum over all processes."""
    if rank_and_processes()[1] > 1:
        torch.distributed.all_reduce(total)


def from_first_process(value: Tensor) -> Tensor:
    """The first process's value, in every process."""
    if rank_and_processes()[1] > 1:
        value = value.contiguous()
        torch.distributed.broadcast(value, src=0)
    return value


@torch.no_grad()
def agree_on_buffers(model: nn.Module) -> None:
    """Copy the first process's buffers to all: randomness, or BatchNorm on CPUs, may have made them differ."""
    if rank_and_processes()[1] > 1:
        for buffer in model.buffers():
            buffer.copy_(from_first_process(buffer))


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace gradients by their mean over all processes, as DDP does after each of its own backward passes."""
    processes = rank_and_processes()[1]
    if processes > 1:
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        together = torch.cat([gradient.flatten() for gradient in gradients])
        add_over_processes(together)
        together /= processes
        for gradient, mean in zip(gradients, torch.split(together, [each.numel() for each in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))


def rows_everywhere(rows: Tensor, device: torch.device) -> Tensor:
    """The rows (n, ...) of all processes by ascending rank, in every process; n may differ between processes."""
    counts = _counts(len(rows), device)
    if len(counts) == 1:
        return rows
    largest = max(counts)
    padded = rows.new_zeros(largest, *rows.shape[1:], device=device)
    padded[: len(rows)] = rows.to(device)
    found = [torch.empty_like(padded) for _ in counts]
    torch.distributed.all_gather(found, padded)
    return torch.cat([part[:count] for part, count in zip(found, counts, strict=True)]).to(rows.device)


def rows_on_first(rows: Tensor, device: torch.device) -> Tensor:
    """The rows (n, ...) of all processes on the first one, and none on the others, which need no memory for them.

    The backend sends them from `device`; they end on the device of `rows`.
    """
    counts = _counts(len(rows), device)
    if len(counts) == 1:
        return rows
    rank, _ = rank_and_processes()
    if rank:
        if len(rows):
            torch.distributed.send(rows.to(device).contiguous(), 0)
        return rows[:0]
    found = [rows]
    for source, count in enumerate(counts[1:], 1):
        part = rows.new_empty(count, *rows.shape[1:], device=device)
        if count:
            torch.distributed.recv(part, source)
        found.append(part.to(rows.device))
    return torch.cat(found)


def _counts(own: int, device: torch.device) -> list[int]:
    rank, processes = rank_and_processes()
    if processes == 1:
        return [own]
    counts = torch.zeros(processes, dtype=torch.int64, device=device)
    counts[rank] = own
    add_over_processes(counts)
    return counts.tolist()
