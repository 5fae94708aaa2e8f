"""The size of chunks: on a CPU they stay in its caches, on a GPU they keep it busy."""

import torch

# Of one operation's output on a GPU: large enough for few launches, small beside the memory of any GPU.
_BYTES_AT_ONCE = 2**28


def rows_at_once(device: torch.device, row_bytes: int, *, on_cpu: int) -> int:
    """Rows that are handled together: `on_cpu` on a CPU; elsewhere as many as fill the bytes, but no fewer."""
    return on_cpu if device.type == "cpu" else max(on_cpu, _BYTES_AT_ONCE // row_bytes)
