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

from bench.cli.arguments import read_settings
from bench.cli.commands.fit import fit_parser
from bench.config.settings import Config, resolve
from bench.models.base import Detector
from bench.runs.fitting import Part, build_model, fit_part, part_trainer, start_machine, test_part
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
        part = Part(data.parts()[0], self.folder, "")
        part.folder.mkdir(parents=True, exist_ok=True)
        model = build_model(self.config, part.data.spec)
        trainer = part_trainer(part, cell, None, progress=False)
        before(trainer)
        machine = start_machine(trainer, progress=False)
        tested = fit_part(model, part, cell, trainer, machine, resume=resume)
        return model, found_in(model, tested)

    def test(self, model: Detector) -> Found | None:
        """What a test of this model finds."""
        data, cell = prepare(self.config)
        part = Part(data.parts()[0], self.folder, "")
        machine = start_machine(part_trainer(part, cell, None, progress=False), progress=False)
        return found_in(model, test_part(model, part, machine))


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
    parser = fit_parser()
    known, rest = parser.parse_known_args(list(words))
    options = read_settings(rest, parser)
    return resolve(model=known.model, data=known.data, category=known.category, files=known.config, options=options)


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
