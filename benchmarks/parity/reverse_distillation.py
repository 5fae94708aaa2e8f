"""Reverse distillation here against anomalib's, from the same weights and images: maps, loss, and one step of Adam.

anomalib comes from PyPI (`pip install anomalib`), in the same environment or in another one (`--peer-python`); each
side is a process of its own, in double precision. What is known to differ is set alike first: anomalib's second beta
is .99; its embedding for WideResNet-50-2 has inner channels of ResNet-50, half of the authors'; its blur mirrors
without the outermost pixels, so that maps are compared before the blur, and after it where no border reaches.

    python benchmarks/parity/reverse_distillation.py --peer-python ../anomalib/bin/python
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

IMAGES, SIZE, LEVELS = 4, 64, ["layer1", "layer2", "layer3"]
BORDER = 16  # pixels that the blur reaches
TOLERANCE = 1e-8
# The layers of anomalib's embedding, which has the authors' names, in the order of ours.
EMBEDDING = {
    "fuse.0.0.": "conv1.", "fuse.0.1.": "bn1.", "fuse.0.3.": "conv2.", "fuse.0.4.": "bn2.",
    "fuse.1.0.": "conv3.", "fuse.1.1.": "bn3.", "embed.": "bn_layer.",
}  # fmt: skip
DECODER = {f"stages.{stage}.": f"layer{stage + 1}." for stage in range(3)}


def named_alike(ours: dict[str, Any], theirs: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Our values under their names: within a part, both list the same layers in the same order."""
    found: dict[str, Any] = {}
    for own, other in names.items():
        mine = [value for name, value in ours.items() if name.startswith(own)]
        keys = [name for name in theirs if name.startswith(other)]
        found |= dict(zip(keys, mine, strict=True))
    return found


def in_double_precision() -> None:
    """Compute all in double precision, what asks for single as well, so that no difference is one of rounding."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]


def run_bench(folder: Path, backbone: str) -> None:
    """Write weights and images, and what comes of them."""
    from bench.data.datamodule import DataSpec
    from bench.data.loading import Batch
    from bench.models.reverse_distillation import ReverseDistillation

    torch.manual_seed(0)
    model = ReverseDistillation(DataSpec(SIZE, 3, IMAGES), backbone=backbone, weights="none", levels=LEVELS)
    for module in model.modules():  # statistics as after some training
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    image = torch.rand(IMAGES, 3, SIZE, SIZE)
    parts = {"encoder": model.backbone.network, "embedding": model.embedding, "decoder": model.decoder}
    start = {name: {key: value.clone() for key, value in part.state_dict().items()} for name, part in parts.items()}
    torch.save({**start, "image": (image - model.backbone.mean) / model.backbone.std}, folder / "start.pt")
    with torch.no_grad():
        score, anomaly_map, _ = model.eval()(image)
        features = model.backbone(image)
        plain = sum(
            torch.nn.functional.interpolate(
                1 - torch.cosine_similarity(one, other)[:, None], SIZE, mode="bilinear", align_corners=True
            )[:, 0]
            for one, other in zip(features, model.restore(features), strict=True)
        )
    loss = model.train().loss(Batch(image, torch.arange(IMAGES)))["loss"]
    loss.backward()
    gradients = {
        name: {key: each.grad.clone() for key, each in parts[name].named_parameters()}
        for name in ("embedding", "decoder")
    }
    model.configure_optimizers().step()
    after = {name: parts[name].state_dict() for name in ("embedding", "decoder")}
    found = {"map": anomaly_map, "unblurred": plain, "score": score, "loss": loss.detach()}
    torch.save({**found, "gradients": gradients, "after": after}, folder / "bench.pt")


def run_anomalib(folder: Path, backbone: str) -> None:
    """The same with anomalib's classes."""
    from anomalib.models.image.reverse_distillation import anomaly_map
    from anomalib.models.image.reverse_distillation.components.bottleneck import OCBE
    from anomalib.models.image.reverse_distillation.loss import ReverseDistillationLoss
    from anomalib.models.image.reverse_distillation.torch_model import ReverseDistillationModel
    from torchvision.models.resnet import Bottleneck

    mode = anomaly_map.AnomalyMapGenerationMode.ADD
    model = ReverseDistillationModel(backbone, (SIZE, SIZE), LEVELS, mode, pre_trained=False)
    if backbone == "wide_resnet50_2":
        model.bottleneck = OCBE(Bottleneck, 3, width_per_group=128)
    start = torch.load(folder / "start.pt")
    model.encoder.feature_extractor.load_state_dict(start["encoder"], strict=False)
    embedding = named_alike(start["embedding"], model.bottleneck.state_dict(), EMBEDDING)
    model.bottleneck.load_state_dict(embedding, strict=False)
    model.decoder.load_state_dict(named_alike(start["decoder"], model.decoder.state_dict(), DECODER))
    with torch.no_grad():
        predicted = model.eval()(start["image"])
        blur, anomaly_map.GaussianBlur2d = anomaly_map.GaussianBlur2d, lambda **_: torch.nn.Identity()
        plain = model(start["image"]).anomaly_map[:, 0]
        anomaly_map.GaussianBlur2d = blur
    loss = ReverseDistillationLoss()(*model.train()(start["image"]))
    loss.backward()
    # The authors' betas; anomalib's second is .99.
    learned = [*model.decoder.parameters(), *model.bottleneck.parameters()]
    parts = {"embedding": model.bottleneck, "decoder": model.decoder}
    gradients = {
        name: {key: each.grad.clone() for key, each in part.named_parameters() if each.grad is not None}
        for name, part in parts.items()
    }
    torch.optim.Adam(learned, 0.005, betas=(0.5, 0.999)).step()
    after = {name: part.state_dict() for name, part in parts.items()}
    found = {"map": predicted.anomaly_map[:, 0], "unblurred": plain, "score": predicted.pred_score.flatten()}
    torch.save({**found, "loss": loss.detach(), "gradients": gradients, "after": after}, folder / "anomalib.pt")


