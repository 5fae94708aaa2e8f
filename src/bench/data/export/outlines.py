"""Outlines of masks along the edges of pixels: corners at whole numbers, the area inside is the number of pixels."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Outline = NDArray[np.int64]  # (corners, 2): x and y; the first corner is not repeated at the end

# East, south, west, north; the defect lies to the right, so that outer outlines turn right and those of holes left.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def trace(mask: NDArray[np.bool_], connectivity: Literal[4, 8]) -> list[Outline]:
    """The outlines of a mask (H, W) and of its holes, in the order of their uppermost rows.

    Where two pixels touch only at a corner, 8 leads the outline through it from one to the other, 4 does not.
    """
    edges = _edges(mask)
    walked = [bytearray(len(edge)) for edge in edges]
    # At a corner with two ways on, the right turn stays with its pixel, the left turn goes to the next pixel.
    turns = (3, 0, 1) if connectivity == 8 else (1, 0, 3)
    width = mask.shape[1] + 1
    strides = [dx + dy * width for dx, dy in _STEPS]
    outlines = []
    for start in np.flatnonzero(np.frombuffer(edges[0], np.bool_)).tolist():  # every outline runs east somewhere
        corner, heading, corners = start, 0, []
        while not walked[heading][corner]:
            walked[heading][corner] = True
            corner += strides[heading]
            turn = next(turn for turn in turns if edges[(heading + turn) % 4][corner])
            if turn:
                corners.append(corner)
            heading = (heading + turn) % 4
        if corners:
            outlines.append(np.stack((np.array(corners) % width, np.array(corners) // width), axis=1))
    return outlines


def area(outline: Outline) -> int:
    """Pixels inside, negative for the outline of a hole."""
    x, y = outline.T
    return int((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) // 2


def join(outlines: list[Outline]) -> Outline:
    """One outline of the same area: each hole is joined to the rest by a cut without width, there and back."""
    by_size = sorted(outlines, key=area, reverse=True)
    joined = by_size[0]
    for hole in by_size[1:]:
        distances = np.abs(joined[:, None] - hole[None]).sum(axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        around = np.roll(hole, -int(there), axis=0)
        joined = np.concatenate((joined[: here + 1], around, around[:1], joined[here:]))
    return joined


def _edges(mask: NDArray[np.bool_]) -> list[bytes]:
    """For each heading and corner (flat, (H + 1) x (W + 1)): whether an edge with the defect on its right begins."""
    padded = np.pad(mask, 1)
    above_left, above_right = padded[:-1, :-1], padded[:-1, 1:]
    below_left, below_right = padded[1:, :-1], padded[1:, 1:]
    edges = (
        below_right & ~above_right,
        below_left & ~below_right,
        above_left & ~below_left,
        above_right & ~above_left,
    )
    return [edge.tobytes() for edge in edges]  # a single item of bytes is read faster than one of an array
