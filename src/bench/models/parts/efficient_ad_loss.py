"""Parts of EfficientAD's loss (arXiv 2303.14535): hard differences, and the colours that its autoencoder sees."""

import torch
from torch import Tensor

from bench.models.parts.convolutional import to_grey

_JITTER = 0.2


def hardest(differences: Tensor, quantile: float) -> Tensor:
    """The mean of the differences at or above their quantile (linear interpolation, as torch.quantile has it).

    torch.quantile takes 16 million values at most, and sorts all of them.
    """
    values = differences.flatten()
    place = quantile * (len(values) - 1)
    before = int(place)
    largest = values.detach().topk(len(values) - before).values
    above = largest[-2] if len(largest) > 1 else largest[-1]
    least = largest[-1] + (place - before) * (above - largest[-1])
    chosen = values >= least
    return (values * chosen).sum() / chosen.sum()


def jitter(image: Tensor) -> Tensor:
    """Brightness, contrast or saturation of each image changed by up to a fifth, one of the three at random.

    As torchvision changes them: images are mixed with black, their mean grey, or their greys.
    """
    count = len(image)
    kind = torch.randint(3, (count, 1, 1, 1)).to(image.device, non_blocking=True)
    factor = (1 + _JITTER * (2 * torch.rand(count, 1, 1, 1) - 1)).to(image.device, non_blocking=True)
    grey = to_grey(image)
    mean = grey.mean(dim=(1, 2, 3), keepdim=True)
    other = torch.where(kind == 0, torch.zeros_like(grey), torch.where(kind == 1, mean, grey))
    return (factor * image + (1 - factor) * other).clamp(0, 1)
