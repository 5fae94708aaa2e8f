"""The method of a finished run, ready to score images that the run never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from bench.config.settings import Config, resolve
from bench.config.trusted_code import check_is_of_run
from bench.console import say
from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Geometry
from bench.errors import UsageError, first_line
from bench.models.base import Detector, Prediction, as_floats
from bench.records.predictions import parse_predictions
from bench.records.record import CHECKPOINT, PREDICTIONS, RECORD, Record, settings_to_read
from bench.runs.checkpoint import load_checkpoint, read_checkpoint
from bench.runs.environment import find_accelerator
from bench.runs.fitting import build_model
from bench.runs.plan import check_device

_MOST_FOLDS = 1000  # each fold has a folder
Device = Literal["auto", "cpu", "gpu", "mps"]

_ENDED = {"failed": "failed", "interrupted": "was interrupted"}


@dataclass(frozen=True)
class FinishedRun:
    """Everything that scoring needs; no file of the run's data is read."""

    folder: Path
    record: Record
    config: Config
    spec: DataSpec
    geometry: Geometry
    models: Sequence[Detector]  # one classifier per fold; else one model
    device: torch.device

    @property
    def threshold(self) -> float | None:
        """The operating threshold; classifiers have none."""
        return self.record.metrics.get("threshold")

    @property
    def batch_size(self) -> int:
        """The batch size of the run's test."""
        return int(self.config.settings["data"]["batch_size"])

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """An image of any size as in the run's test, (side, side, channels); a ValueError for colour in a grey run."""
        if self.spec.channels == 1 and image.mode == "RGB":
            red, green, blue = (np.asarray(band) for band in image.split())
            if not (np.array_equal(red, green) and np.array_equal(green, blue)):
                raise ValueError("is in colour, but the run learned from grey images; convert it to grey")
            image = image.getchannel(0)
        return self.geometry.pixels(image, self.spec.channels)

    @torch.inference_mode()
    def score(self, pixels: NDArray[np.uint8], content: Sequence[Box] | None = None) -> Prediction:
        """Score images (B, side, side, channels); if padded, `content` holds the box of each image in its square.

        Over several folds, log-probabilities are averaged.
        """
        image = as_floats(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device))
        predictions = [model.predict(image, content) for model in self.models]
        if len(predictions) == 1:
            return Prediction(*(None if part is None else part.cpu() for part in predictions[0]))  # type: ignore[arg-type]
        logits = torch.stack([_logits(one).log_softmax(dim=1) for one in predictions]).mean(dim=0).cpu()
        return Prediction(logits[:, 1:].logsumexp(dim=1) - logits[:, 0], None, logits)

    def own_images(self) -> frozenset[str]:
        """SHA-256 of the images that some fold learned from: all images, for a run of several folds."""
        table = self.folder / PREDICTIONS
        if self.record.fold != "all" or not table.is_file():
            return frozenset()
        return frozenset(row.sha256 for row in parse_predictions(table.read_bytes(), table))


def load_run(
    folder: Path,
    *,
    model: str | None = None,
    data: str | None = None,
    device: Device = "auto",
) -> FinishedRun:
    """Build the run's method again and fill it from its checkpoints; `model`, `data` name a user's own YAML files."""
    record = read_finished(folder)
    names = {"model": record.model, "data": record.dataset}
    check_is_of_run(folder, names, record.config, {"model": model, "data": data})
    config = resolve(model=model, data=data, category=None, files=[settings_to_read(record)], options={})
    settings = config.section("data")
    geometry = Geometry(*(settings[name] for name in ("image_size", "crop", "interpolation", "aspect")))
    several = record.fold == "all"
    count = settings["folds"] if several else 1
    if several and not 2 <= count <= _MOST_FOLDS:
        raise UsageError(f"{folder / RECORD} says that it is of {count} folds; run the cell again")
    files = [folder / f"fold-{n}" / CHECKPOINT for n in range(count)] if several else [folder / CHECKPOINT]
    fabric = _fabric(device)
    single = config.settings["trainer"]["precision"] == "16-mixed" and fabric.device.type == "cpu"
    if single:
        say(f"{folder} scored in half precision, which a CPU lacks: here in single precision, scores differ a little")
    models: list[Detector] = []
    for file in files:
        spec = read_spec(file)
        if spec.size != geometry.output or settings["batch_size"] < 1:
            raise UsageError(
                f"{folder / RECORD} does not fit {file}, which was made for images of {spec.size} pixels; "
                "run the cell again"
            )
        detector = build_model(config, spec, weights="none")
        load_checkpoint(detector, file, record.fingerprint)
        check_device(detector, fabric.device, record.model, "--device")
        detector.autocast = None if single else detector.autocast
        models.append(detector.to(fabric.device).eval())
    return FinishedRun(folder, record, config, spec, geometry, models, fabric.device)


def read_finished(folder: Path) -> Record:
    """The record of a finished run; a UsageError for any other."""
    record = Record.read(folder)
    if record.status != "finished":
        raise UsageError(f"{folder} is no finished run, it {_ENDED[record.status]}; go on with it: bench fit --resume")
    if record.track == "one-class" and record.metrics.get("threshold") is None:
        raise UsageError(f"{folder / RECORD} holds no threshold, so nothing can be told from it; run the cell again")
    if record.track == "supervised" and record.confusion is None:
        raise UsageError(f"{folder / RECORD} holds no confusion matrix, so no classes; run the cell again")
    return record


def read_spec(checkpoint: Path) -> DataSpec:
    """What the model in a checkpoint needs to know of its data."""
    content = read_checkpoint(checkpoint)
    if "spec" not in content:
        raise UsageError(
            f"{checkpoint} was written by an earlier bench, which did not say how it was built; fit it again"
        )
    try:
        spec = TypeAdapter(DataSpec).validate_python(content["spec"], strict=True)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"]))
        raise UsageError(
            f"{checkpoint} says oddly how it was built ({where}: {problem['msg']}); fit it again"
        ) from error
    if not (0 < spec.size < 2**16 and spec.channels in (1, 3) and 0 <= spec.train_images < 2**31):
        raise UsageError(f"{checkpoint} is of no model for images: it says it was built for {spec}; fit it again")
    return spec


def _fabric(device: Device) -> Fabric:
    """One device, without any Trainer: nothing is trained. The model itself knows the precision of its scores."""
    try:
        return Fabric(accelerator=find_accelerator(device), devices=1, plugins=[LightningEnvironment()])
    except (RuntimeError, ValueError, MisconfigurationException) as error:
        raise UsageError(f"no device '{device}': {first_line(error)}") from error


def _logits(prediction: Prediction) -> Tensor:
    assert prediction.logits is not None, "only classifiers have folds"
    return prediction.logits
