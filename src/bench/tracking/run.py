"""The W&B run of one run: its curves during training; its metrics, charts and files at the end."""

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers import WandbLogger

from bench.config.cell import Cell
from bench.config.settings import flatten
from bench.console import say
from bench.data.datamodule import DefectData
from bench.errors import first_line
from bench.evaluation.evaluation import Evaluation
from bench.evaluation.passes import ScoredImages
from bench.metrics.catalogue import smaller_is_better
from bench.models.base import Detector
from bench.records.costs import smaller_cost_is_better
from bench.records.record import CHECKPOINT, PREDICTIONS, RECORD, Record
from bench.tracking.gallery import Gallery
from bench.tracking.service import PROJECT, Mode, leave_service, start, watched

RECORD_FILES = (RECORD, PREDICTIONS)


@dataclass(frozen=True)
class Uploads:
    """What is sent to W&B besides the metrics of a run."""

    images: bool = False  # test images, with masks and maps
    checkpoint: bool = False
    tell: bool = True  # print how to send an offline run


class Tracker:
    """One run's W&B run, made in the main process only. No error of W&B ends the run or delays it for long."""

    def __init__(
        self,
        cell: Cell,
        folder: Path,
        mode: Mode,
        *,
        track: str,
        group: str | None,
        uploads: Uploads | None = None,
    ) -> None:
        self.run: Any = None
        self.folder = folder
        self.uploads = uploads or Uploads()
        self._cell = cell
        self._gallery: Gallery | None = None
        self._pictures: tempfile.TemporaryDirectory[str] | None = None
        if mode == "disabled":
            return
        config = cell.config
        arguments = {
            "project": os.environ.get("WANDB_PROJECT", PROJECT),
            "id": cell.fingerprint,
            "name": f"{config.model.name}-{config.category}-s{config.settings['seed']}",
            "group": group or config.model.name,
            "tags": [track, config.dataset, config.settings["protocol"]],
            "config": flatten(config.as_dict()),
            "dir": str(folder.resolve()),  # W&B's own process may have another working folder
            "resume": "allow",
            "reinit": "finish_previous",
        }
        self.run = start(arguments, mode, tell=self.uploads.tell)

    def logger(self, fold: str = "") -> WandbLogger | Literal[False]:
        """The logger of Lightning's Trainer; names of curves begin with the fold, where the run has several."""
        return _PatientLogger(experiment=self.run, prefix=fold) if self.run is not None else False

    def describe(self) -> dict[str, Any] | None:
        """The description of the W&B run in the record."""
        if self.run is None:
            return None
        mode = "offline" if self.run.settings._offline else "online"
        url = self.run.url if mode == "online" else None
        return {"mode": mode, "project": self.run.project, "id": self.run.id, "url": url, "folder": self._wandb_folder}

    def draw_images(
        self,
        model: Detector,
        data: DefectData,
        scored: ScoredImages,
        map_range: tuple[float, float] | None = None,
    ) -> None:
        """Draw the test images of a fold of the run that `model` was just tested on, where images are to be sent."""
        if self.run is None or not self.uploads.images:
            return
        with _never_fatal("its images"):
            if self._gallery is None:
                self._pictures = tempfile.TemporaryDirectory(prefix="bench-wandb-")
                self._gallery = Gallery(Path(self._pictures.name))
            self._gallery.draw(model, data, scored, map_range)

    def log_test(self, evaluation: Evaluation) -> None:
        """Log curves, the table of test images, and the confusion matrix of a classifier."""
        if self.run is None:
            return
        with _never_fatal("its charts and test images"), self._staging():
            from bench.tracking.charts import charts

            self.run.log(charts(evaluation, self._gallery))

    def finish(self, record: Record) -> None:
        """Write metrics and costs to the summary, send the files, and close; the record is on disk already."""
        if self.run is None:
            return
        with _never_fatal("its figures"):
            self._summarise(record)
        with _never_fatal("its files"), self._staging():
            self._send_files(record)
        if self._pictures is not None:
            self._pictures.cleanup()
        described = self.describe() or {}
        try:
            with watched() if described.get("mode") == "online" else nullcontext():
                self.run.finish(exit_code=0 if record.status == "finished" else 1)
        except Exception as error:
            leave_service()
            sync = f"wandb sync --include-online {self._quoted}"  # without it, runs that are not offline are skipped
            say(f"W&B run not sent in full ({first_line(error)}); send it with: {sync}")
            return
        if described.get("mode") == "offline" and self.uploads.tell:
            say(f"W&B run kept offline; send it with: wandb sync {self._quoted}")

    @property
    def _wandb_folder(self) -> str:
        return os.path.relpath(Path(self.run.dir).parent, self.folder)

    @property
    def _quoted(self) -> str:
        return shlex.quote(str(self.folder / self._wandb_folder))

    @contextmanager
    def _staging(self) -> Iterator[None]:
        """Keep files that wait to be sent in the run's own folder, not in the user's home."""
        if os.environ.get("WANDB_DATA_DIR"):
            yield
            return
        os.environ["WANDB_DATA_DIR"] = str(self.folder.resolve() / "wandb")
        try:
            yield
        finally:
            del os.environ["WANDB_DATA_DIR"]

    def _summarise(self, record: Record) -> None:
        summary: dict[str, Any] = dict(record.metrics)
        for defect_type, values in record.metrics_by_defect.items():
            summary |= {f"by_defect/{defect_type}/{name}": value for name, value in values.items()}
        for product, figures in (record.products or {}).items():
            summary |= {f"by_product/{product}/{name}": value for name, value in figures.metrics.items()}
        if record.cost is not None:
            summary |= {f"cost/{name}": value for name, value in record.cost.model_dump().items()}
        for name in summary:
            if (smaller := _smaller_is_better(name)) is not None:
                self.run.define_metric(name, summary="min" if smaller else "max")
        self.run.summary.update({**summary, "status": record.status})

    def _send_files(self, record: Record) -> None:
        import wandb

        # In the folder of an unfinished run, the other files may be those of an earlier run.
        finished = record.status == "finished"
        files = [self.folder / name for name in (RECORD_FILES if finished else (RECORD,))]
        artifact = wandb.Artifact(f"record-{record.fingerprint}", "record", metadata={"status": record.status})
        for file in filter(Path.is_file, files):
            self.run.save(str(file), base_path=str(self.folder), policy="now")  # what `--from-wandb` reads
            # `immutable`: wandb makes no copy; resolved, because `wandb sync` may be typed in any folder.
            artifact.add_file(str(file.resolve()), file.name, policy="immutable")
        self.run.log_artifact(artifact)
        if finished and self.uploads.checkpoint:
            model = wandb.Artifact(f"checkpoint-{record.fingerprint}", "model", metadata=dict(record.metrics))
            for file in [self.folder / CHECKPOINT, *sorted(self.folder.glob(f"fold-*/{CHECKPOINT}"))]:
                if file.is_file():
                    model.add_file(str(file.resolve()), str(file.relative_to(self.folder)), policy="immutable")
            self.run.log_artifact(model)


class _PatientLogger(WandbLogger):
    """Lightning's logger, but an error of W&B prints one line and does not end the run."""

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        if getattr(self, "_broken", False):
            return
        try:
            super().log_metrics(metrics, step)
        except Exception as error:
            self._broken = True
            say(f"W&B lacks its learning curves ({first_line(error)}); the run goes on")


@contextmanager
def _never_fatal(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of any type: the metrics are safe in the run itself
        say(f"W&B lacks {what} ({first_line(error)}); the record is whole")


def _smaller_is_better(name: str) -> bool | None:
    """Whether less is better, by name in the summary: `image_auroc`, `by_defect/crack/recall`, `cost/fit_seconds`."""
    group, _, last = name.rpartition("/")
    return smaller_cost_is_better(last) if group == "cost" else smaller_is_better(last)
