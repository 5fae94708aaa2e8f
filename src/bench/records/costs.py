"""What a run costs, declared once: every cost of a record, what it is called and in which unit it is shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.records.record import CostRecord


@dataclass(frozen=True)
class Cost:
    """A cost that tables show: its title, the size of its unit in the record's, and how many digits are written."""

    title: str
    unit: float
    digits: int

    def text(self, value: float) -> str:
        """A record's number in the unit of its title."""
        return f"{value / self.unit:.{self.digits}f}"


# Those of the leaderboards' tables, in the order of their columns.
COSTS: Mapping[str, Cost] = MappingProxyType(
    {
        "fit_seconds": Cost("fit (s)", 1.0, 1),
        "milliseconds_per_image": Cost("ms per image", 1.0, 1),
        "peak_memory_bytes": Cost("peak memory (MiB)", 2.0**20, 0),
        "parameters": Cost("parameters (M)", 1e6, 2),
    }
)
# Of all numbers of a `CostRecord`, which way is better; the others are no cost.
_SMALLER_IS_BETTER = {
    "images_per_second": False,
    **dict.fromkeys((*COSTS, "test_seconds", "checkpoint_bytes"), True),
}


def smaller_cost_is_better(name: str) -> bool | None:
    """Which way a number of a `CostRecord` is better; None where neither way is."""
    return _SMALLER_IS_BETTER.get(name)


def cost_rows(cost: CostRecord) -> list[tuple[str, str]]:
    """What one run took, in words and with units."""
    return [
        ("fit", f"{cost.fit_seconds:.1f} s"),
        ("test", f"{cost.test_seconds:.1f} s"),
        ("one image", f"{cost.milliseconds_per_image:.1f} ms"),
        ("throughput", f"{cost.images_per_second:.1f} images/s"),
        (f"peak memory ({cost.peak_memory_of})", f"{cost.peak_memory_bytes / 2**20:.0f} MiB"),
        ("parameters", f"{cost.parameters:,} ({cost.trainable_parameters:,} trained)"),
        ("checkpoint", f"{cost.checkpoint_bytes / 2**20:.1f} MiB"),
        ("device", f"{cost.device} x {cost.processes}" if cost.processes > 1 else cost.device),
    ]
