"""Draw the mask of a photo, at the size of the photo as it is seen."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.images import Header, read_header, read_image
from bench.data.importing.drawings import Drawing, Points
from bench.data.importing.photos import Photo
from bench.data.masks import marks_surroundings, read_mask
from bench.errors import UsageError
from bench.phases import phase
from bench.processes import available_cores
from bench.writing import encode


def draw_masks(
    photos: Sequence[Photo],
    drawings: Mapping[Path, Drawing],
    headers: Mapping[Path, Header],
    targets: Mapping[Path, Path],
    threshold: int | None,
) -> None:
    """Write the mask of each photo that has a drawing to its target, white on black.

    A good photo may have a mask that marks nothing; one that marks something is a UsageError.
    """
    drawn = [photo for photo in photos if photo.path in drawings]
    if not drawn:
        return
    inverted: dict[str, list[bool]] = defaultdict(list)

    def draw(photo: Photo) -> bool | None:
        drawing, header = drawings[photo.path], headers[photo.path]
        if photo.is_good:
            _require_empty(photo, drawing)
            return None
        mask = mask_of(drawing, header, photo, threshold)
        targets[photo.path].parent.mkdir(parents=True, exist_ok=True)
        targets[photo.path].write_bytes(encode(Image.fromarray(mask.astype(np.uint8) * 255), "PNG"))
        return marks_surroundings(mask)

    with phase("drawing masks", len(drawn), "masks") as counted, ThreadPoolExecutor(available_cores()) as pool:
        for photo, marks in zip(drawn, pool.map(draw, drawn), strict=True):
            counted.advance()
            if marks is not None:
                inverted[photo.label].append(marks)
    for label, marks_each in inverted.items():
        if all(marks_each):
            raise UsageError(
                f"all masks of '{label}' mark most of their photo and its borders, as if defects were black on white: "
                "turn their colours round"
            )


def mask_of(drawing: Drawing, header: Header, photo: Photo, threshold: int | None = None) -> NDArray[np.bool_]:
    """The mask (height, width) of a photo as it is seen."""
    size = drawing.size if drawing.polygons is not None else read_header(drawing.file).size
    if size is not None and size != header.size:
        own, other = ("{} x {}".format(*each) for each in (header.size, size))
        raise UsageError(
            f"{drawing.file} was drawn on {other} pixels, and {photo.path} is seen with {own}; draw it on that photo"
        )
    if drawing.polygons is None:
        return read_mask(drawing.file, threshold)
    width, height = header.size
    mask = np.zeros((height, width), np.bool_)
    for polygon in drawing.polygons:
        fill(mask, polygon)
    if not mask.any():
        raise UsageError(f"{drawing.file} marks no pixel of {photo.path}; draw its defects again")
    return mask


def fill(mask: NDArray[np.bool_], polygon: Points) -> None:
    """Mark the pixels of a mask (height, width) whose centres lie in a polygon (corners, 2) of x and y.

    Pixel 0 reaches from 0 to 1. Pillow and OpenCV draw the outline as well: of 3 x 3 pixels they make 4 x 4.
    """
    height, width = mask.shape
    top, bottom = (_first_centre(y, height) for y in (polygon[:, 1].min(), polygon[:, 1].max()))
    crossed = np.zeros((bottom - top, width + 1), np.bool_)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        rows = np.arange(*(_first_centre(y, height) for y in sorted((y0, y1))))  # whose centres the edge crosses
        if rows.size:
            x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
            crossed[rows - top, np.clip(np.ceil(x - 0.5), 0, width).astype(np.int64)] ^= True
    mask[top:bottom] |= np.logical_xor.accumulate(crossed, axis=1)[:, :width]


def _first_centre(y: float, height: int) -> int:
    """The first row whose centre lies at `y` or below it in the image."""
    return int(np.clip(np.ceil(y - 0.5), 0, height))


def _require_empty(photo: Photo, drawing: Drawing) -> None:
    empty = drawing.polygons is None and not np.asarray(read_image(drawing.file).convert("L")).any()
    if not empty:
        raise UsageError(
            f"{drawing.file} marks a defect of {photo.path}, which is labelled good; move the photo to the bad ones, "
            "or remove the drawing"
        )
