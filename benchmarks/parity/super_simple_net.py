"""SuperSimpleNet here against anomalib's, from the same weights, levels and noise: loss, a step of AdamW, score, map.

anomalib comes from PyPI (`pip install anomalib`), in the same environment or in another one (`--peer-python`); each
side is a process of its own, in double precision. Both begin with the levels of a frozen network, here random ones.
What is known to differ is set alike: anomalib does not align corners when it enlarges levels, so neither does this
comparison (by how much that changes features is printed); its default shows the network's own features to the
classification head, so both ways are compared; masks are given, because it rescales Perlin noise that stays below the
threshold; its scores and maps are sigmoids of those here.

    python benchmarks/parity/super_simple_net.py --peer-python ../anomalib/bin/python
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

IMAGES, SIZE = 4, 64
SHAPES = [(128, 8, 8), (256, 4, 4)]  # of ResNet-18's levels 2 and 3
TOLERANCE = 1e-8
CASES = {"adapted": True, "own": False}  # what the classification head sees


def in_double_precision() -> None:
    """Compute all in double precision, what asks for single as well, so that no difference is one of rounding."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign]


def run_bench(folder: Path) -> None:
    """Write weights, levels, masks and noise, and what comes of them."""
    from bench.data.datamodule import DataSpec
    from bench.models.super_simple_net import SuperSimpleNet

    for name, adapted in CASES.items():
        torch.manual_seed(0)
        spec = DataSpec(SIZE, 3, IMAGES)
        model = SuperSimpleNet(
            spec, backbone="resnet18", weights="none", levels=[2, 3], adapt_classification=adapted, noise=0.5
        )
        levels = [torch.randn(IMAGES, *shape) for shape in SHAPES]
        aligned = model.embed(levels)
        model.embed.align_corners = False  # type: ignore[union-attr, assignment]
        features = model.embed(levels)
        mask = (torch.rand(2 * IMAGES, 1, *features.shape[2:]) > 0.7).double()
        mask[::2] = 0
        noise = torch.randn(2 * IMAGES, *features.shape[1:])
        learned = {part: getattr(model, part) for part in ("adaptor", "segmentation", "classification")}
        start = {part: list(each.state_dict().values()) for part, each in learned.items()}
        torch.save({"levels": levels, "mask": mask, "noise": noise, **start}, folder / f"start-{name}.pt")
        model.regions = lambda *_, given=mask: given  # type: ignore[method-assign]
        drawn = torch.randn_like
        torch.randn_like = lambda *_, given=noise: given
        model.trainer = SimpleNamespace(estimated_stepping_batches=100)  # type: ignore[assignment]
        optimizer: Any = model.configure_optimizers()["optimizer"]
        loss = torch.stack(list(model.train().terms(features).values())).sum()
        torch.randn_like = drawn
        loss.backward()
        optimizer.step()
        after = {part: list(each.state_dict().values()) for part, each in learned.items()}
        with torch.no_grad():
            model.eval()
            anomalies, score = model.judge_features(features)
            found = {"features": features, "loss": loss.detach(), **after, "score": score.sigmoid()}
            torch.save(found | {"map": model.to_map(anomalies).sigmoid()}, folder / f"bench-{name}.pt")
        print(f"features with aligned corners differ from those without by up to {_largest(aligned, features):.2g}")


def run_anomalib(folder: Path) -> None:
    """Read them, and write what comes of them there."""
    from anomalib.models.image.supersimplenet import lightning_model, torch_model
    from anomalib.models.image.supersimplenet.loss import SSNLoss

    class Given(nn.Module):
        """The levels in place of a network."""

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return dict(enumerate(image))  # type: ignore[arg-type]

    for name, adapted in CASES.items():
        start = torch.load(folder / f"start-{name}.pt")
        extractor = torch_model.UpscalingFeatureExtractor
        extractor.get_channels_dim = lambda _: sum(shape[0] for shape in SHAPES)
        created, torch_model.TimmFeatureExtractor = torch_model.TimmFeatureExtractor, lambda **_: Given()
        wrapper = lightning_model.Supersimplenet(
            backbone="none", adapt_cls_features=adapted, evaluator=False, visualizer=False, post_processor=False
        )
        torch_model.TimmFeatureExtractor = created
        wrapper._trainer = SimpleNamespace(max_epochs=100)
        model = wrapper.model
        heads = model.segdec
        parts = {
            "adaptor": [model.adaptor],
            "segmentation": [heads.seg_head],
            "classification": [heads.cls_conv, heads.cls_fc],
        }
        for part, modules in parts.items():
            numbers = [value for module in modules for value in module.state_dict().values()]
            for value, given in zip(numbers, start[part], strict=True):
                value.copy_(given)
        model.anomaly_generator.noise_std = 0.5
        model.anomaly_generator.generate_perlin = lambda *_, given=start["mask"]: given
        normal, torch.normal = torch.normal, lambda mean, std, given=start["noise"], **_: mean + std * given
        features = model.feature_extractor(start["levels"])
        (optimizer,), _ = wrapper.configure_optimizers()
        fed = SimpleNamespace(shape=(IMAGES, 3, SIZE, SIZE), __iter__=None)
        model.feature_extractor.forward = lambda _, given=features: given
        anomalies, score, masks, labels = model.train()(fed, masks=None, labels=torch.zeros(IMAGES))
        torch.normal = normal
        loss = SSNLoss()(anomalies, score, masks, labels)
        loss.backward()
        optimizer.step()
        after = {
            part: [value for module in modules for value in module.state_dict().values()]
            for part, modules in parts.items()
        }
        with torch.no_grad():
            tested = model.eval()(fed)
        found = {"features": features, "loss": loss.detach(), **after, "score": tested.pred_score}
        torch.save(found | {"map": tested.anomaly_map[:, 0]}, folder / f"anomalib-{name}.pt")


def _largest(one: Any, other: Any) -> float:
    """The largest difference of two tensors, or lists of them."""
    if isinstance(one, Tensor):
        return float((one.double() - other.double()).abs().max())
    return max(_largest(*pair) for pair in zip(one, other, strict=True))


def main() -> int:
    """Run both sides and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="the interpreter that has anomalib")
    parser.add_argument("--side", choices=("bench", "anomalib"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        in_double_precision()
        {"bench": run_bench, "anomalib": run_anomalib}[given.side](given.folder)
        return 0
    with tempfile.TemporaryDirectory() as name:
        for side, python in (("bench", sys.executable), ("anomalib", given.peer_python)):
            subprocess.run([python, __file__, "--side", side, "--folder", name], check=True)
        worst = 0.0
        for case in CASES:
            ours, theirs = (torch.load(Path(name) / f"{side}-{case}.pt") for side in ("bench", "anomalib"))
            for part in ours:
                difference = _largest(ours[part], theirs[part])
                worst = max(worst, difference)
                print(f"classification sees {case} features: {part:15} differs by up to {difference:.2g}")
    print("alike" if worst <= TOLERANCE else f"differs by more than {TOLERANCE}")
    return 0 if worst <= TOLERANCE else 1


if __name__ == "__main__":
    sys.exit(main())
