"""AnomalyDINO here against anomalib's, from the same weights and images: features, distances, scores and masks.

Maps are compared before they are enlarged: anomalib repeats each distance and the authors' code is bilinear, as here.

Images have 518 pixels, the size of DINOv2's position embedding, so that neither side resamples it: at other sizes
anomalib does so without antialiasing, timm with it. anomalib 2.7 comes from PyPI, in the same environment or in another
one:

    python benchmarks/parity/anomaly_dino.py --peer-python PEER/bin/python [--weights FILE]

Without `--weights`, of timm's vit_small_patch14_dinov2, both sides have the same random ones.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BACKBONE, SIDE, BLOCK = "vit_small_patch14_dinov2", 518, 11
TOLERANCE = 1e-5


def images(count: int, seed: int) -> np.ndarray:
    """Smooth grounds (count, 3, SIDE, SIDE) in [0, 1] with a disc of another colour in the middle."""
    draws = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    disc = np.hypot(rows, columns) < 0.3
    found = np.empty((count, 3, SIDE, SIDE), np.float32)
    for one in found:
        noise = draws.random((3, SIDE // 14, SIDE // 14)).repeat(14, axis=1).repeat(14, axis=2)
        one[:] = 0.3 + 0.1 * noise
        one[:, disc] = draws.random((3, 1)) * 0.4 + 0.5 + 0.1 * noise[:, disc]
    return found


def write_weights(path: Path) -> None:
    """Random weights whose every block counts: DINOv2's layer scale begins at almost nothing."""
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = timm.create_model(BACKBONE)
    for name, value in network.named_parameters():
        if name.endswith("gamma"):
            torch.nn.init.ones_(value)
    save_file(network.state_dict(), path)


def ours(weights: Path) -> dict[str, np.ndarray]:
    """The arrays of this package."""
    import torch

    from bench.data.datamodule import DataSpec
    from bench.models.accumulators import State
    from bench.models.anomaly_dino import AnomalyDINO
    from bench.models.parts.foreground import object_patches, without_holes
    from bench.models.parts.neighbours import nearest

    train, probes = torch.from_numpy(images(2, 0)), torch.from_numpy(images(2, 1))
    spec = DataSpec(SIDE, 3, len(train))
    model = AnomalyDINO(spec, backbone=BACKBONE, weights=str(weights), level=BLOCK, foreground="never").eval()
    with torch.inference_mode():
        for each in model.passes():
            state = State(each.accumulators, len(train), torch.device("cpu"))
            state.fill([train], each.accumulate)
            each.finish(state)
        features = model._features(probes)
        found = model.predict(probes)
        bank = model.bank.flatten(0, 1)
        patches = torch.nn.functional.normalize(features.flatten(2).mT, dim=2)
        distances = nearest(patches.flatten(0, 1), bank)[0].square().view(len(probes), *model.grid) / 2
        masks = without_holes(object_patches(features, 10.0))
    return {
        "features": features.flatten(2).mT.numpy(),
        "score": found.score.numpy(),
        "distances": distances.numpy(),
        "mask": masks.numpy(),
    }


def theirs(weights: Path) -> dict[str, np.ndarray]:
    """The arrays of anomalib, whose network would download its weights."""
    import timm
    import torch
    from safetensors.torch import load_file

    create = timm.create_model
    timm.create_model = lambda *words, **more: create(*words, **(more | {"pretrained": False}))  # type: ignore[assignment]
    from anomalib.models.image.anomaly_dino.torch_model import AnomalyDINOModel

    class AsTheyAre(torch.nn.Module):
        """Leaves the distances of patches as they are."""

        def forward(self, distances: torch.Tensor, _size: tuple[int, int]) -> torch.Tensor:
            return distances

    model = AnomalyDINOModel(encoder_name=BACKBONE)
    model.anomaly_map_generator = AsTheyAre()
    own = {name: value.float() for name, value in load_file(weights).items()}
    missing, _ = model.feature_encoder.feature_extractor.load_state_dict(own, strict=False)
    if missing:
        raise SystemExit(f"anomalib's network lacks {missing[0]}")
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    train, probes = ((torch.from_numpy(images(2, seed)) - mean) / std for seed in (0, 1))
    with torch.inference_mode():
        model.train()
        model.feature_encoder.eval()
        model(train)
        model.fit()
        model.eval()
        features, found = model.extract_features(probes), model(probes)
    side = SIDE // 14
    masks = model.compute_background_masks(features.numpy(), (side, side)).reshape(-1, side, side)
    return {
        "features": features.numpy(),
        "score": found.pred_score[:, 0].numpy(),
        "distances": found.anomaly_map[:, 0].numpy(),
        "mask": masks,
    }


def main() -> int:
    """Print the largest difference of each array; 1 if one is above the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a safetensors file under timm's names")
    parser.add_argument("--peer-python", default=sys.executable, help="the interpreter of an environment with anomalib")
    parser.add_argument("--write-theirs", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write_theirs:
        np.savez(options.write_theirs, **theirs(options.weights))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        weights, path = options.weights or Path(folder) / "weights.safetensors", Path(folder) / "theirs.npz"
        if options.weights is None:
            write_weights(weights)
        words = [options.peer_python, __file__, "--weights", str(weights), "--write-theirs", str(path)]
        subprocess.run(words, check=True)
        expected, found = np.load(path), ours(weights)
    worst = 0.0
    for name, value in found.items():
        other = expected[name]
        if name == "mask":
            difference = float((value != other).mean())
            print(f"{name}: {difference:.4f} of the patches differ, {value.mean():.3f} are the object's")
        else:
            unit = float(np.abs(other).max()) if name == "features" else 1.0  # cosine distances lie between 0 and 2
            difference = float(np.abs(value - other).max()) / unit
            print(f"{name}: {difference:.1e}")
        worst = max(worst, difference)
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    raise SystemExit(main())
