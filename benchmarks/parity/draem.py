"""DRAEM against anomalib 2.7: the same weights and images, forward, losses, and one step of Adam.

Run it where both are installed: python benchmarks/parity/draem.py. The largest difference of each is printed, and the
script fails where one is above 1e-5. Three things are made equal first:

* anomalib mirrors images at their borders for SSIM, where the authors take 0: SSIM is compared on images whose borders
  are 0, and for the step both take anomalib's losses;
* it hands image and reconstruction to the second network in the other order;
* kornia's focal loss with the alpha of 1 that anomalib gives it weighs normal pixels by 0, and divides by twice the
  number of pixels: it is compared with ours of the anomalous pixels alone, divided alike, without smoothing.

Adam's first step is the sign of a gradient: weights whose gradient is rounding alone, as biases before BatchNorm, are
left out of its comparison.
"""

import torch
from anomalib.models.image.draem.loss import DraemLoss
from anomalib.models.image.draem.torch_model import (
    DiscriminativeSubNetwork,
    DraemModel,
    ReconstructiveSubNetwork,
)
from torch import Tensor, nn

from bench.data.datamodule import DataSpec
from bench.models.draem import DRAEM

LIMIT, ROUNDING = 1e-5, 1e-4
SIDE, BORDER = 64, 12
WIDTH = 8  # of the authors' 64: the widths are a factor of all layers alike
PASTED = 20
RECONSTRUCTIVE = ("up1", "up2", "up3", "up4"), ("db1", "db2", "db3", "db4")
DISCRIMINATIVE = ("up_b", "up1", "up2", "up3", "up4"), ("db_b", "db1", "db2", "db3", "db4")


def pairs(ours: DRAEM, theirs: DraemModel) -> list[tuple[nn.Module, nn.Module]]:
    """Each of our blocks with theirs."""
    found: list[tuple[nn.Module, nn.Module]] = []
    networks = (
        (ours.reconstruct, theirs.reconstructive_subnetwork, "encoder", "decoder", RECONSTRUCTIVE),
        (ours.discriminate, theirs.discriminative_subnetwork, "encoder_segment", "decoder_segment", DISCRIMINATIVE),
    )
    for own, other, encoder, decoder, (ups, blocks) in networks:
        down, up = getattr(other, encoder), getattr(other, decoder)
        found += [(each, getattr(down, f"block{level}")) for level, each in enumerate(own.encoder, 1)]
        found += [(each, getattr(up, name)) for each, name in zip(own.up, ups, strict=True)]
        found += [(each, getattr(up, name)) for each, name in zip(own.decoder, blocks, strict=True)]
        found.append((own.last, up.fin_out[0]))
    return found


def in_our_order(weight: Tensor) -> Tensor:
    """The first weights (C, 6, 3, 3) of their second network, reconstruction first."""
    return torch.cat([weight[:, 3:], weight[:, :3]], dim=1)


def copied(ours: DRAEM, theirs: DraemModel) -> list[tuple[Tensor, Tensor]]:
    """Give theirs our weights; return all pairs of parameters, those of the first layer in our order."""
    first, together = theirs.discriminative_subnetwork.encoder_segment.block1[0].weight, []
    with torch.no_grad():
        for own, other in pairs(ours, theirs):
            for one, two in zip(own.parameters(), other.parameters(), strict=True):
                two.copy_(in_our_order(one) if two is first else one)
                together.append((one, two))
    return together


def narrow() -> DraemModel:
    """Their model with narrower networks, which a few hundred megabytes hold."""
    model = DraemModel.__new__(DraemModel)
    nn.Module.__init__(model)
    model.reconstructive_subnetwork = ReconstructiveSubNetwork(base_width=2 * WIDTH)
    model.discriminative_subnetwork = DiscriminativeSubNetwork(in_channels=6, out_channels=2, base_width=WIDTH)
    return model


def largest(one: Tensor, other: Tensor) -> float:
    """The largest difference, in units of the largest value where that is above 1."""
    return float((one - other).detach().abs().max() / max(1.0, float(other.detach().abs().max())))


def main() -> None:
    """Compare networks, losses and a step."""
    torch.manual_seed(0)
    ours = DRAEM(DataSpec(SIDE, 3, 10), textures="procedural", width=WIDTH)
    theirs, losses = narrow(), DraemLoss()
    together = copied(ours, theirs)
    image, normal = torch.rand(2, 3, SIDE, SIDE), torch.rand(2, 3, SIDE, SIDE)
    mask = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.bool)
    mask[:, :, :PASTED, :PASTED] = True
    found = {}
    with torch.no_grad():
        found["map"] = largest(ours.eval()(image).map, theirs.eval()(image).anomaly_map)
        inner = (torch.nn.functional.pad(each[:, :, BORDER:-BORDER, BORDER:-BORDER], [BORDER] * 4)
                 for each in (image, normal))  # fmt: skip
        output, target = inner
        found["SSIM's loss"] = largest(1 - ours.ssim(output, target), 2 * losses.ssim_loss(output, target))
    ours.train()
    theirs.train()
    reconstruction, logits = ours.networks(image)
    other_reconstruction, other_logits = theirs(image)
    found["reconstruction"] = largest(reconstruction, other_reconstruction)
    found["logits"] = largest(logits, other_logits)
    probability = torch.softmax(logits, dim=1)[:, 1:][mask]
    anomalous = -((1 - probability) ** 2 * probability.log()).sum() / (2 * mask.numel())
    found["focal loss, anomalous"] = largest(anomalous, losses.focal_loss(other_logits, mask[:, 0].long()))
    outputs = (reconstruction, logits), (other_reconstruction, other_logits)
    for place, (drawn, scored) in enumerate(outputs):
        optimizer = torch.optim.Adam([pair[place] for pair in together], 1e-4)
        losses(normal, drawn, mask.float(), scored).backward()
        optimizer.step()
    first = theirs.discriminative_subnetwork.encoder_segment.block1[0].weight
    steps, gradients = [], []
    for one, two in together:
        own, other = (one, one.grad), (two, two.grad)
        if two is first:
            other = (in_our_order(two), in_our_order(two.grad))
        gradients.append(largest(own[1], other[1]))
        counts = own[1].abs() > ROUNDING
        steps.append(largest(own[0] * counts, other[0] * counts))
    found["gradients"], found["weights after a step"] = max(gradients), max(steps)
    for name, difference in found.items():
        print(f"{name:<25} {difference:.1e}")
    if max(found.values()) > LIMIT:
        raise SystemExit(f"a difference is above {LIMIT:g}")


if __name__ == "__main__":
    main()
