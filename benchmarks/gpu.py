"""What a GPU does that a CPU does not: other figures, other bits, waits, idle time. One JSON document says it all.

Random weights and made-up images: nothing is downloaded. A section is a process of its own with a limit of time, and
its methods stand alone: what fails or is missing says so in its place, and the rest goes on. It takes below 8 minutes
on one GPU; `--quick` runs the same code in small, on a CPU too:

    python benchmarks/gpu.py --out gpu.json
"""

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

HERE = Path(__file__).resolve()
SOURCE, TESTS = HERE.parents[1] / "src", HERE.parents[1] / "tests"
sys.path[:0] = [str(SOURCE), str(TESTS)]  # bench need not be installed; the images are those of the tests

MISSING = ""
try:
    import torch
    from lightning.pytorch.callbacks import LambdaCallback

    from bench.config.presets import preset_names, read_preset
    from bench.config.settings import resolve
    from bench.evaluation.evaluation import evaluate
    from bench.runs import threshold, training
    from bench.runs.callbacks import quieten_lightning
    from bench.runs.environment import describe_environment, device_of, use_full_precision
    from bench.runs.fitting import build_model, fit_fold, fold_fits, fold_trainer, start_machine, test_fold
    from bench.runs.run import prepare
    from fake_data import write_category
except ImportError as error:
    MISSING = str(error)

LIMITS = {"versions": 30, "methods": 140, "waits": 90, "loaders": 70, "memory": 90, "devices": 55}  # seconds


class Task(NamedTuple):
    """What a section knows, and where it tells what it finds."""

    folder: Path
    quick: bool
    report: dict[str, Any]

    def tell(self, *path: str, value: Any) -> None:
        """Put a value at its place of the report, and the report on the disk: a section may be ended at any time."""
        place = self.report
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = value
        (self.folder / "report.json").write_text(json.dumps(self.report))

    @contextmanager
    def alone(self, *path: str) -> Iterator[None]:
        """What fails inside says so at `path`, with the line of ours that it came through."""
        try:
            yield
        except Exception as error:
            self.tell(*path, "error", value=f"{type(error).__name__}: {error}"[:500] + f" [{own_line(error)}]")

    @contextmanager
    def timed(self, *path: str) -> Iterator[None]:
        """Seconds and, of a GPU, the peak memory of what happens inside, told at `path`."""
        if gpu := torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        yield
        if gpu:
            torch.cuda.synchronize()
            self.tell(*path, "peak_gib", value=torch.cuda.max_memory_allocated() / 2**30)
        self.tell(*path, "seconds", value=round(time.perf_counter() - start, 3))

    def small(self, preset: str, **more: str) -> dict[str, str]:
        """Settings by which two epochs of small images see all that a method does."""
        settings = read_preset("model", preset).settings
        values = {"weights": "none", "pretrain_epochs": "1", "balancing_epochs": "1", "freeze_backbone_epochs": "1"}
        values |= {"neighbours": "3", "share": "0.2", "head_layers": "1", "critic_steps": "2"}
        if self.quick:
            values |= {"width": "4", "steps": "2", "latent_dim": "16"}
        if self.quick and str(settings["model"].get("backbone")).startswith(("wide", "tf_")):
            values |= {"backbone": "resnet18", "levels": "[1,2,3]"}
        data = {"image_size": "32" if self.quick else "64", "crop": "null", "samples_per_epoch": "null"}
        data |= {"batch_size": "8"} | ({} if settings["data"].get("fold") is None else {"fold": "0", "folds": "2"})
        options = {f"model.{key}": value for key, value in values.items() if key in settings["model"]}
        options |= {f"data.{key}": value for key, value in data.items()}
        options |= {"trainer.max_epochs": "2"} if settings.get("trainer") else {}
        return options | {name.replace("__", "."): value for name, value in more.items()}


