"""Anomaly maps of new images as files: raw values in MVTec's layout, pictures for people."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from bench.data.geometry import Geometry, middle_square
from bench.models.base import resize_map
from bench.writing import encode

Values = NDArray[np.float32]


def fit_map(anomaly_map: Values, geometry: Geometry, size: tuple[int, int]) -> tuple[Values, NDArray[np.bool_]]:
    """A map (side, side) resized bilinearly to an image of `size` (width, height), and a mask of the pixels it covers.

    Where a run crops, the model never saw the border: there the map holds its own lowest value.
    """
    if geometry.aspect == "crop" and size[0] != size[1]:
        return _fit_middle(anomaly_map, geometry, size)
    width, height = size
    anomaly_map = anomaly_map[geometry.content(size).rows_and_columns]
    rows, columns = (_seen(geometry, pixels) for pixels in (height, width))
    seen = rows[:, None] & columns[None, :]
    margin = (geometry.size - geometry.output) // 2
    after = geometry.size - geometry.output - margin
    uncropped = np.pad(anomaly_map, (margin, after), mode="edge") if geometry.crop else anomaly_map
    fitted = resize_map(torch.from_numpy(uncropped), torch.Size((height, width))).numpy()
    return np.where(seen, fitted, fitted.min()).astype(np.float32), seen


def _fit_middle(anomaly_map: Values, geometry: Geometry, size: tuple[int, int]) -> tuple[Values, NDArray[np.bool_]]:
    middle, shape = middle_square(size), size[::-1]
    fitted, seen = fit_map(anomaly_map, geometry, (min(size), min(size)))
    full, where = np.full(shape, fitted.min(), np.float32), np.zeros(shape, np.bool_)
    full[middle.rows_and_columns], where[middle.rows_and_columns] = fitted, seen
    return full, where


def write_map(values: Values, path: Path) -> None:
    """Write (height, width) as one uncompressed page of 32-bit floats, which tifffile and Pillow read back exactly."""
    path.write_bytes(encode(Image.fromarray(values), "TIFF"))


def _seen(geometry: Geometry, pixels: int) -> NDArray[np.bool_]:
    """Which of the pixels along one side of an image have their centre inside the crop."""
    margin = (geometry.size - geometry.output) // 2
    centre = (np.arange(pixels) + 0.5) * geometry.size / pixels
    inside: NDArray[np.bool_] = (centre >= margin) & (centre < margin + geometry.output)
    return inside
