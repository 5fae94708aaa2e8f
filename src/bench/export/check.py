"""Whether an exported file scores the run's test images as the run does, by its own script and by onnxruntime."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.config.tracks import TRACKS
from bench.data.datamodule import DefectData
from bench.data.layout import Sample
from bench.errors import RunError, UsageError, first_line
from bench.models.base import Prediction
from bench.phases import phase
from bench.runs.scoring.scorer import FinishedRun

SCORES, MAPS = (
    1e-4,
    1e-3,
)  # the largest deviations: of a score relative to it, of a map's values relative to their range


@dataclass
class Comparison:
    """How the file's outputs differ from the run's, over all test images."""

    images: int = 0
    other_pixels: list[str] = field(default_factory=list)
    other_verdicts: list[str] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)  # the run's and the file's
    map_deviation: float = 0.0  # largest difference of a map's values
    map_low: float = float("inf")
    map_high: float = float("-inf")
    seconds: list[tuple[float, float]] = field(default_factory=list)  # torch's and onnxruntime's, for one image

    @property
    def score_deviation(self) -> float:
        """The largest, relative to the score, or to a tenth of the range of all where that is larger.

        A score may lie near 0, as a difference of two numbers does: its last digits are then of the numbers' size.
        """
        own, found = np.array(self.scores).T
        size = np.maximum(np.abs(own), max(np.ptp(own) / 10, 1e-12))
        return float((np.abs(found - own) / size).max())

    @property
    def relative_map_deviation(self) -> float | None:
        """The largest, relative to the range of all maps; None for a method without maps."""
        width = self.map_high - self.map_low
        return None if width == float("-inf") else self.map_deviation / max(width, 1e-12)

    @property
    def milliseconds(self) -> tuple[float, float]:
        """The median time of one image, warm, by torch and by onnxruntime."""
        return tuple(1000 * statistics.median(each) for each in zip(*self.seconds[1:] or self.seconds, strict=True))

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON."""
        torch_ms, onnx_ms = self.milliseconds
        return {
            "images": self.images,
            "verdicts_that_differ": len(self.other_verdicts),
            "largest_score_deviation": self.score_deviation,
            "largest_map_deviation": self.relative_map_deviation,
            "torch_milliseconds_p50": torch_ms,
            "onnxruntime_milliseconds_p50": onnx_ms,
            "threads": torch.get_num_threads(),
        }


def compare(run: FinishedRun, data: DefectData, model: Path, script: Path) -> Comparison:
    """Score all test images by the run and, through the script, by the file."""
    samples = _test_images(run, data)
    if not samples:
        raise UsageError(f"{run.folder} has no test images to check the file by; leave the check out: --no-check")
    predict = load_script(script)
    exported = predict.Model(model, sess_options=_on_as_many_threads())
    found = Comparison()
    with phase("checking the file on test images", len(samples)) as counted:
        for sample in samples:
            _compare_image(found, run, sample, predict, exported)
            counted.advance()
    return found


def refuse_differences(found: Comparison, *, half: bool) -> None:
    """A RunError of one line where the file is not the run; in half precision the verdicts alone decide."""
    for what, names in (("pixels", found.other_pixels), ("verdicts", found.other_verdicts)):
        if names:
            raise RunError(
                f"the exported file's {what} of {len(names)} of {found.images} test images are not the run's, such as "
                f"{names[0]}; nothing was written"
            )
    deviations = {"a score": (found.score_deviation, SCORES), "a map": (found.relative_map_deviation or 0.0, MAPS)}
    for what, (deviation, most) in deviations.items():
        if not np.isfinite(deviation) or (deviation > most and not half):
            raise RunError(
                f"the exported file's deviation of {what} is {deviation:.1e}, more than {most:g}; nothing was written"
            )


def load_script(path: Path) -> ModuleType:
    """The module that a predict.py is, as it lies there."""
    module = ModuleType("exported_predict")
    module.__file__ = str(path)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


def _test_images(run: FinishedRun, data: DefectData) -> Sequence[Sample]:
    """Those that the run was tested on; folds are tested on all."""
    if TRACKS[run.record.track].learns_from_defects:
        return (*data.full_category.train, *data.full_category.test)
    return data.category.test


def _on_as_many_threads() -> Any:
    """Session options with torch's number of threads, so that times compare."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return options


def _compare_image(found: Comparison, run: FinishedRun, sample: Sample, predict: ModuleType, exported: Any) -> None:
    image = sample.read_image()
    pixels, content = run.pixels(image), run.content([image.size])
    start = time.perf_counter()
    own = run.score(np.stack([pixels]), content)
    middle = time.perf_counter()
    try:
        made, box = predict.fit(predict.read(sample.path, exported.facts), exported.facts)
        begin = time.perf_counter()
        outputs = exported.score(made, box)
    except Exception as error:  # whatever Pillow and onnxruntime raise, the file is of no use
        raise RunError(
            f"the exported predict.py fails on {sample.relative} ({first_line(error)}); nothing was written"
        ) from error
    found.seconds.append((middle - start, time.perf_counter() - begin))
    found.images += 1
    found.scores.append((float(own.score[0]), float(outputs["score"])))
    if not np.array_equal(made[0], pixels) or (content and list(content[0].box) != box):
        found.other_pixels.append(sample.relative)
    if not _same_verdict(run, own, outputs):
        found.other_verdicts.append(sample.relative)
    if own.map is not None:
        _compare_maps(found, own.map[0].numpy(), outputs["map"])


def _same_verdict(run: FinishedRun, own: Prediction, outputs: dict[str, Any]) -> bool:
    if own.logits is not None:
        best = int(own.logits[0].argmax())
        return best == int(outputs["class"]) and (best != 0) == bool(outputs["anomalous"])
    assert run.threshold is not None, "`read_finished` refuses a one-class run without one"
    return (float(own.score[0]) > run.threshold) == bool(outputs["anomalous"])


def _compare_maps(found: Comparison, own: NDArray[np.float32], other: NDArray[np.float32]) -> None:
    # `np.maximum` keeps what is no number, Python's `max` would not.
    found.map_deviation = float(np.maximum(found.map_deviation, np.abs(other - own).max()))
    found.map_low, found.map_high = min(found.map_low, float(own.min())), max(found.map_high, float(own.max()))
