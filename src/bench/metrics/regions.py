"""Connected regions of ground-truth masks."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_EIGHT_CONNECTED = np.ones((3, 3), dtype=bool)


def label_regions(mask: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """The 8-connected regions of a mask (H, W): the index of each pixel's region, 0 outside, and their number."""
    labels, count = ndimage.label(mask, structure=_EIGHT_CONNECTED)
    return labels, int(count)


def region_sizes(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Size in pixels of the 8-connected region of each anomalous pixel of a mask (H, W), in row-major order.

    The sum of 1 / size over the pixels is the number of regions.
    """
    labels, _ = label_regions(mask)
    region = labels[mask]
    sizes: NDArray[np.int32] = np.bincount(region)[region].astype(np.int32)
    return sizes
