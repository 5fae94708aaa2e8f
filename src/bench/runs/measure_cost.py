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

_WARM_UP, _MOST = 2, 17  # passes
_SECONDS = 0.2  # that each of the two speeds may take, but for its last pass


def measure_cost(model: Detector, tested: Sequence[TestedFold], checkpoint: Path, trainer: Trainer) -> CostRecord:
    """Measure inference of the last fold's model on a batch of its test, and collect all costs of a run."""
    data = tested[-1].data
    memory, of = _peak_memory(trainer.strategy.root_device)
    model.to(trainer.strategy.root_device)  # Lightning leaves it on the CPU after a test
    images = as_floats(_batch_of(data).to(model.device))
    of_one = _seconds_per_pass(model, images[:1])
    together = images[: max(2, int(_SECONDS / of_one))]
    gpu = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else None
    return CostRecord(
        device=gpu or model.device.type,
        processes=trainer.world_size,
        fit_seconds=sum(fold.fit_seconds for fold in tested),
        test_seconds=sum(fold.test_seconds for fold in tested),
        saved_seconds=sum(fold.saved_seconds for fold in tested),
        milliseconds_per_image=1000 * of_one,
        images_per_second=len(together) / _seconds_per_pass(model, together),
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
def _seconds_per_pass(model: Detector, images: Tensor) -> float:
    """Median of forward passes, as many as begin within `_SECONDS`; the first two warm up, where others follow.

    The model comes from its test, so that a slow one, for which there is time for a pass or two, is warm.
    """
    model.eval()
    times: list[float] = []
    while len(times) < _MOST and sum(times) < _SECONDS:
        start = time.perf_counter()
        model.predict(images)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        elif model.device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[min(_WARM_UP, len(times) - 1) :])


def _peak_memory(device: torch.device) -> tuple[int, Literal["process", "gpu"]]:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device), "gpu"
    return peak_bytes(), "process"
