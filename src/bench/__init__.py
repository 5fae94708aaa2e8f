"""Which method finds the defects of this product best, how sure is that, and what does it cost?

The public interface. Names are imported when they are asked for: `import bench` alone takes no time.

    import bench

    run = bench.fit("padim", "screw", seed=1, settings={"data.root": "~/mvtec_ad", "data.image_size": 256})
    run.metrics["image_auroc"], run.record, run.folder, run.predictions
    scored = bench.load(run.folder).score(["part.png"])
    bench.load_records("runs")
    bench.tables("runs")
"""

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from bench.version import __version__ as __version__

if TYPE_CHECKING:
    from bench.data.datamodule import DataSpec, DefectData
    from bench.errors import RunError, UsageError
    from bench.interface.run import Run, fit, load
    from bench.interface.scored import Scored
    from bench.interface.sweep import run_sweep
    from bench.interface.tables import load_records, tables
    from bench.models.accumulators import Pass, Rows, Sum
    from bench.models.base import Detector, Prediction

__all__ = [
    "DataSpec", "DefectData", "Detector", "Pass", "Prediction", "Rows", "Run", "RunError", "Scored", "Sum",
    "UsageError", "fit", "load", "load_records", "run_sweep", "tables",
]  # fmt: skip
_HOMES = {
    "bench.data.datamodule": ("DataSpec", "DefectData"),
    "bench.errors": ("RunError", "UsageError"),
    "bench.interface.run": ("Run", "fit", "load"),
    "bench.interface.scored": ("Scored",),
    "bench.interface.sweep": ("run_sweep",),
    "bench.interface.tables": ("load_records", "tables"),
    "bench.models.accumulators": ("Pass", "Rows", "Sum"),
    "bench.models.base": ("Detector", "Prediction"),
}


def __getattr__(name: str) -> Any:
    if sys.platform == "win32" and name in __all__:
        raise ImportError("bench does not run on Windows itself; use it in WSL 2")
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module 'bench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