class Run:
    """A run of a preset as `bench fit` builds it, and its steps."""

    def __init__(self, task: Task, preset: str, options: dict[str, str]) -> None:
        quieten_lightning()
        options = {"data.root": str(task.folder), "data.cache": str(task.folder / "cache"), **options}
        config = resolve(model=preset, data=None, category="screw", files=[], options=options)
        data, self.cell = prepare(config)
        self.fold = fold_fits(data, Path(tempfile.mkdtemp(dir=task.folder)))[0]
        self.model: Any = build_model(config, self.fold.data.spec)
        self.trainer: Any = fold_trainer(self.fold, self.cell, None)
        self.machine = start_machine(self.trainer)
        self.gpu = self.machine.device.type == "cuda"

    def fit(self) -> dict[str, Any]:
        """Learn, choose the threshold, test: some of the figures."""
        tested = fit_fold(self.model, self.fold, self.cell, self.trainer, self.machine, resume=False)
        metrics = evaluate([tested]).metrics if tested else {}
        return {name: metrics[name] for name in ("image_auroc", "pixel_auroc", "threshold") if name in metrics}

    def train(self, start: Callable[[int, int], None], end: Callable[[int], None]) -> None:
        """Learn by gradient, with a call before each step (epoch, place in it) and one after it (epoch)."""
        last = self.model.on_train_batch_end  # Lightning's callbacks come before it

        def after(*arguments: Any) -> None:
            last(*arguments)
            end(self.trainer.current_epoch)

        self.model.on_train_batch_end = after
        before = LambdaCallback(on_train_batch_start=lambda trainer, *rest: start(trainer.current_epoch, rest[-1]))
        self.trainer.callbacks.append(before)
        training.train(self.trainer, self.model, self.fold.data, self.fold.folder, resume=False)

    def predictions(self) -> dict[str, Any]:
        """Scores (N,), and maps (N, H, W) where there are some, of the test images."""
        self.model.to(self.machine.device).eval()
        batches = self.machine.batches(self.fold.data.test_dataloader(), "test")
        scores, maps = zip(*(self.model.predict(batch.image)[:2] for batch in batches), strict=True)
        return {"scores": torch.cat(scores).cpu()} | ({} if maps[0] is None else {"maps": torch.cat(maps).cpu()})


def methods() -> dict[str, str]:
    """A preset of each class in conf/: one that is neither a paper's own nor for CPUs, where there is one."""
    order = sorted(preset_names("model"), key=lambda name: (name.endswith(("_cpu", "_paper")), name))[::-1]
    return {read_preset("model", name).class_path.rpartition(".")[2]: name for name in order}


