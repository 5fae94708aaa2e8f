"""The whole way from pixels to verdict as one ONNX model."""

import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.errors import RunError, UsageError, first_line
from bench.export.formulations import Formulation, formulate
from bench.runs.scoring.scorer import FinishedRun

if TYPE_CHECKING:
    import onnx

OPSET = 18
IMAGES, BOX = "images", "box"
_MOST_BYTES = 2**31 - 2**20  # of one file of Protocol Buffers, with room for the graph itself
_EXAMPLES = 2  # images that the exporter sees; their number stays free


class ScoredPixels(nn.Module):
    """Images (N, side, side, channels) of bytes to score, verdict and what else the method says, by `names`."""

    def __init__(self, run: FinishedRun) -> None:
        super().__init__()
        self.methods: Sequence[Formulation] = nn.ModuleList(map(formulate, run.models))  # type: ignore[assignment]
        limit = None if run.threshold is None else torch.tensor(_at_most(run.threshold))
        self.register_buffer("limit", limit)
        self.padded = run.geometry.aspect == "pad" and any(method.reads_box for method in self.methods)
        self.names: list[str] = []

    def forward(self, images: Tensor, box: Tensor | None = None) -> tuple[Tensor, ...]:
        """All outputs, each of N images."""
        pixels = images.permute(0, 3, 1, 2).float() / 255  # as `as_floats`, which divides in place
        found = [method(pixels, box) for method in self.methods]
        outputs = {"score": found[0].score, "map": found[0].map}
        if found[0].logits is not None:
            # As `FinishedRun.score`: over several folds log-probabilities are averaged.
            logits = found[0].logits.float()
            if len(found) > 1:
                logits = torch.stack([one.logits.float().log_softmax(dim=1) for one in found]).mean(dim=0)
                outputs["score"] = logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
            outputs |= {"class": logits.argmax(dim=1), "probabilities": logits.softmax(dim=1)}
            outputs["anomalous"] = outputs["class"] != 0
        else:
            outputs["anomalous"] = outputs["score"] > self.limit
        named = {name: value for name, value in outputs.items() if value is not None}
        self.names = list(named)
        return tuple(named.values())


def make_graph(run: FinishedRun) -> "onnx.ModelProto":
    """The run's model; a UsageError where one file cannot hold it, a RunError where torch cannot export it."""
    side, channels = run.geometry.output, run.spec.channels
    module = ScoredPixels(run)
    inputs: dict[str, Any] = {IMAGES: torch.zeros(_EXAMPLES, side, side, channels, dtype=torch.uint8)}
    if module.padded:
        inputs[BOX] = torch.tensor([[0, 0, side, side]] * _EXAMPLES)
    with torch.no_grad():
        module(*inputs.values())  # tells the names
    count = torch.export.Dim("images")
    try:
        with _silent(), torch.no_grad():
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=module.names,
                dynamic_shapes=tuple({0: count} for _ in inputs),
                external_data=False,
            )
    except Exception as error:  # torch raises its own errors for each step, and onnxscript others
        raise _unwritable(run, first_line(error.__cause__ or error)) from error
    assert program is not None
    size = sum(value.const_value.nbytes for value in program.model.graph.initializers.values() if value.const_value)
    if size > _MOST_BYTES:
        raise UsageError(f"the file would have {size / 1e9:.1f} GB, and one ONNX file holds no more than 2.1")
    model: onnx.ModelProto = program.model_proto
    # Where one way to a graph fails, the exporter tries another, and one of them takes the examples' number for fixed.
    if not all(each.type.tensor_type.shape.dim[0].dim_param for each in model.graph.input):
        raise _unwritable(run, "its code fixes the number of images, as len(image) does; image.shape[0] leaves it free")
    return model


def _unwritable(run: FinishedRun, why: str) -> RunError:
    return RunError(f"torch cannot write {type(run.models[0]).__name__} as ONNX ({why}); nothing was written")


@contextmanager
def _silent() -> Iterator[None]:
    """Without the exporter's progress and advice, which it prints and logs."""
    level = logging.getLogger("torch.onnx").level
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
        logging.getLogger("torch.onnx").setLevel(level)


def _at_most(threshold: float) -> float:
    """The largest single-precision number that is no larger: the same scores lie above it."""
    single = np.float32(threshold)
    return float(single if float(single) <= threshold else np.nextafter(single, np.float32(-np.inf)))
