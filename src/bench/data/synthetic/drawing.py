"""Small drawing kit of the synthetic categories: coordinates, noise, distances and light on a supersampled canvas.

Lengths are fractions of the image's side, so that a picture looks the same at every size. Canvases are
float32, which halves the drawing time: scalars combined with them are Python floats, because NumPy's own would widen
them.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[np.floating]

SUPERSAMPLING = 2  # canvas pixels per image pixel, each way
LIGHT = (-0.42, -0.52, 0.74)  # the direction light comes from: upper left, and from the camera's side
HALF_WAY = (-0.226, -0.279, 0.933)  # between light and camera: the slope on which metal glints
STEEPEST = 3.0  # slopes are clipped here: a silhouette's is infinite


class Defect(NamedTuple):
    """A defect to draw: its type, whether it is hard to detect, and its own random generator."""

    kind: str
    hard: bool
    rng: np.random.Generator

    def between(self, obvious: tuple[float, float], hard: tuple[float, float]) -> float:
        """A random number from the range that belongs to this defect's severity."""
        return float(self.rng.uniform(*(hard if self.hard else obvious)))

    def side(self) -> float:
        """Minus or plus one, with equal chances."""
        return float(self.rng.choice((-1.0, 1.0)))


def canvas(size: int) -> tuple[Array, Array]:
    """The x and y of every canvas pixel's centre, from -1/2 to 1/2 across the image."""
    side = size * SUPERSAMPLING
    axis = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
    x, y = np.meshgrid(axis, axis)
    return x, y


def downsample(picture: Array) -> Array:
    """The image of a canvas: the mean of each pixel's samples."""
    s = SUPERSAMPLING
    samples = [picture[row::s, column::s] for row in range(s) for column in range(s)]
    image: Array = np.mean(samples, axis=0, dtype=np.float32)
    return image


def smooth_noise(rng: np.random.Generator, side: int, cells: tuple[int, int]) -> Array:
    """Standard normal values on a grid of (rows, columns) cells, interpolated to side x side."""
    coarse = rng.standard_normal(cells, dtype=np.float32)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC))


def rotate(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates along axes that are turned by an angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def coverage(distance: Array) -> Array:
    """How much of each canvas pixel lies inside a shape of this signed distance (negative inside)."""
    share: Array = np.clip(0.5 - distance * len(distance), 0, 1)
    return share


def blend(below: Array, above: Array | float, opacity: Array | float) -> Array:
    """Blend one layer over another."""
    return below + (above - below) * opacity


def blob_distance(x: Array, y: Array, radius: float, rng: np.random.Generator) -> Array:
    """Approximate signed distance to a round shape at the origin with a wavy rim."""
    angle = np.arctan2(y, x)
    rim = np.full_like(x, radius)
    for waves in (2, 3, 5):
        rim += 0.3 * radius / waves * rng.uniform(0.3, 1) * np.sin(waves * angle + rng.uniform(0, 2 * math.pi))
    return np.hypot(x, y) - rim


def wandering_line(rng: np.random.Generator, length: float, curl: float) -> Array:
    """Points of a smooth line of that length around the origin; its heading strays by about `curl` radians."""
    pieces, bends = 20, 4
    heading = rng.uniform(0, 2 * math.pi) + rng.normal(0, curl / np.sqrt(bends), bends).cumsum()
    heading = np.interp(np.linspace(0, bends - 1, pieces), np.arange(bends), heading)
    points = np.cumsum(np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0) * length / pieces
    middle: Array = points - points.mean(axis=0)
    return middle


def line_distance(x: Array, y: Array, points: Array) -> Array:
    """Distance to a line through these points."""
    nearest = np.full_like(x, np.inf)
    for (ax, ay), (bx, by) in zip(points[:-1].tolist(), points[1:].tolist(), strict=True):
        dx, dy = bx - ax, by - ay
        along = np.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0, 1)
        np.minimum(nearest, (x - ax - along * dx) ** 2 + (y - ay - along * dy) ** 2, out=nearest)
    return np.sqrt(nearest)


def light(height: Array) -> tuple[Array, Array]:
    """Diffuse light and glint on a height map, each from 0 to 1."""
    down, right = (np.clip(slope * len(height), -STEEPEST, STEEPEST) for slope in np.gradient(height))
    norm = 1 / np.sqrt(1 + down * down + right * right)
    diffuse = np.clip((LIGHT[2] - LIGHT[0] * right - LIGHT[1] * down) * norm, 0, 1)
    glint = np.clip((HALF_WAY[2] - HALF_WAY[0] * right - HALF_WAY[1] * down) * norm, 0, 1)
    return diffuse, glint
