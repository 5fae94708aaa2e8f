"""The costs of a run, declared once: each number of a record that is a cost, with its names, unit and digits."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bench.records.record import CostRecord


@dataclass(frozen=True)
class Cost:
    """One cost of a run.

    Args:
        name: its name where one run is shown.
        unit: the unit in which it is shown.
        digits: the number of digits after the decimal point.
        size: the size of the unit, in units of the record.
        title: its name in tables, with its unit; without one it has no column there.
        recorded: its name with the record's unit, where that is another.
        smaller_is_better: False for a throughput.
    """

    name: str
    unit: str
    digits: int
    size: float = 1.0
    title: str = ""
    recorded: str = ""
    smaller_is_better: bool = True

    def text(self, value: float) -> str:
        """A record's value as text, for a column with `title`."""
        return f"{value / self.size:.{self.digits}f}"

    def with_unit(self, value: float) -> str:
        """A record's value as text with its unit."""
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
# The costs in the leaderboards' tables, in the order of their columns.
COSTS: Mapping[str, Cost] = MappingProxyType({name: cost for name, cost in _COSTS.items() if cost.title})


def smaller_cost_is_better(name: str) -> bool | None:
    """Whether a smaller value of this field of a `CostRecord` is better; None where the field is no cost."""
    return _COSTS[name].smaller_is_better if name in _COSTS else None


def cost_rows(cost: CostRecord) -> list[tuple[str, str]]:
    """The costs of one run: their names, and their values with units."""
    rows = {name: (declared.name, declared.with_unit(getattr(cost, name))) for name, declared in _COSTS.items()}
    memory, parameters = rows["peak_memory_bytes"], rows["parameters"]
    rows["peak_memory_bytes"] = f"{memory[0]} ({cost.peak_memory_of})", memory[1]
    rows["parameters"] = parameters[0], f"{cost.parameters:,} ({cost.trainable_parameters:,} trained)"
    if cost.saved_seconds:
        rows["saved_seconds"] = "of fit and test, read from the cache", f"{cost.saved_seconds:.1f} s"
    return [*rows.values(), ("device", f"{cost.device} x {cost.processes}" if cost.processes > 1 else cost.device)]
