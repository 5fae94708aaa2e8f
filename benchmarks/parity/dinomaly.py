"""Dinomaly here against anomalib's, from the same weights and images: reconstructions, score, loss, optimiser steps.

anomalib comes from PyPI (`pip install anomalib`), in the same environment or in another one (`--peer-python`); each
side is a process of its own. Where anomalib 2.7 departs from the code of the method's authors, it is set alike first:
its perceptrons have no bias, and its blur mirrors the border where theirs has zeros beyond it. Its map, which is not
blurred, is not compared.

    python benchmarks/parity/dinomaly.py --peer-python ../anomalib/bin/python
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

IMAGES, SIZE, STEPS = 3, 98, 3
ENCODER, LEVELS = "vit_small_patch14_reg4_dinov2", [0, 1, 2, 3, 4, 5, 6, 7]
RATE, DECAY, EPSILON, NORM = 2e-3, 1e-4, 1e-8, 0.1  # anomalib's
TOLERANCE = 1e-5


def run_bench(folder: Path) -> None:
    """Write weights and images, and what comes of them."""
    from bench.data.datamodule import DataSpec
    from bench.data.loading import Batch
    from bench.models.dinomaly import Dinomaly
    from bench.models.parts.stable_adamw import StableAdamW

    torch.manual_seed(0)
    spec, image = DataSpec(SIZE, 3, IMAGES), torch.rand(IMAGES, 3, SIZE, SIZE)
    model = Dinomaly(spec, backbone=ENCODER, weights="none", levels=LEVELS, dropout=0.0)
    own = model.reconstruction
    biases = {name for name, _ in own.named_parameters() if ".mlp." in name or name.startswith("bottleneck")}
    learned = {name: each for name, each in own.named_parameters() if name not in biases or not name.endswith("bias")}
    normalised = (image - model.encoder.mean) / model.encoder.std
    start = {"encoder": model.encoder.network.state_dict(), "learned": learned, "image": normalised}
    torch.save(start, folder / "start.pt")
    with torch.no_grad():
        features = model.eval().encoder(image)
        encoded, decoded = model._compared(features)
        score = model(image).score
    found: dict[str, Any] = {"encoded": encoded, "decoded": decoded, "score": score, "losses": [], "gradients": []}
    optimizer = StableAdamW(learned.values(), RATE, eps=EPSILON, weight_decay=DECAY, amsgrad=True)
    for step in range(STEPS):
        model.train().trainer = SimpleNamespace(global_step=1000 * step)  # hard mining at its beginning and at its end
        optimizer.zero_grad()
        loss = model.loss(Batch(image, torch.arange(IMAGES)))["loss"]
        loss.backward()
        found["losses"].append(loss.detach())
        found["gradients"].append({name: each.grad.clone() for name, each in learned.items()})
        torch.nn.utils.clip_grad_norm_(learned.values(), NORM)
        optimizer.step()
    found["after"] = {name: each.detach().clone() for name, each in learned.items()}
    torch.save(found, folder / "bench.pt")


def run_anomalib(folder: Path) -> None:
    """The same with anomalib's classes."""
    from anomalib.models.components.feature_extractors import timm as extractors
    from anomalib.models.image.dinomaly.components import StableAdamW
    from anomalib.models.image.dinomaly.torch_model import DinomalyModel

    create = extractors.timm.create_model

    def without_download(name: str, **_: Any) -> torch.nn.Module:
        return create(name, img_size=SIZE)

    extractors.timm.create_model = without_download
    start = torch.load(folder / "start.pt")
    model = DinomalyModel(ENCODER, bottleneck_dropout=0.0, target_layers=LEVELS)
    model.encoder.feature_extractor.load_state_dict(start["encoder"], strict=False)
    names = {name.replace("bottleneck.0.", "bottleneck."): each for name, each in model.named_parameters()}
    learned = {name: names[name] for name in start["learned"]}
    trained = {name for name in names if name.startswith(("bottleneck", "decoder"))}
    if trained != learned.keys():
        raise SystemExit(f"of other names: {sorted(trained ^ learned.keys())}")
    with torch.no_grad():
        for name, each in learned.items():
            each.copy_(start["learned"][name])
        encoded, decoded = model.eval().get_encoder_decoder_outputs(start["image"])
        mirrored = model(start["image"]).pred_score
        model.gaussian_blur.border_type = "constant"
        score = model(start["image"]).pred_score
    as_tokens = [[each.flatten(2).mT for each in part] for part in (encoded, decoded)]
    found: dict[str, Any] = {"encoded": as_tokens[0], "decoded": as_tokens[1], "score": score, "mirrored": mirrored}
    found |= {"losses": [], "gradients": []}
    optimizer = StableAdamW(learned.values(), lr=RATE, eps=EPSILON, weight_decay=DECAY, amsgrad=True)
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = model.train()(start["image"], global_step=1000 * step)
        loss.backward()
        found["losses"].append(loss.detach())
        found["gradients"].append({name: each.grad.clone() for name, each in learned.items()})
        torch.nn.utils.clip_grad_norm_(learned.values(), NORM)
        optimizer.step()
    found["after"] = {name: each.detach().clone() for name, each in learned.items()}
    torch.save(found, folder / "anomalib.pt")


def deviation(one: Any, other: Any) -> float:
    """The largest difference of two tensors, or of all of a dictionary or list."""
    if isinstance(one, dict):
        return max(deviation(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return max(deviation(own, theirs) for own, theirs in zip(one, other, strict=True))
    return float((one - other).abs().max())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="a Python that has anomalib")
    parser.add_argument("--turn", choices=("bench", "anomalib"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        (run_bench if options.turn == "bench" else run_anomalib)(options.folder)
        return 0
    with tempfile.TemporaryDirectory() as name:
        for turn, python in (("bench", sys.executable), ("anomalib", options.peer_python)):
            subprocess.run([python, __file__, "--turn", turn, "--folder", name], check=True)
        ours, theirs = (torch.load(Path(name) / f"{turn}.pt") for turn in ("bench", "anomalib"))
    largest = 0.0
    for part in ("encoded", "decoded", "score", "losses", "gradients", "after"):
        found = deviation(ours[part], theirs[part])
        largest = max(largest, found)
        print(f"{part:<10} deviates by at most {found:.1e}")
    print(f"a mirrored border moves the scores by up to {deviation(theirs['score'], theirs['mirrored']):.1e}")
    print(f"{'equal' if largest <= TOLERANCE else 'NOT equal'} to {TOLERANCE:g}")
    return int(largest > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