def largest(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest difference, in units of the largest number."""
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-12))


def compare(folder: Path, backbone: str) -> bool:
    """Print the differences; whether all lie within the tolerance."""
    ours, theirs = (torch.load(folder / f"{name}.pt") for name in ("bench", "anomalib"))
    inner = slice(BORDER, SIZE - BORDER)
    differences = {
        "map before the blur": largest(ours["unblurred"], theirs["unblurred"]),
        "map where no border reaches": largest(ours["map"][:, inner, inner], theirs["map"][:, inner, inner]),
        "loss": largest(ours["loss"], theirs["loss"]),
    }
    for kind, title in (("gradients", "gradients"), ("after", "weights and statistics after a step")):
        found = []
        for part, names in (("embedding", EMBEDDING), ("decoder", DECODER)):
            alike = named_alike(ours[kind][part], theirs[kind][part], names)
            found += [largest(v, theirs[kind][part][name]) for name, v in alike.items() if v.is_floating_point()]
        differences[title] = max(found)
    for name, difference in differences.items():
        print(f"{backbone}, {name}: {difference:.1e} of the largest number")
    border = largest(ours["map"], theirs["map"])
    print(f"{backbone}, the whole map, whose borders are mirrored otherwise: {border:.1e} of the largest number")
    return max(differences.values()) < TOLERANCE


def main() -> None:
    """Both turns for each network, then the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="the Python of an environment with anomalib")
    parser.add_argument("--backbones", nargs="+", default=["resnet18", "wide_resnet50_2"])
    parser.add_argument("--turn", choices=["bench", "anomalib"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        in_double_precision()
        (run_bench if options.turn == "bench" else run_anomalib)(options.folder, options.backbones[0])
        return
    good = True
    for backbone in options.backbones:
        with tempfile.TemporaryDirectory() as folder:
            for turn, python in (("bench", sys.executable), ("anomalib", options.peer_python)):
                own = ["--turn", turn, "--folder", folder, "--backbones", backbone]
                subprocess.run([python, __file__, *own], check=True)
            good &= compare(Path(folder), backbone)
    if not good:
        sys.exit(f"a difference is not below {TOLERANCE:g}")


if __name__ == "__main__":
    main()
