"""PatchCore's two costs here against anomalib's: choosing the coreset, and the distances to it, from the same patches.

Patches are those of `patchcore_mobilenetv2` of the first images of a category; both sides choose from them as they are,
from the same first point. Each turn is a process of its own; memory is that of the tensors made on the way. anomalib
comes from PyPI (`pip install anomalib`), in the same environment or in another one (`--peer-python`):

    python benchmarks/patchcore.py --root $BENCH_DATA --weights mobilenetv2_100.safetensors
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

# Of the start that both sides draw.
SEED = 0


def make_patches(options: argparse.Namespace, folder: Path) -> None:
    """Write the patches (N, features) of training images and those of test images."""
    import torch

    from bench.config.settings import resolve
    from bench.runs.run import build_model, prepare

    places = {"data.root": str(options.root), "data.cache": str(folder), "model.weights": str(options.weights)}
    config = resolve(
        model="patchcore_mobilenetv2", data=None, category=options.category, files=[], options={"seed": "0", **places}
    )
    data, _ = prepare(config)
    model = build_model(config, data.spec)
    with torch.inference_mode():
        loaders = {
            "train": data.ordered_train_loader(data.training_indices[: options.images]),
            "test": [data.test_batch(list(range(options.queries)))],
        }
        for name, batches in loaders.items():
            patches = [model.embed(batch.image.float() / 255).flatten(0, 1) for batch in batches]  # type: ignore[operator]
            np.save(folder / f"{name}.npy", torch.cat(patches).numpy())


def measured(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What a call gives, its seconds, and the most mebibytes of tensors that a second call held at once.

    Counted at torch's allocator: the process's own peak depends on what malloc and the kernel keep of freed memory, and
    was found to differ several times over between runs of the same code.
    """
    from torch.profiler import ProfilerActivity, profile

    start = time.perf_counter()
    result = function(*arguments)
    seconds = time.perf_counter() - start
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        function(*arguments)
    held = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return result, seconds, peak / 2**20


def run_bench(train: Any, test: Any, share: float) -> dict[str, Any]:
    """`choose_covering`, `nearest`."""
    import torch

    from bench.models.parts.coreset import choose_covering
    from bench.models.parts.neighbours import nearest

    torch.manual_seed(SEED)
    first = int(torch.randint(high=len(train), size=(1,)))

    def choose() -> list[int]:
        start = torch.cat([(part - train[first]).square_().sum(dim=1).sqrt_() for part in train.split(4096)])
        chosen = choose_covering(train, torch.arange(len(train)), int(len(train) * share) - 1, start)
        return [first, *chosen.tolist()]

    places, *choosing = measured(choose)
    bank = train[places]
    (distances, _), *scoring = measured(nearest, test, bank)
    return {"places": places, "choosing": choosing, "scoring": scoring, "distances": distances[:, 0].tolist()}


def run_anomalib(train: Any, test: Any, share: float) -> dict[str, Any]:
    """`KCenterGreedy` without its own projection, `PatchcoreModel.nearest_neighbors`."""
    import torch
    from anomalib.models.components.sampling import KCenterGreedy
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    class Unchanged:
        def fit(self, _points: torch.Tensor) -> None:
            pass

        def transform(self, points: torch.Tensor) -> torch.Tensor:
            return points

    torch.manual_seed(SEED)
    sampler = KCenterGreedy(train, share)
    sampler.model = Unchanged()
    places, *choosing = measured(sampler.select_coreset_idxs)
    model = PatchcoreModel(layers=["layer1"], backbone="resnet18", pre_trained=False)
    model.memory_bank = train[places]
    (distances, _), *scoring = measured(model.nearest_neighbors, test, 1)
    return {"places": places, "choosing": choosing, "scoring": scoring, "distances": distances.flatten().tolist()}


def take_own_turn(options: argparse.Namespace) -> None:
    """Load, import, warm up, measure; write everything to a file of the folder."""
    import torch

    torch.set_num_threads(options.threads)
    run = run_bench if options.turn == "bench" else run_anomalib
    train, test = (torch.from_numpy(np.load(options.folder / f"{name}.npy")) for name in ("train", "test"))
    with torch.inference_mode():
        run(train[:2000], test[:100], 0.01)  # imports and first calls
        (options.folder / f"{options.turn}.json").write_text(json.dumps(run(train, test, options.share)))


def take_turn(kind: str, python: str, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run one side in a process of its own."""
    command = [python, __file__, "--turn", kind, "--folder", str(folder)]
    for name in ("weights", "share", "threads"):
        command += [f"--{name}", str(getattr(options, name))]
    environment = {**os.environ, "OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        sys.exit(f"{kind} failed:\n{done.stderr[-2000:]}")
    figures: dict[str, Any] = json.loads((folder / f"{kind}.json").read_text())
    return figures


def main() -> None:
    """Take turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("BENCH_DATA"))
    parser.add_argument(
        "--weights", type=Path, required=True, help="file of ImageNet weights of timm's mobilenetv2_100"
    )
    parser.add_argument("--category", default="screw")
    parser.add_argument("--images", type=int, default=32, help="training images")
    parser.add_argument("--queries", type=int, default=8, help="test images")
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--peer-python", default=sys.executable, help="interpreter that has anomalib; none: bench alone"
    )
    parser.add_argument("--turn", choices=("bench", "anomalib"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        take_own_turn(options)
        return
    turns: dict[str, list[dict[str, Any]]] = {"anomalib": [], "bench": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_patches(options, folder)
        for _ in range(options.turns):
            if options.peer_python != "none":
                turns["anomalib"].append(take_turn("anomalib", options.peer_python, options, folder))
            turns["bench"].append(take_turn("bench", sys.executable, options, folder))
    own, peers = turns["bench"], turns["anomalib"]
    if peers:
        agreed = sum(a == b for a, b in zip(own[0]["places"], peers[0]["places"], strict=True))
        apart = np.abs(np.array(own[0]["distances"]) / np.array(peers[0]["distances"]) - 1).max()
        print(
            f"{agreed} of {len(own[0]['places'])} picks the same; distances to the bank differ by {apart:.1e} at most"
        )
    for step in ("choosing", "scoring"):
        for place, unit in enumerate(("s", "MiB")):
            shown = {kind: median(turn[step][place] for turn in each) for kind, each in turns.items() if each}
            words = "  ".join(f"{kind} {value:.3g} {unit}" for kind, value in shown.items())
            if peers:
                pairs = zip(peers, own, strict=True)
                words += (
                    f"  anomalib / bench {median(a[step][place] / max(b[step][place], 1e-9) for a, b in pairs):.2f}"
                )
            print(f"{step:<10}{words}")


if __name__ == "__main__":
    main()
