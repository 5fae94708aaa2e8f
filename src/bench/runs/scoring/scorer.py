"""The method of a finished run, ready to score images that the run never saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from bench.config.presets import Preset
from bench.config.settings import Config, resolve
from bench.config.trusted_code import check_is_of_run
from bench.console import say
from bench.data.datamodule import DataSpec
from bench.data.digests import file_sha256
from bench.data.geometry import Content, Geometry
from bench.data.masks import read_region
from bench.data.region_of_interest import region_of_product
from bench.data.tiles import images_at_once
from bench.errors import UsageError, first_line
from bench.models.base import Detector, Prediction, as_floats
from bench.records.finished import read_finished
from bench.records.predictions import parse_predictions
from bench.records.record import CHECKPOINT, PREDICTIONS, RECORD, Record, settings_to_read
from bench.runs.checkpoint import load_checkpoint, read_checkpoint
from bench.runs.chosen_threshold import TakenThreshold
from bench.runs.environment import find_accelerator
from bench.runs.fitting import build_model
from bench.runs.plan import check_device

_MOST_FOLDS = 1000  # each fold has a folder
Device = Literal["auto", "cpu", "gpu", "mps"]


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
    region: NDArray[np.bool_] | None = None  # (height, width) the pixels of every image that count
    taken: TakenThreshold | None = None  # a threshold instead of the record's

    @property
    def threshold(self) -> float | None:
        """The threshold that decides: the one that was taken, else the record's; classifiers have none."""
        return self.record.metrics.get("threshold") if self.taken is None else self.taken.image

    @property
    def pixel_threshold(self) -> float | None:
        """The threshold of an anomaly map's pixels, where one was taken."""
        return None if self.taken is None else self.taken.pixel

    @property
    def batch_size(self) -> int:
        """The batch size of the run's test."""
        return images_at_once(int(self.config.settings["data"]["batch_size"]), self.spec.tiles)

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """An image as in the run's test, (side, side, channels).

        A ValueError for colour in a run of grey images, and for another size than that of the region of interest.
        """
        if self.region is not None and self.region.shape[::-1] != image.size:
            width, height = self.region.shape[::-1]
            raise ValueError(f"is of {image.width} x {image.height} pixels, the run's region of {width} x {height}")
        if self.spec.channels == 1 and image.mode == "RGB":
            red, green, blue = (np.asarray(band) for band in image.split())
            if not (np.array_equal(red, green) and np.array_equal(green, blue)):
                raise ValueError("is in colour, but the run learned from grey images; convert it to grey")
            image = image.getchannel(0)
        return self.geometry.pixels(image, self.spec.channels, self.region)

    def content(self, sizes: Sequence[tuple[int, int]]) -> list[Content] | None:
        """The part of each image's square that counts, by the images' width and height; None where it is all of it."""
        if self.geometry.aspect != "pad" and self.region is None:
            return None
        fitted = None if self.region is None else torch.from_numpy(self.geometry.fit_region(self.region))
        return [Content(self.geometry.content(size), fitted) for size in sizes]

    @torch.inference_mode()
    def score(self, pixels: NDArray[np.uint8], content: Sequence[Content] | None = None) -> Prediction:
        """Score images (B, side, side, channels); `content` is the part of each image's square that counts.

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
    model: str | Preset | None = None,
    data: str | Preset | None = None,
    device: Device = "auto",
    threshold: TakenThreshold | None = None,
) -> FinishedRun:
    """Build the run's method again and fill it from its checkpoints; `model`, `data` are a user's own.

    `threshold` decides instead of the record's.
    """
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
        if spec.image_size != geometry.output or settings["batch_size"] < 1:
            raise UsageError(
                f"{folder / RECORD} does not fit {file}, which was made for images of {spec.image_size} pixels; "
                "run the cell again"
            )
        detector = build_model(config, spec, weights="none")
        load_checkpoint(detector, file, record.fingerprint)
        check_device(detector, fabric.device, record.model, "--device")
        detector.autocast = None if single else detector.autocast
        models.append(detector.to(fabric.device).eval())
    region = _region(record, settings)
    return FinishedRun(folder, record, config, spec, geometry, models, fabric.device, region, threshold)


def _region(record: Record, settings: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """The run's region of interest; a UsageError where its file has changed, or each image has a region of its own."""
    if record.data.region is None:
        return None
    path = region_of_product(Path(settings["region"] or ""), record.category)
    if path is None:
        raise UsageError("the run judges a region of each of its images; of other images none is known")
    if not path.is_file() or file_sha256(path) != record.data.region:
        raise UsageError(f"{path} is not the region of interest that the run judged; put that file back")
    return read_region(path, settings["mask_threshold"])


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
    tiles = spec.tiles
    cut = tiles is None or (0 <= 2 * tiles.overlap <= tiles.side == spec.size < tiles.size < 2**16)
    if not (cut and 0 < spec.size < 2**16 and spec.channels in (1, 3) and 0 <= spec.train_images < 2**31):
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
