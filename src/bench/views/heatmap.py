"""Heat maps over images, in one style for every picture of a run."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Values = NDArray[np.floating[Any]]

# The image shows through: unchanged where the map is low, with a quarter of its weight where the map is high.
_OPAQUE, _FULL = 0.75, 0.4


def overlay(image: Picture, values: Values, low: float, high: float) -> Picture:
    """Values (H, W) in plasma, of viridis' family, over an image (H, W, 3) in grey: only the map has colour."""
    share = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    colours = cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_PLASMA)[:, :, ::-1]
    weight = _OPAQUE * np.minimum(share / _FULL, 1)[:, :, None]
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY)[:, :, None]
    return np.asarray(np.rint(weight * colours + (1 - weight) * grey), dtype=np.uint8)


def colour_bar(width: int, height: int) -> Picture:
    """The picture (height, width, 3) that `overlay` makes of all values on a grey image, the highest at the top."""
    ramp = np.linspace(1, 0, height)[:, None].repeat(width, axis=1)
    return overlay(np.full((height, width, 3), 160, np.uint8), ramp, 0.0, 1.0)
