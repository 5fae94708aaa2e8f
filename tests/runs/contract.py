"""What the contract test takes a method through: the passes of a run, on as many gloo processes as are wanted."""

import os
import socket
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.cli.commands.fit import read_words
from bench.cli.commands.fit import run as fit_command
from bench.config.settings import Config, resolve
from bench.models.base import Detector
from bench.runs.fitting import FoldFit, build_model, fit_fold, fold_trainer, start_machine, test_fold
from bench.runs.run import prepare


@dataclass(frozen=True)
class Found:
    """What the first process holds after a fit and its test."""

    scores: NDArray[np.float64]
    defective: NDArray[np.bool_]
    threshold: float | None
    metrics: dict[str, float]
    buffers: dict[str, NDArray[Any]]


class Bench:
    """Fits cells of a method one after the other in this process, as `bench fit` does."""

    def __init__(self, words: Sequence[str], folder: Path) -> None:
        self.config = read_config(words)
        self.folder = folder

    def fit(
        self, before: Callable[[Any], None] = lambda trainer: None, *, resume: bool = False
    ) -> tuple[Detector, Found | None]:
        """The fitted model and, on the first process, what its test found; `before` may change the Trainer."""
        data, cell = prepare(self.config)
        fold = FoldFit(data.each_fold()[0], self.folder, "")
        fold.folder.mkdir(parents=True, exist_ok=True)
        model = build_model(self.config, fold.data.spec)
        trainer = fold_trainer(fold, cell, None)
        before(trainer)
        machine = start_machine(trainer)
        tested = fit_fold(model, fold, cell, trainer, machine, resume=resume)
        return model, found_in(model, tested)

    def test(self, model: Detector) -> Found | None:
        """What a test of this model finds."""
        data, cell = prepare(self.config)
        fold = FoldFit(data.each_fold()[0], self.folder, "")
        machine = start_machine(fold_trainer(fold, cell, None))
        return found_in(model, test_fold(model, fold, machine))


def found_in(model: Detector, tested: Any) -> Found | None:
    """What is compared of a test."""
    if tested is None:
        return None
    defective = np.array([sample.is_defect for sample in tested.data.category.test])
    metrics = dict(tested.localised.overall) if tested.localised else {}
    buffers = {name: value.cpu().numpy().copy() for name, value in model.named_buffers() if value.is_floating_point()}
    return Found(tested.scored.score.double().numpy(), defective, tested.threshold, metrics, buffers)


def read_config(words: Sequence[str]) -> Config:
    """The settings that these words of a command line stand for."""
    known = fit_command.read(words)
    files, _, options = read_words(known)
    return resolve(model=known.model, data=known.data, category=known.category, files=files, options=options)


def on_processes(processes: int, jobs: Mapping[str, Sequence[str]]) -> dict[str, Found]:
    """Fit all these cells in one group of gloo processes, one after the other; what each found."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        torch.multiprocessing.spawn(_work, (processes, port, dict(jobs), folder), nprocs=processes)
        return {
            name: torch.load(Path(folder) / f"{place}.found", weights_only=False) for place, name in enumerate(jobs)
        }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _work(rank: int, processes: int, port: int, jobs: dict[str, Sequence[str]], folder: str) -> None:
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "GROUP_RANK": "0"}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=processes, timeout=timedelta(minutes=2))
    for place, words in enumerate(jobs.values()):
        own = (*words, "--trainer.devices", str(processes))
        _, found = Bench(own, Path(folder, str(place))).fit()
        if found is not None:
            torch.save(found, Path(folder, f"{place}.found"))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
