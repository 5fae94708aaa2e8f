"""Find images that show the same photograph: they must not be both learned from and tested on."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from bench.phases import phase

SIDE = 64  # pixels of the images that are compared

# Two images are one photograph above this correlation of their detail (grey, less the mean of 3 x 3 of 64 x 64 pixels).
#                                     screw    bottle   synthetic screw   synthetic carpet
#   JPEG of quality 75                 .9938    .9989             .9954              .9993   lowest over all images
#   brightness + 2 %                   .9984    .9994             .9993              .9998
#   half the side                      .9934    .9971             .9912              .9951
#   all three                          .9924    .9969             .9906              .9947
#   different images                   .9424    .9811             .9054              .6257   highest over all pairs
# The screw in 512 pixels, the others in 256. Two pairs of MVTec AD are above, and do show one object in one pose:
# screw train/good 053 and 173, in another light (.9927), bottle train/good 069 and 070, slightly moved (.9906).
# Correlation of the images themselves separates nothing: .9994 between two bottles, .9909 between a carpet and its
# copy.
_SAME = 0.988
_BLOCK = 512  # images compared with all others at a time


def near_duplicates(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Group numbers (N,) of images (N, side, side, channels) of 64 pixels; chains of near-duplicates share one.

    Another encoding, size, brightness or contrast of the same photograph is found; another object in the same pose is
    not, nor a copy of an image so flat that its encoding's noise is all its detail (correlation .77 at a standard
    deviation of 2 grey levels). Images without any detail are not compared.
    """
    with phase("comparing the images with each other"):
        first, second, _ = similar_pairs(images)
    graph = coo_array((np.ones(len(first), np.bool_), (first, second)), shape=(len(images), len(images)))
    groups: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return groups


def similar_pairs(images: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Indices of the first and second of each pair of near-duplicates, and their correlation: three arrays (P,)."""
    details = np.empty((len(images), images.shape[1] * images.shape[2]), np.float32)
    for start in range(0, len(images), _BLOCK):
        details[start : start + _BLOCK] = _detail(images[start : start + _BLOCK])
    first, second, alike = [], [], []
    for start in range(0, len(images), _BLOCK):
        correlation = details[start : start + _BLOCK] @ details[start:].T
        row, column = np.nonzero(correlation > _SAME)
        later = row < column
        row, column = row[later], column[later]
        first.append((row + start).astype(np.int32))
        second.append((column + start).astype(np.int32))
        alike.append(correlation[row, column])
    return np.concatenate(first), np.concatenate(second), np.concatenate(alike)


def _detail(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Unit vectors (N, side * side) of each pixel less the mean of its 3 x 3, independent of the light."""
    channels = images.shape[3]
    grey = images.astype(np.float32) @ np.full(channels, 1 / channels, np.float32)  # 20 times faster than mean()
    detail = (grey - uniform_filter(grey, size=(0, 3, 3))).reshape(len(images), -1)
    length = np.linalg.norm(detail, axis=1, keepdims=True)
    unit: NDArray[np.float32] = detail / np.maximum(length, 1e-3)
    return unit
