"""What the file says of itself: how pixels are made, what decides, and where it comes from."""

import json
from collections.abc import Mapping
from typing import Any

from bench.data.datamodule import DefectData
from bench.data.geometry import PADDING
from bench.runs.environment import describe_environment
from bench.runs.scoring.scorer import FinishedRun
from bench.version import __version__

_LEARNED = """\
This model was learned from images of the dataset "{dataset}", category "{category}"{weights}. {words}
"""
_UNKNOWN = (
    "bench does not know their licence: whoever made them decides what may be done with them, and with what is derived "
    "from them."
)
_UNREAD = "The images were not there when it was exported, so that their licence was not read."


def preprocessing(run: FinishedRun) -> dict[str, Any]:
    """How a photo becomes the model's pixels, as predict.py reads it."""
    geometry = run.geometry
    return {
        "size": geometry.size,
        "crop": geometry.crop,
        "interpolation": geometry.interpolation,
        "aspect": geometry.aspect,
        "channels": run.spec.channels,
        "bits": run.config.settings["data"]["bits"],
        "padding": {mode: [value] if isinstance(value, int) else value for mode, value in PADDING.items()},
    }


def metadata_of(run: FinishedRun, data: DefectData | None, *, half: bool) -> dict[str, str]:
    """All of it, as text by name; `data` are the run's, for their licence."""
    record, now = run.record, describe_environment(run.device)
    side, channels = run.geometry.output, run.spec.channels
    # The folder of a run bears these names; a path of this machine belongs to nobody else.
    words: dict[str, Any] = {
        "input": f"images: uint8 (N, {side}, {side}, {channels}), {'RGB' if channels == 3 else 'grey'}, resized by "
        "Pillow as predict.py does: onnxruntime's own resize gives other pixels",
        "preprocessing": preprocessing(run),
        "threshold": run.threshold,
        "threshold_chosen": None if run.threshold is None else "in the fit" if run.taken is None else "after the fit",
        "pixel_threshold": run.pixel_threshold,
        "decision": "anomalous: score > threshold"
        if run.threshold is not None
        else "anomalous: class is not the first",
        "classes": list(run.spec.classes) or None,
        "map_range": record.map_range,
        "model": record.model,
        "dataset": record.dataset,
        "category": record.category,
        "seed": record.seed,
        "run": f"{record.model}/{record.category}/{record.fingerprint}",
        "fingerprint": record.fingerprint,
        "data_digest": record.data.digest,
        "weights": record.weights,
        "commit": record.environment.get("commit"),
        "versions": record.environment.get("packages"),
        "exported_by": {"bench": now["bench"], "commit": now["commit"], "torch": now["packages"]["torch"]},
        "constants": "large ones in half precision, cast to single" if half else "single precision",
        "licence": _licence(run, data),
    }
    return {name: _text(value) for name, value in words.items() if value is not None}


def class_names(metadata: Mapping[str, str]) -> list[str]:
    """The classes that a file names; none for a file with a threshold."""
    return list(json.loads(metadata.get("classes", "[]")))


def _licence(run: FinishedRun, data: DefectData | None) -> str:
    record = run.record
    known = "" if data is None else (data.licence or _UNKNOWN).format(category=record.category, version=__version__)
    source = record.weights.get("source", "none")
    given = "" if source == "none" else f", and from the weights {source}"
    words = {"dataset": record.dataset, "category": record.category, "weights": given, "words": known or _UNREAD}
    return _LEARNED.format(**words).strip()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