def own_line(error: BaseException) -> str:
    """The last line outside torch that an error came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "torch" not in Path(f.filename).parts]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].line}"


def apart(found: dict[str, Any], expected: dict[str, Any]) -> dict[str, Any]:
    """How far values are apart at most, relative to each and to the deviation of all; whether by any bit."""
    result = {}
    for name, other in expected.items():
        far, wide = (found[name].double() - other.double()).abs(), other.double()
        relative, whole = (far / wide.abs().clamp_min(1e-12)).max(), far.max() / wide.std().clamp_min(1e-12)
        result[name] = {"relative": relative.item(), "of_deviation": whole.item(), "bit_equal": not far.any().item()}
    return result


def tell_versions(task: Task) -> None:
    """Versions, devices, driver, and whether TF32 is in use."""
    use_full_precision()
    task.tell("environment", value=describe_environment(device_of({"accelerator": "auto"})))
    task.tell("torch", value={"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()})
    task.tell("devices", value=[torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())])
    with task.alone("driver"):
        command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        task.tell("driver", value=subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def compare_methods(task: Task) -> None:
    """Every class on small images: GPU against CPU, half precisions, two runs."""
    train, test = (12, 4) if task.quick else (32, 12)
    write_category(task.folder, side=64, train=train, good=test, defects={"blob": test})
    halves = ["16-mixed", "bf16-mixed"] if torch.cuda.is_available() else ["bf16-mixed"]
    for name, preset in methods().items():
        with task.alone(name):
            on_cpu = Run(task, preset, task.small(preset, trainer__accelerator="cpu"))
            task.tell(name, "cpu", value=on_cpu.fit())
            expected, state = on_cpu.predictions(), on_cpu.model.state_dict()
            for precision in ("32-true", *halves):
                with task.alone(name, precision), warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    run = Run(task, preset, task.small(preset, trainer__precision=precision))
                    task.tell(name, precision, value=run.fit())
                    first = run.predictions()
                    task.tell(name, precision, "own_fit_against_cpu", value=apart(first, expected))
                    if precision == "32-true":
                        again = Run(task, preset, task.small(preset))
                        again.fit()
                        task.tell(name, precision, "second_run", value=apart(again.predictions(), first))
                    run.model.load_state_dict(state)  # what a GPU makes of the very same network and statistics
                    task.tell(name, precision, "same_model_against_cpu", value=apart(run.predictions(), expected))
                    said = {str(each.message)[:200] for each in caught if "determinis" in str(each.message)}
                    task.tell(name, precision, "not_deterministic", value=sorted(said))


def watch_waits(task: Task) -> None:
    """Twenty training steps of each method that trains, ten of each epoch, in which waiting for the GPU is an error."""
    write_category(task.folder, side=64, train=72, good=36, defects={"blob": 36})

    def watch(mode: str) -> None:
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode(mode)

    for name, preset in methods().items():
        for precision in ("32-true", "bf16-mixed") if "trainer.max_epochs" in task.small(preset) else ():
            with task.alone(name, precision):
                sizes = {"data__batch_size": "4", "data__samples_per_epoch": "12" if task.quick else "48"}
                run = Run(task, preset, task.small(preset, **sizes, trainer__precision=precision))
                try:
                    run.train(lambda _, place: watch("error" if place > 1 else "default"), lambda _: watch("default"))
                finally:
                    watch("default")
                task.tell(name, precision, value="ok" if run.gpu else "trains; there is no GPU to wait for")


def measure_loaders(task: Task) -> None:
    """Images a second in training, and the share of its time in which the device waits for the next batch."""
    write_category(task.folder, side=64 if task.quick else 256, train=64)
    sizes = {"data__image_size": "128", "data__samples_per_epoch": "960", "data__batch_size": "32"}
    sizes = {"data__samples_per_epoch": "32"} if task.quick else sizes
    for preset in ("autoencoder", "cutpaste", "fastflow"):
        for workers in ("0", "4", "8"):
            with task.alone(preset, f"{workers} workers"):
                run = Run(task, preset, task.small(preset, **sizes, data__num_workers=workers))
                task.tell(preset, f"{workers} workers", value=time_steps(run))


def time_steps(run: Run) -> dict[str, float]:
    """Of the second epoch, by the device's own clock: the first one starts workers and chooses kernels."""
    marks: list[Any] = []

    def mark(epoch: int, _place: int = 0) -> None:
        if epoch:
            now = torch.cuda.current_stream().record_event(torch.cuda.Event(enable_timing=True)) if run.gpu else None
            marks.append(now or time.perf_counter())

    run.train(mark, mark)
    if run.gpu:
        torch.cuda.synchronize()
    seconds = [a.elapsed_time(b) / 1000 if run.gpu else b - a for a, b in pairwise(marks)]  # steps, waits in between
    images = len(seconds[::2]) * run.fold.data.batch_size
    return {"images_per_second": images / sum(seconds), "share_waiting": sum(seconds[1::2]) / sum(seconds)}


def measure_memory(task: Task) -> None:
    """Seconds and peak memory of each phase, with the largest backbone on 320 images of 224 pixels."""
    side, train, test = (64, 12, 4) if task.quick else (256, 320, 40)
    write_category(task.folder, side=side, train=train, good=test, defects={"blob": test})
    for name, preset in {"PaDiM": "padim_wr50_paper", "PatchCore 10 %": "patchcore_paper"}.items():
        with task.alone(name):
            options = {"model.weights": "none", "data.validation_share": "0.1" if "core" in preset else "0"}
            options |= {"data.image_size": "64", "data.crop": "null"} if task.quick else {}
            run = Run(task, preset, options)
            model, data = run.model.to(run.machine.device).eval(), run.fold.data
            indices, quantile = data.training_indices, run.cell.config.settings["threshold_quantile"]
            for phase in ("backbone, cold", "backbone"):  # its first pass chooses kernels
                with task.timed(name, phase), torch.no_grad():
                    for batch in run.machine.batches(data.ordered_train_loader(indices), phase):
                        model.backbone(batch.image)
            learn, score = (getattr(threshold, each) for each in ("learn", "score_images"))
            learn, score = task.timed(name, "learn")(learn), task.timed(name, "threshold")(score)
            with patch.multiple(threshold, learn=learn, score_images=score):
                threshold.learn_and_choose_threshold(model, data, run.machine, quantile)
            with task.timed(name, "test"):
                test_fold(model, run.fold, run.machine)


