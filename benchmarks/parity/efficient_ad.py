"""EfficientAD against anomalib 2.7: the same weights and images, forward, losses, and one step of Adam.

Run it where both are installed: python benchmarks/parity/efficient_ad.py. The largest difference of each is printed,
and the script fails where one is above 1e-5. anomalib pads its raw maps with 0 before their quantiles are taken, so
maps are compared without padding, by the same quantiles.
"""

import torch
from anomalib.models.image.efficient_ad import torch_model as theirs
from torch import Tensor, nn
from torch.nn.functional import interpolate

from bench.data.datamodule import DataSpec
from bench.models.efficient_ad import EfficientAD

LIMIT = 1e-5
RATE, DECAY = 1e-4, 1e-5


def copy(source: nn.Module, target: nn.Module) -> None:
    """Give the target's parameters the source's values; both list the same layers in the same order."""
    with torch.no_grad():
        for own, other in zip(target.parameters(), source.parameters(), strict=True):
            own.copy_(other)


def largest(one: Tensor, other: Tensor) -> float:
    """The largest difference, in units of the largest value where that is above 1."""
    return float((one - other).abs().max() / max(1.0, float(other.abs().max())))


def build(size: str) -> tuple[EfficientAD, theirs.EfficientAdModel]:
    """Both with the same weights, statistics and quantiles, without dropout, which each draws in its own way."""
    ours = EfficientAD(DataSpec(256, 3, 10), size=size, weights="none", penalty="none", dropout=0.0)
    model_size = theirs.EfficientAdModelSize.S if size == "small" else theirs.EfficientAdModelSize.M
    other = theirs.EfficientAdModel(model_size=model_size, pad_maps=False)
    copy(ours.teacher, other.teacher)
    copy(ours.student, other.student)
    copy(ours.autoencoder, other.ae)
    for layer in other.ae.modules():
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    ours.channel_mean.copy_(0.1 * torch.randn(384, 1, 1))
    ours.channel_deviation.copy_(0.5 + torch.rand(384, 1, 1))
    ours.low.copy_(torch.tensor([0.1, 0.01]))
    ours.high.copy_(torch.tensor([0.9, 0.05]))
    other.mean_std["mean"].data = ours.channel_mean[None].clone()
    other.mean_std["std"].data = ours.channel_deviation[None].clone()
    for name, (kind, place) in {
        "qa_st": (ours.low, 0), "qb_st": (ours.high, 0), "qa_ae": (ours.low, 1), "qb_ae": (ours.high, 1)
    }.items():  # fmt: skip
        other.quantiles[name].data = kind[place].clone()
    return ours, other


def compare(size: str) -> dict[str, float]:
    """The largest difference of each, for one size of the networks."""
    torch.manual_seed(0)
    ours, other = build(size)
    image, changed, natural = (torch.rand(1, 3, 256, 256) for _ in range(3))
    found = {}
    with torch.no_grad():
        local, whole = other.eval().get_maps(image)
        grid = interpolate(ours.eval().maps_of(image), size=256, mode="bilinear")
        found["map of the teacher"] = largest(grid[:, :1], local)
        found["map of the autoencoder"] = largest(grid[:, 1:], whole)
        low, high = ours.low.view(-1, 1, 1), ours.high.view(-1, 1, 1)
        combined = (0.1 * (grid - low) / (high - low)).mean(dim=1, keepdim=True)
        found["normalised map"] = largest(combined, other(image).anomaly_map)
    other.train()
    other.choose_random_aug_image = lambda _: changed
    student_loss, autoencoder_loss, agreement = other(batch=image, batch_imagenet=natural)
    terms = ours.train().terms(image, changed, natural)
    found["student's loss"] = largest(terms["hard"] + terms["penalty"], student_loss)
    found["autoencoder's loss"] = largest(terms["autoencoder"], autoencoder_loss)
    found["student's loss of the autoencoder"] = largest(terms["agreement"], agreement)
    networks = [(ours.student, other.student), (ours.autoencoder, other.ae)]
    for place, loss in enumerate((terms["loss"], student_loss + autoencoder_loss + agreement)):
        learned = [parameter for pair in networks for parameter in pair[place].parameters()]
        optimizer = torch.optim.Adam(learned, RATE, weight_decay=DECAY)
        loss.backward()
        optimizer.step()
    found["weights after a step"] = max(
        largest(own, theirs_own)
        for one, two in networks
        for own, theirs_own in zip(one.parameters(), two.parameters(), strict=True)
    )
    return found


def main() -> None:
    """Compare both sizes."""
    worst = 0.0
    for size in ("small", "medium"):
        for name, difference in compare(size).items():
            worst = max(worst, difference)
            print(f"{size:<7} {name:<35} {difference:.1e}")
    if worst > LIMIT:
        raise SystemExit(f"a difference of {worst:.1e} is above {LIMIT:g}")


if __name__ == "__main__":
    main()
