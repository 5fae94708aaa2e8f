"""A run as a folder: model.onnx, and predict.py beside it; written whole, or not at all where the check fails."""

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from bench.data.datamodule import DefectData
from bench.export.check import Comparison, compare, refuse_differences
from bench.export.graph import make_graph
from bench.export.half import store_in_half
from bench.export.metadata import metadata_of
from bench.phases import phase
from bench.runs.scoring.scorer import FinishedRun
from bench.writing import check_free, whole_folder, writing_to

MODEL, SCRIPT = "model.onnx", "predict.py"
_TEMPLATE = "predict_script.py"


@dataclass(frozen=True)
class Exported:
    """What was written, and how it compares with the run."""

    folder: Path
    bytes: int
    metadata: dict[str, str]
    comparison: Comparison | None  # None: not checked

    def as_dict(self) -> dict[str, Any]:
        """The outcome as JSON."""
        check = None if self.comparison is None else self.comparison.as_dict()
        return {"model": str(self.folder / MODEL), "bytes": self.bytes, "check": check, "metadata": self.metadata}


def export_run(run: FinishedRun, data: DefectData | None, out: Path, *, half: bool, check: bool) -> Exported:
    """Write the folder; with `check`, only where the file scores the test images of `data` as the run does."""
    with phase("writing the graph"):
        graph = make_graph(run)
        if half:
            store_in_half(graph)
    metadata = metadata_of(run, data, half=half)
    for name, value in metadata.items():
        graph.metadata_props.add(key=name, value=value)
    comparison = None
    with writing_to(out, "--out FOLDER"), whole_folder(out) as folder:
        size = (folder / MODEL).write_bytes(graph.SerializeToString())
        del graph
        (folder / SCRIPT).write_text(
            files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8"), encoding="utf-8"
        )
        if check:
            assert data is not None, "a check needs the run's images"
            comparison = compare(run, data, folder / MODEL, folder / SCRIPT)
            refuse_differences(comparison, half=half)
        check_free(out)  # `out` may have been filled meanwhile
    return Exported(out, size, metadata, comparison)
