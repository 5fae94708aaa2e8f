"""STFPM here against anomalib's, from the same weights and images: maps, loss, and one step of SGD.

anomalib comes from PyPI (`pip install anomalib`), in the same environment or in another one (`--peer-python`); each
side is a process of its own, in double precision. What is known to differ is set alike first, and printed: anomalib's
loss adds up over the images of a batch and is halved, its weight decay is .001.

    python benchmarks/parity/stfpm.py --peer-python ../anomalib/bin/python
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

IMAGES, SIZE, LEVELS = 4, 64, ["layer1", "layer2", "layer3"]
TOLERANCE = 1e-8


def in_double_precision() -> None:
    """Compute all in double precision, what asks for single as well, so that no difference is one of rounding."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]


def run_bench(folder: Path) -> None:
    """Write weights and images, and what comes of them."""
    from bench.data.datamodule import DataSpec
    from bench.data.loading import Batch
    from bench.models.stfpm import STFPM

    torch.manual_seed(0)
    model = STFPM(DataSpec(SIZE, 3, IMAGES), backbone="resnet18", weights="none", levels=LEVELS)
    image = torch.rand(IMAGES, 3, SIZE, SIZE)
    for part in (model.backbone, model.student):  # statistics as after some training
        part.train()
        for module in part.network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    start = {"teacher": model.backbone.network.state_dict(), "student": model.student.network.state_dict()}
    normalised = (image - model.backbone.mean) / model.backbone.std
    torch.save({**start, "image": normalised}, folder / "start.pt")
    fresh = model.student.network.get_submodule("layer1.0.bn2").weight.detach().clone()
    with torch.no_grad():
        score, anomaly_map, _ = model.eval()(image)
    loss = model.train().loss(Batch(image, torch.arange(IMAGES)))["loss"]
    optimizer = model.configure_optimizers()
    loss.backward()
    gradients = {name: each.grad.clone() for name, each in model.student.network.named_parameters()}
    optimizer.step()
    after = {name: value.clone() for name, value in model.student.network.state_dict().items()}
    found = {"map": anomaly_map, "score": score, "loss": loss.detach(), "gradients": gradients, "after": after}
    torch.save({**found, "fresh": fresh}, folder / "bench.pt")


def run_anomalib(folder: Path) -> None:
    """The same with anomalib's classes, its loss brought to that of the authors' code."""
    from anomalib.models.image.stfpm import torch_model
    from anomalib.models.image.stfpm.loss import STFPMLoss

    extractor = torch_model.TimmFeatureExtractor

    def without_download(*arguments: Any, **named: Any) -> Any:
        return extractor(*arguments, **{**named, "pre_trained": False})

    torch_model.TimmFeatureExtractor = without_download
    model = torch_model.STFPMModel(layers=LEVELS, backbone="resnet18")
    start = torch.load(folder / "start.pt")
    fresh = model.student_model.feature_extractor.layer1[0].bn2.weight.detach().clone()
    model.teacher_model.feature_extractor.load_state_dict(start["teacher"], strict=False)
    model.student_model.feature_extractor.load_state_dict(start["student"], strict=False)
    with torch.no_grad():
        predicted = model.eval()(start["image"])
    own = STFPMLoss()(*model.train()(start["image"]))
    loss = own * 2 / len(start["image"])
    # The authors' decay, 1e-4, not anomalib's .001.
    optimizer = torch.optim.SGD(model.student_model.parameters(), 0.4, momentum=0.9, weight_decay=1e-4)
    loss.backward()
    network = model.student_model.feature_extractor
    gradients = {name: each.grad.clone() for name, each in network.named_parameters() if each.grad is not None}
    optimizer.step()
    found = {"map": predicted.anomaly_map[:, 0], "score": predicted.pred_score.flatten(), "loss": loss.detach()}
    after = network.state_dict()
    found |= {"gradients": gradients, "after": after, "own": own.detach(), "fresh": fresh}
    torch.save(found, folder / "anomalib.pt")


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, in units of the largest number."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


def compare(folder: Path) -> bool:
    """Print the differences; whether all lie within the tolerance."""
    ours, theirs = (torch.load(folder / f"{name}.pt") for name in ("bench", "anomalib"))
    differences = {name: largest(ours[name], theirs[name]) for name in ("map", "score", "loss")}
    for kind, title in (("gradients", "gradients"), ("after", "weights and statistics after a step")):
        pairs = [(ours[kind][name], theirs[kind][name]) for name in ours[kind] if ours[kind][name].is_floating_point()]
        differences[title] = max(largest(*pair) for pair in pairs)
    for name, difference in differences.items():
        print(f"{name}: {difference:.1e} of the largest number")
    print(f"loss here {float(ours['loss']):.4f}, anomalib's own {float(theirs['own']):.4f} ({IMAGES} images)")
    scales = [float(each["fresh"].mean()) for each in (ours, theirs)]
    print(f"first scale of a fresh student's last BatchNorm in a block: here {scales[0]:g}, anomalib {scales[1]:g}")
    return max(differences.values()) < TOLERANCE


def main() -> None:
    """Both turns, then the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="the Python of an environment with anomalib")
    parser.add_argument("--turn", choices=["bench", "anomalib"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        in_double_precision()
        (run_bench if options.turn == "bench" else run_anomalib)(options.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        for turn, python in (("bench", sys.executable), ("anomalib", options.peer_python)):
            subprocess.run([python, __file__, "--turn", turn, "--folder", folder], check=True)
        if not compare(Path(folder)):
            sys.exit(f"a difference is not below {TOLERANCE:g}")


if __name__ == "__main__":
    main()
