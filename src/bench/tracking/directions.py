"""Which way a figure gets better."""

_SMALLER = frozenset({"calibration_error"})
_NEITHER = frozenset({"threshold", "count"})
_COSTS = frozenset(
    {"fit_seconds", "test_seconds", "milliseconds_per_image", "peak_memory_bytes", "parameters", "checkpoint_bytes"}
)


def smaller_is_better(name: str) -> bool | None:
    """Of a figure in a run's summary, such as `image_auroc` or `cost/fit_seconds`; None where neither way is better."""
    group, _, last = name.rpartition("/")
    if group == "cost":
        return {"images_per_second": False}.get(last, True if last in _COSTS else None)
    return None if last in _NEITHER else last in _SMALLER
