"""How much is computed at a time: on a CPU what stays in its caches, on a GPU what keeps it busy."""

import torch

# Of what one operation makes: on a GPU few launches, and little beside the memory of any.
_BYTES_AT_ONCE = 2**28


def rows_at_once(device: torch.device, row_bytes: int, *, on_cpu: int) -> int:
    """Rows that are handled together; on other devices than the CPU as many as fill the bytes, and no fewer."""
    return on_cpu if device.type == "cpu" else max(on_cpu, _BYTES_AT_ONCE // row_bytes)
