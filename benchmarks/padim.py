"""PaDiM here against anomalib's: the same images, backbone, weights, size and threads, taking turns in one run.

Each turn is a process of its own; imports are not counted, neither in time nor in memory. anomalib comes from PyPI
(`pip install anomalib`), in the same environment or in another one (`--peer-python`):

    python benchmarks/padim.py --root $BENCH_DATA --weights mobilenetv2_100.safetensors
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

BACKBONE = "mobilenetv2_100"


def peak_mebibytes() -> float:
    """The process's largest resident size so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_bench(options: argparse.Namespace) -> dict[str, Any]:
    """All of `bench fit` but its imports and what the peer does not do: measuring cost, drawing pictures."""
    import torch

    from bench.config.settings import resolve
    from bench.models.parts import backbones
    from bench.runs import run

    torch.set_num_threads(options.threads)
    config = resolve(
        model="padim_mobilenetv2",
        data=None,
        category=options.category,
        files=[],
        options={
            "data.root": str(options.root),
            "data.cache": str(options.cache),
            "model.weights": str(options.weights),
            "seed": "0",
        },
    )
    forward, spent = backbones.Backbone.forward, [0.0]

    def timed(self: backbones.Backbone, image: torch.Tensor) -> list[torch.Tensor]:
        start = time.perf_counter()
        features = forward(self, image)
        spent[0] += time.perf_counter() - start
        return features

    backbones.Backbone.forward = timed  # type: ignore[method-assign]
    beside = [0.0]

    def apart(function: Callable[..., Any]) -> Callable[..., Any]:
        def timed_apart(*arguments: Any) -> Any:
            start, backbone = time.perf_counter(), spent[0]
            try:
                return function(*arguments)
            finally:
                beside[0] += time.perf_counter() - start
                spent[0] = backbone

        return timed_apart

    run.measure_cost, run.draw_extremes = apart(run.measure_cost), apart(run.draw_extremes)
    before, start = peak_mebibytes(), time.perf_counter()
    with tempfile.TemporaryDirectory() as runs:
        record, _, _ = run.fit(config, run.Options(runs=Path(runs), wandb="disabled"))
    return {
        "seconds": time.perf_counter() - start - beside[0],
        "backbone_seconds": spent[0],
        "mebibytes": peak_mebibytes() - before,
        **{k: record.metrics[k] for k in ("image_auroc", "pixel_auroc")},
    }


def run_anomalib(options: argparse.Namespace) -> dict[str, Any]:
    """anomalib's engine: fit and test."""
    import timm
    import torch
    from anomalib.data import MVTecAD
    from anomalib.engine import Engine
    from anomalib.metrics import AUROC, Evaluator
    from anomalib.models import Padim

    torch.set_num_threads(options.threads)
    create = timm.create_model

    def with_weights(name: str, **settings: Any) -> torch.nn.Module:
        settings["pretrained_cfg_overlay"] = {"file": str(options.weights)}
        return create(name, **settings)

    timm.create_model = with_weights
    before, start = peak_mebibytes(), time.perf_counter()
    transform_size = (256, 256)
    layers = ["blocks.1", "blocks.2", "blocks.4"]
    evaluator = Evaluator(
        test_metrics=[
            AUROC(fields=["pred_score", "gt_label"], prefix="image_"),
            AUROC(fields=["anomaly_map", "gt_mask"], prefix="pixel_"),
        ]
    )
    model = Padim(
        backbone=BACKBONE,
        layers=layers,
        n_features=100,
        pre_processor=Padim.configure_pre_processor(image_size=transform_size),
        evaluator=evaluator,
        visualizer=False,
    )
    data = MVTecAD(root=options.root, category=options.category, train_batch_size=32, eval_batch_size=32, num_workers=0)
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(default_root_dir=folder, accelerator="cpu", logger=False, enable_progress_bar=False)
        engine.fit(model, datamodule=data)
        result = engine.test(model, datamodule=data, verbose=False)[0]
    return {
        "seconds": time.perf_counter() - start,
        "mebibytes": peak_mebibytes() - before,
        "image_auroc": result["image_AUROC"],
        "pixel_auroc": result["pixel_AUROC"],
    }


def take_turn(kind: str, python: str, options: argparse.Namespace, cache: Path) -> dict[str, Any]:
    """Run one side in a process of its own and read its last line."""
    command = [python, __file__, "--turn", kind, "--cache", str(cache)]
    for name in ("root", "weights", "category", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return figures


def main() -> None:
    """Take turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("BENCH_DATA"))
    parser.add_argument("--weights", type=Path, required=True, help=f"file of ImageNet weights of timm's {BACKBONE}")
    parser.add_argument("--category", default="screw")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has anomalib; none: bench alone"
    )
    parser.add_argument("--turn", choices=("bench", "anomalib"), help=argparse.SUPPRESS)
    parser.add_argument("--cache", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        run = run_bench if options.turn == "bench" else run_anomalib
        print(json.dumps(run(options)))
        return
    figures: dict[str, list[dict[str, Any]]] = {"anomalib": [], "bench, cold cache": [], "bench, warm cache": []}
    for _ in range(options.turns):
        with tempfile.TemporaryDirectory() as cache:
            if options.peer_python != "none":
                figures["anomalib"].append(take_turn("anomalib", options.peer_python, options, Path(cache)))
            for kind in ("bench, cold cache", "bench, warm cache"):
                figures[kind].append(take_turn("bench", sys.executable, options, Path(cache)))
    for kind, turns in figures.items():
        shown = {key: median(turn[key] for turn in turns) for key in (turns[0] if turns else ())}
        words = "  ".join(f"{key} {value:.4g}" for key, value in shown.items())
        if peer := figures["anomalib"]:
            ratio = median(a["seconds"] / b["seconds"] for a, b in zip(turns, peer, strict=True))
            memory = median(a["mebibytes"] / b["mebibytes"] for a, b in zip(turns, peer, strict=True))
            words += f"  time ratio {ratio:.3f}  memory ratio {memory:.3f}"
        print(f"{kind:<20}{words or 'left out'}")
    warm = figures["bench, warm cache"]
    share = median(1 - turn["backbone_seconds"] / turn["seconds"] for turn in warm)
    print(f"share of the warm time outside the backbone: {share:.1%}")


if __name__ == "__main__":
    main()
