"""The synthetic object: a wood screw seen from the side, in varied pose, on a bright and unevenly lit table.

The screw is a height map over (t, v): t runs along its axis from the head's face (0) to the tip (1), v across; both in
units of the screw's length. Damage bends, cuts or flattens that map before light falls on it, so that the shading
follows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

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

LENGTH = 0.8  # of the image's side
HEADING = math.radians(-130)  # from head to tip; the y axis points down
# How far the pose varies, either way. At any angle, as MVTec's screw lies, eighty images are too few to learn from.
TURN, SHIFT, STRETCH = math.radians(20), 0.012, 0.02
HEAD, SHANK, CORE, THREAD = 0.145, 0.052, 0.044, 0.032  # radii, and how far the thread stands out
OUTLINE = ([0, 0.015, 0.14, 0.46, 0.50, 0.86, 1.0], [HEAD, HEAD, SHANK, SHANK, CORE, CORE, 0.0])  # t, radius
THREADED = ([0.45, 0.49, 0.86, 0.99], [0, THREAD, THREAD, 0.004])  # t, thread height
PITCH = 0.062
FACE = 0.036  # how far the head's round face shows: the camera looks down a little
TABLE, STEEL = 192.0, 38.0  # grey levels


@dataclass
class Damage:
    """What a defect does to the screw; every field's default leaves it whole."""

    bend: float = 0.0  # how far the tip is pushed aside
    end: Array | float = 1.0  # where along the axis the screw ends
    flattened: Array | float = 0.0  # share of the thread's height that is gone
    removed: Array | float = 0.0  # opacity of the table where steel is missing
    bare: Array | float = 0.0  # grey levels that scraped metal is brighter by
    dirt: Array | float = 0.0  # opacity of dirt
    dirt_grey: float = 0.0


def draw(size: int, rng: np.random.Generator, defect: Defect | None = None) -> Array:
    """A (size, size) picture in grey levels, not yet rounded; the same generator state gives the same scene."""
    x, y = canvas(size)
    dx, dy = rng.uniform(-SHIFT, SHIFT, 2).tolist()
    length = LENGTH * rng.uniform(1 - STRETCH, 1 + STRETCH)
    t, v = rotate((x - dx) / length, (y - dy) / length, HEADING + rng.uniform(-TURN, TURN))
    t += 0.5
    damage = DAMAGES[defect.kind](defect, t, v) if defect else Damage()
    v = v - damage.bend * np.clip((t - 0.8) / 0.2, 0, None) ** 2

    table = _table(rng, x, y)
    steel, steel_cover = _body(rng, t, v, length, damage)
    face, face_cover = _face(rng, t, v)
    beside = np.clip(np.abs(v) - _profile(t, *OUTLINE), 0, None)
    beyond = np.clip(np.maximum(t - damage.end, -t - FACE), 0, None)
    picture = table - 12 * np.clip(1 - np.hypot(beside, beyond) / 0.045, 0, 1) ** 2  # the contact shadow
    rough = 0.75 + 0.25 * smooth_noise(rng, len(x), (90, 90))
    picture = blend(picture, steel + damage.bare * rough, steel_cover)
    picture = blend(picture, face, face_cover)
    picture = blend(picture, damage.dirt_grey, damage.dirt)
    noise = 1.6 * rng.standard_normal((size, size), dtype=np.float32)
    return downsample(picture) * rng.normal(1, 0.02) + noise


def _table(rng: np.random.Generator, x: Array, y: Array) -> Array:
    """The bright table, with a slope of light, faint clouds, and a few specks of dust that are no defect."""
    slope_x, slope_y = rng.normal(0, 12, 2).tolist()
    grey = TABLE + slope_x * x + slope_y * y - 14 * (x * x + y * y) + 1.5 * smooth_noise(rng, len(x), (6, 6))
    dust = np.clip(smooth_noise(rng, len(x), (130, 130)) - 3, 0, None)  # 3 standard deviations: about 20 cells
    dusty: Array = grey - 10 * dust
    return dusty


def _body(rng: np.random.Generator, t: Array, v: Array, length: float, damage: Damage) -> tuple[Array, Array]:
    """Grey levels and coverage of everything but the head's face: a solid of revolution with a helical ridge."""
    turn = np.arcsin(np.clip(v / (CORE + THREAD), -1, 1)) / (2 * math.pi)  # the part of the helix that faces the camera
    phase = (t / PITCH + turn + rng.uniform()) % 1
    ridge = np.clip(1 - 2.4 * np.abs(2 * phase - 1), 0, 1) ** 0.8
    thread = _profile(t, *THREADED) * (1 - damage.flattened)
    radius = _profile(t, *OUTLINE) + thread * ridge
    height = length * np.sqrt(np.clip(radius * radius - v * v, 0, None))
    diffuse, glint = light(height)

    streaks = smooth_noise(rng, len(t), (48, 48))
    groove = 1 - (1 - ridge) * (thread > 0) * 0.35  # less light reaches the thread's root
    grey = (STEEL + 70 * diffuse * groove + 75 * glint**14 * groove) * (1 + 0.05 * streaks) * rng.normal(1, 0.03)
    outside = np.maximum(np.maximum(np.abs(v) - radius, -t), t - damage.end) * length
    return grey, coverage(outside) * (1 - damage.removed)