def compare_devices(task: Task) -> None:
    """One device against two: thresholds and scores of methods that learn from statistics, by `bench fit`."""
    if not task.quick and torch.cuda.device_count() < 2:
        return task.tell("skipped", value=f"{torch.cuda.device_count()} GPU; where there are two, both are used")
    write_category(task.folder, side=64, train=23)

    def found(preset: str, devices: str) -> dict[str, Any]:
        runs, options = task.folder / f"{preset}-{devices}", task.small(preset, trainer__devices=devices)
        options |= {"data.root": str(task.folder)} | ({"trainer.accelerator": "cpu"} if task.quick else {})
        words = [word for key, value in options.items() for word in (f"--{key}", value)]
        command = [sys.executable, "-m", "bench", "fit", "--model", preset, "--category", "screw", *words, "--json"]
        done = subprocess.run([*command, "--runs", str(runs)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{devices} devices: {done.stderr.strip()[-300:]}")
        rows = next(runs.rglob("predictions.csv")).read_text().splitlines()
        scores = [float(row["score"]) for row in csv.DictReader(rows)]
        return {"scores": torch.tensor([json.loads(done.stdout)["metrics"]["threshold"], *scores], dtype=torch.float64)}

    for preset in ("padim",) if task.quick else ("padim", "patchcore", "gaussian", "spade"):
        with task.alone(preset):
            task.tell(preset, value=apart(found(preset, "2"), found(preset, "1")))
    return None


_ALL = (tell_versions, compare_methods, watch_waits, measure_loaders, measure_memory, compare_devices)
SECTIONS = dict(zip(LIMITS, _ALL, strict=True))


def run_section(name: str, *, quick: bool) -> dict[str, Any]:
    """A section in a session of its own: what it found until its limit."""
    limit, start, problem = LIMITS[name] * (10 if quick else 1), time.perf_counter(), ""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as words:
        paths = os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "WANDB_MODE": "disabled", "PYTHONPATH": paths, "BENCH_CACHE": folder}
        command = [sys.executable, str(HERE), "--section", name, folder, *(["--quick"] if quick else [])]
        process = subprocess.Popen(command, env=environment, stdout=words, stderr=words, start_new_session=True)
        try:
            if status := process.wait(limit):
                words.seek(0)
                problem = f"ended with status {status}: {words.read()[-500:]}"
        except subprocess.TimeoutExpired:
            problem = f"not finished after {limit} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with its loaders' workers
                process.wait()
        written = Path(folder, "report.json")
        report = json.loads(written.read_text()) if written.is_file() else {}
    error = {"error": problem} if problem else {}
    return {**report, **error, "section_seconds": round(time.perf_counter() - start, 1)}


def main() -> None:
    """Run the sections, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="file of the JSON document; without it, stdout")
    parser.add_argument("--quick", action="store_true", help="in small, for a CPU")
    parser.add_argument("--only", nargs="+", choices=LIMITS, default=list(LIMITS), help="these sections")
    parser.add_argument("--section", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.section:
        name, folder = options.section
        return SECTIONS[name](Task(Path(folder), options.quick, {}))
    document: dict[str, Any] = {"missing": MISSING, "quick": options.quick}
    for name in () if MISSING else options.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        document[name] = run_section(name, quick=options.quick)
    (options.out.write_text if options.out else sys.stdout.write)(json.dumps(document, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
