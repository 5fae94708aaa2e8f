"""Mixed precision: networks may run in half precision; scores, maps and statistics never do.

Under autocast every matrix product has half precision, even the two that up-sample a map: an SSIM residual between 0
and .242 became one between -8.7 and 8.8, and PaDiM's threshold a whole number. So the passes of a run leave autocast,
and only networks enter it again.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch

_MIXED = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}

_of_networks: ContextVar[torch.dtype | None] = ContextVar("precision of networks", default=None)


def autocast_dtype(precision: str) -> torch.dtype | None:
    """The dtype of networks for Lightning's name of a precision; None: single precision, like all else."""
    return _MIXED.get(precision)


def full_precision(device: torch.device) -> torch.autocast:
    """A context outside autocast: products have the precision of their factors."""
    return torch.autocast(device.type, enabled=False)


@contextmanager
def networks_in(dtype: torch.dtype | None, device: torch.device) -> Iterator[None]:
    """A context outside autocast, in which `network_precision` still puts networks into autocast."""
    token = _of_networks.set(dtype)
    try:
        with full_precision(device):
            yield
    finally:
        _of_networks.reset(token)


def precision_of_networks(device: torch.device) -> torch.dtype | None:
    """The dtype that a network computes in within `network_precision`; None: that of its weights.

    In a training step Lightning has entered autocast, which then decides.
    """
    dtype = _of_networks.get()
    if dtype is None and torch.is_autocast_enabled(device.type):
        return torch.get_autocast_dtype(device.type)
    return dtype


def network_precision(device: torch.device) -> AbstractContextManager[object]:
    """The context of a network's forward pass.

    Inside `networks_in` this is the autocast of the run. Elsewhere, as in a training step, it changes nothing:
    Lightning has entered autocast already.
    """
    dtype = _of_networks.get()
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
