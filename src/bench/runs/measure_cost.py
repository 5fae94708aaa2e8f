"""The costs of a run: time, memory, size."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from lightning import Trainer
from torch import Tensor

from bench.data.datamodule import DefectData
from bench.data.loading import Batch
from bench.evaluation.evaluation import TestedFold
from bench.memory import peak_bytes
from bench.models.base import Detector, as_floats
from bench.records.record import CostRecord

_WARM_UP = 2
_FEWEST, _MOST = 3, 15
_SECONDS = 0.3


def measure_cost(model: Detector, tested: Sequence[TestedFold], checkpoint: Path, trainer: Trainer) -> CostRecord:
    """Measure inference of the last fold's model on a batch of its test, and collect all costs of a run."""
    data = tested[-1].data
    memory, of = _peak_memory(trainer.strategy.root_device)
    model.to(trainer.strategy.root_device)  # Lightning leaves it on the CPU after a test
    images = as_floats(_batch_of(data).to(model.device))
    gpu = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else None
    return CostRecord(
        device=gpu or model.device.type,
        processes=trainer.world_size,
        fit_seconds=sum(fold.fit_seconds for fold in tested),
        test_seconds=sum(fold.test_seconds for fold in tested),
        saved_seconds=sum(fold.saved_seconds for fold in tested),
        milliseconds_per_image=1000 * _seconds_per_batch(model, images[:1]),
        images_per_second=len(images) / _seconds_per_batch(model, images),
        peak_memory_bytes=memory,
        peak_memory_of=of,
        parameters=sum(p.numel() for p in model.parameters()),
        trainable_parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        checkpoint_bytes=checkpoint.stat().st_size,
        epochs=trainer.current_epoch,
    )


def _batch_of(data: DefectData) -> Tensor:
    """Bytes of a batch of test images, or of training images where there are no test images."""
    if data.category.test:
        return data.test_batch(list(range(min(data.images_at_once, len(data.category.test))))).image
    batch: Batch = next(iter(data.ordered_train_loader(data.training_indices[: data.images_at_once])))
    return batch.image


@torch.inference_mode()
def _seconds_per_batch(model: Detector, images: Tensor) -> float:
    """Median of 3 to 15 warm forward passes: as many as fit into `_SECONDS`."""
    model.eval()
    times: list[float] = []
    for attempt in range(_WARM_UP + _MOST):
        start = time.perf_counter()
        model.predict(images)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        elif model.device.type == "mps":
            torch.mps.synchronize()
        if attempt >= _WARM_UP:
            times.append(time.perf_counter() - start)
        if len(times) >= _FEWEST and sum(times) > _SECONDS:
            break
    return median(times)


def _peak_memory(device: torch.device) -> tuple[int, Literal["process", "gpu"]]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "gpu"
    return peak_bytes(), "process"
