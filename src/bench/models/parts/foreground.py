"""Which patches show the object: those that the first principal component of an image's patches sets apart.

The zero-shot masks of AnomalyDINO (Damm et al., WACV 2025, section 3.2), as its authors' code computes them.
"""

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from bench.models.parts.precision import full_precision

_BORDER = 0.2  # of rows and columns on each side, beyond which the middle of an image begins
_LEAST_OF_MIDDLE = 0.35
_MOST_OF_IMAGE = 0.5  # section 3.2: masks often fail where the object takes more than half of the patches


def object_patches(features: Tensor, threshold: float) -> Tensor:
    """Masks (B, h, w) of the patches (B, C, h, w) whose coordinate on the first component is beyond `threshold`.

    A component has no sign of its own. The authors take the first of both under which more than .35 of the middle is
    object; here it is the one under which the middle holds most more than the whole image does.
    """
    masks = []
    for own in features.float():
        coordinates = _first_coordinates(own)
        either = torch.stack([coordinates > threshold, -coordinates > threshold])
        more = _middle(either).float().mean(dim=(1, 2)) - either.float().mean(dim=(1, 2))
        masks.append(torch.where(more[0] >= more[1], either[0], either[1]))
    return torch.stack(masks)


def holds_object(masks: Tensor) -> Tensor:
    """Whether each of the masks (B, h, w) passes for one of an object: it fills the middle, and not the whole image.

    In the paper a person looks at the mask of one image of each product. This rule takes the limit of the authors' code
    for the middle, and for the whole the share beyond which the paper saw masks fail.
    """
    fills = _middle(masks).float().mean(dim=(1, 2)) > _LEAST_OF_MIDDLE
    return fills & (masks.float().mean(dim=(1, 2)) <= _MOST_OF_IMAGE)


def without_holes(masks: Tensor) -> Tensor:
    """Masks (B, h, w), enlarged by one patch and closed: a dilation, then a closing, both of 3 x 3 patches."""
    dilated = _dilate(_dilate(masks.float()))
    return (-_dilate(-dilated)).bool()


def _first_coordinates(patches: Tensor) -> Tensor:
    """The coordinates (h, w) of one image's patches (C, h, w) on their first principal component, of either sign."""
    vectors = patches.flatten(1).mT
    centred = vectors - vectors.mean(dim=0)
    with full_precision(patches.device):
        _, directions = torch.linalg.eigh(centred.mT @ centred)
        coordinates: Tensor = centred @ directions[:, -1]
    return coordinates.view(patches.shape[1:])


def _middle(masks: Tensor) -> Tensor:
    rows, columns = (slice(int(side * _BORDER), int(side * (1 - _BORDER))) for side in masks.shape[1:])
    return masks[:, rows, columns]


def _dilate(masks: Tensor) -> Tensor:
    return max_pool2d(masks[:, None], 3, stride=1, padding=1)[:, 0]
