"""The synthetic texture: a twill of grey and brown yarn that fills the image, slightly turned, stretched and uneven.

Positions along the two directions (a, b) of the weave are counted in pitches of the yarn. Where the twill puts the warp
on top, the height map is a warp yarn's, elsewhere a weft yarn's. Defects are painted over the weave, before the
exposure.
"""

import math
from collections.abc import Callable

import numpy as np

from bench.data.synthetic.drawing import (
    Array,
    Defect,
    blend,
    blob_distance,
    canvas,
    coverage,
    downsample,
    light,
    line_distance,
    rotate,
    smooth_noise,
    wandering_line,
)

YARNS = 26  # across the image
WARP = np.array([124, 118, 112], dtype=np.float32)
WEFT = np.array([96, 88, 84], dtype=np.float32)
BACKING = np.array([40, 36, 34], dtype=np.float32)  # seen through a hole


def draw(size: int, rng: np.random.Generator, defect: Defect | None = None) -> Array:
    """A (size, size, 3) picture in RGB levels, not yet rounded; the same generator state gives the same scene."""
    x, y = canvas(size)
    picture = _weave(rng, x, y)
    slope_x, slope_y = rng.normal(0, 0.03, 2).tolist()
    exposure = rng.normal(1, 0.025) + slope_x * x + slope_y * y
    if defect:
        across, down = defect.rng.uniform(-0.36, 0.36, 2).tolist()
        picture = DAMAGES[defect.kind](defect, picture, x - across, y - down)
    noise = 3 * rng.standard_normal((size, size, 3), dtype=np.float32)
    return downsample(picture) * downsample(exposure)[..., None] + noise


def _weave(rng: np.random.Generator, x: Array, y: Array) -> Array:
    side = len(x)
    pitch = rng.normal(1, 0.02) / YARNS
    a, b = rotate(x / pitch, y / pitch, rng.normal(0, math.radians(2)))
    a = a + rng.uniform(0, 4) + 0.12 * smooth_noise(rng, side, (9, 9))
    b = b + rng.uniform(0, 4) + 0.12 * smooth_noise(rng, side, (9, 9))
    column, row = np.floor(a), np.floor(b)
    warp_on_top = (column + row) % 4 < 2  # two over, two under, one further in every row
    # A yarn is round across, and dives under its neighbours at both ends of a float two yarns long.
    across = np.where(warp_on_top, a - column, b - row) - 0.5
    along = np.where(warp_on_top, (column + b) % 4, (row + a + 2) % 4) / 2 - 0.5
    height = pitch * 0.5 * np.cos(math.pi * across) * (0.45 + 0.55 * np.cos(math.pi * along))
    fibres = np.where(warp_on_top, smooth_noise(rng, side, (110, 220)), smooth_noise(rng, side, (220, 110)))
    diffuse, _ = light(height + pitch * 0.03 * fibres)

    tint = rng.normal(1, 0.01, 3).astype(np.float32)
    per_yarn = 1 + 0.05 * rng.standard_normal(2 * 64, dtype=np.float32)
    shade = per_yarn[np.where(warp_on_top, column % 64, 64 + row % 64).astype(int)] * (0.45 + 0.8 * diffuse)
    shade *= 1 + 0.05 * fibres + 0.02 * smooth_noise(rng, side, (7, 7))
    colour: Array = np.where(warp_on_top[..., None], WARP * tint, WEFT * tint) * shade[..., None]
    return colour


def _paint(picture: Array, colour: Array, opacity: Array) -> Array:
    return blend(picture, colour, opacity[..., None])


def _color(defect: Defect, picture: Array, x: Array, y: Array) -> Array:
    """A stain: dyes the yarn, whose relief stays visible."""
    dyes = np.array([[1.25, 0.7, 0.65], [0.65, 0.8, 1.3], [0.7, 1.15, 0.7], [1.35, 1.15, 0.6]], dtype=np.float32)
    shape = blob_distance(x, y, defect.between((0.06, 0.1), (0.04, 0.06)), defect.rng)
    strength = np.clip(-shape / 0.02, 0, 1) * defect.between((0.7, 1.0), (0.25, 0.35))
    return _paint(picture, picture * defect.rng.choice(dyes), strength)


def _cut(defect: Defect, picture: Array, x: Array, y: Array) -> Array:
    """A slit: a dark gap between pale, fluffed lips."""
    line = wandering_line(defect.rng, defect.between((0.2, 0.32), (0.09, 0.13)), curl=0.3)
    distance = line_distance(x, y, line) + 0.002 * smooth_noise(defect.rng, len(x), (70, 70))
    gap = defect.between((0.006, 0.01), (0.003, 0.004))
    lips = np.clip(2 - distance / gap, 0, 1) * 0.3
    return _paint(_paint(picture, WARP * 1.5, lips), BACKING, coverage(distance - gap))


def _hole(defect: Defect, picture: Array, x: Array, y: Array) -> Array:
    """Yarn is missing and the dark backing shows, with frayed ends around it."""
    shape = blob_distance(x, y, defect.between((0.035, 0.06), (0.018, 0.024)), defect.rng)
    shape = shape + 0.004 * smooth_noise(defect.rng, len(x), (60, 60))
    fray = np.clip(1 - np.abs(shape) / 0.01, 0, 1) * 0.35
    backing = BACKING * (1 + 0.15 * smooth_noise(defect.rng, len(x), (90, 90))[..., None])
    depth = coverage(shape) * defect.between((0.9, 1), (0.55, 0.7))
    return _paint(_paint(picture, backing, depth), WARP * 1.3, fray)


def _metal_contamination(defect: Defect, picture: Array, x: Array, y: Array) -> Array:
    """A sliver of metal: a smooth, glinting bar with a dark edge."""
    along, across = rotate(x, y, defect.rng.uniform(0, math.pi))
    length, width = defect.between((0.03, 0.05), (0.016, 0.022)), defect.between((0.009, 0.014), (0.005, 0.007))
    shape = np.maximum(np.abs(along) - length, np.abs(across) - width)
    grey = 150 + 80 * np.cos(across / width * 1.4 + 0.5)
    return _paint(_paint(picture, BACKING, coverage(shape - 0.004) * 0.5), grey[..., None], coverage(shape))


def _thread(defect: Defect, picture: Array, x: Array, y: Array) -> Array:
    """A stray fibre lies on the carpet, with its shadow."""
    line = wandering_line(defect.rng, defect.between((0.35, 0.6), (0.15, 0.22)), curl=2.5)
    width = defect.between((0.005, 0.007), (0.0025, 0.0035))
    colour = WARP * defect.between((1.6, 1.9), (1.35, 1.5))
    distance = line_distance(x, y, line)
    shadow = np.clip(2 - line_distance(x - 0.004, y - 0.004, line) / width, 0, 1) * 0.4
    return _paint(_paint(picture, BACKING, shadow), colour, coverage(distance - width))


DAMAGES: dict[str, Callable[[Defect, Array, Array, Array], Array]] = {
    "color": _color,
    "cut": _cut,
    "hole": _hole,
    "metal_contamination": _metal_contamination,
    "thread": _thread,
}