def _face(rng: np.random.Generator, t: Array, v: Array) -> tuple[Array, Array]:
    """Grey levels and coverage of the head's face, a foreshortened disc with a six-pointed recess."""
    along, across = t / FACE, v / HEAD
    radius, angle = np.hypot(along, across), np.arctan2(along, across)
    recess = 0.45 + 0.1 * np.cos(6 * angle + rng.uniform(0, 2 * math.pi))
    grey = np.where(radius < recess, 42 + 55 * np.clip(along, 0, 1), 92 + 34 * coverage(0.88 - radius))
    grey = grey * (1 + 0.05 * smooth_noise(rng, len(t), (64, 64)))
    return grey, coverage((radius - 1) * FACE * LENGTH)


def _profile(t: Array, at: list[float], values: list[float]) -> Array:
    return np.interp(t, at, values, left=0, right=0).astype(np.float32)


def _contamination(defect: Defect, t: Array, v: Array) -> Damage:
    """A crumb on the screw (bright) or beside it (dark)."""
    at_t, at_v = defect.rng.uniform(0.05, 0.95), defect.rng.uniform(-0.12, 0.12)
    on_steel = abs(at_v) < np.interp(at_t, *OUTLINE)
    shape = blob_distance(t - at_t, v - at_v, defect.between((0.024, 0.042), (0.012, 0.018)), defect.rng)
    return Damage(
        dirt=coverage(shape) * defect.between((0.85, 1.0), (0.4, 0.6)),
        dirt_grey=defect.rng.uniform(190, 230) if on_steel else defect.rng.uniform(50, 90),
    )


def _flat_thread(defect: Defect, t: Array, v: Array) -> Damage:
    """The thread is ground down over a stretch of one side, and the steel laid bare there."""
    at, side = defect.rng.uniform(0.58, 0.84), defect.side()
    stretch = defect.between((0.055, 0.09), (0.03, 0.04))
    across = np.clip((v * side + 0.03) / 0.03, 0, 1)
    flattened = np.clip((stretch - np.abs(t - at)) / 0.012, 0, 1) * across
    rough = smooth_noise(defect.rng, len(t), (70, 70)) > -0.3
    return Damage(flattened=flattened, bare=flattened * rough * defect.between((50, 80), (10, 20)))


def _manipulated_front(defect: Defect, t: Array, v: Array) -> Damage:
    """The tip is broken off with a ragged end, or bent aside."""
    if defect.rng.random() < 0.5:
        return Damage(bend=defect.side() * defect.between((0.06, 0.09), (0.025, 0.035)))
    ragged = 0.005 * smooth_noise(defect.rng, len(t), (80, 80))
    end = defect.between((0.86, 0.92), (0.95, 0.965)) + ragged
    return Damage(end=end, bare=45 * coverage(end - 0.012 - t))


def _notch_neck(defect: Defect, t: Array, v: Array) -> Damage:
    """A piece is missing from the side of the smooth neck."""
    at, side = defect.rng.uniform(0.2, 0.42), defect.side()
    shape = blob_distance(t - at, v - side * SHANK, defect.between((0.028, 0.042), (0.014, 0.019)), defect.rng)
    return Damage(removed=coverage(shape), bare=40 * coverage(np.abs(shape) - 0.006))


def _scratch_head(defect: Defect, t: Array, v: Array) -> Damage:
    """Scrapes across the cone under the head."""
    bare = np.zeros_like(t)
    width = defect.between((0.005, 0.008), (0.003, 0.004))
    for _ in range(1 if defect.hard else 3):
        centre = defect.rng.uniform((0.045, -0.05), (0.085, 0.05))  # in (t, v)
        line = wandering_line(defect.rng, defect.between((0.06, 0.1), (0.05, 0.07)), curl=0.5) + centre
        np.maximum(bare, np.clip(1.5 - line_distance(t, v, line) / width, 0, 1), out=bare)
    return Damage(bare=bare * defect.between((80, 110), (35, 50)))


DAMAGES: dict[str, Callable[[Defect, Array, Array], Damage]] = {
    "contamination": _contamination,
    "flat_thread": _flat_thread,
    "manipulated_front": _manipulated_front,
    "notch_neck": _notch_neck,
    "scratch_head": _scratch_head,
}
