"""What a run costs, declared once: each number of a record that is a cost, its names, unit and digits."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.records.record import CostRecord


@dataclass(frozen=True)
class Cost:
    """A cost.

    Args:
        name: what it is called where one run is shown.
        unit: in which it is shown.
        digits: how many are written behind the point.
        size: of the unit, in the record's.
        title: what it is called in tables, with its unit; without one it has no column there.
        recorded: the same in the record's unit, where that is another.
        smaller_is_better: a throughput is the other way round.
    """

    name: str
    unit: str
    digits: int
    size: float = 1.0
    title: str = ""
    recorded: str = ""
    smaller_is_better: bool = True

    def text(self, value: float) -> str:
        """A record's number, to stand below `title`."""
        return f"{value / self.size:.{self.digits}f}"

    def with_unit(self, value: float) -> str:
        """A record's number, to stand alone."""
        return f"{self.text(value)} {self.unit}"


_COSTS = {
    "fit_seconds": Cost("fit", "s", 1, title="fit (s)"),
    "test_seconds": Cost("test", "s", 1),
    "milliseconds_per_image": Cost("one image", "ms", 1, title="ms per image"),
    "images_per_second": Cost("throughput", "images/s", 1, smaller_is_better=False),
    "peak_memory_bytes": Cost(
        "peak memory", "MiB", 0, 2.0**20, title="peak memory (MiB)", recorded="peak memory (bytes)"
    ),
    "parameters": Cost("parameters", "M", 2, 1e6, title="parameters (M)", recorded="parameters"),
    "checkpoint_bytes": Cost("checkpoint", "MiB", 1, 2.0**20),
}
# Those of the leaderboards' tables, in the order of their columns.
COSTS: Mapping[str, Cost] = MappingProxyType({name: cost for name, cost in _COSTS.items() if cost.title})


def smaller_cost_is_better(name: str) -> bool | None:
    """Which way a number of a `CostRecord` is better; None where it is no cost."""
    return _COSTS[name].smaller_is_better if name in _COSTS else None


def cost_rows(cost: CostRecord) -> list[tuple[str, str]]:
    """What one run took, in words and with units."""
    rows = {name: (declared.name, declared.with_unit(getattr(cost, name))) for name, declared in _COSTS.items()}
    memory, parameters = rows["peak_memory_bytes"], rows["parameters"]
    rows["peak_memory_bytes"] = f"{memory[0]} ({cost.peak_memory_of})", memory[1]
    rows["parameters"] = parameters[0], f"{cost.parameters:,} ({cost.trainable_parameters:,} trained)"
    return [*rows.values(), ("device", f"{cost.device} x {cost.processes}" if cost.processes > 1 else cost.device)]
