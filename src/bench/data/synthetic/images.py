"""The procedural dataset behind `--data synthetic`: drawn on first use, in MVTec AD's layout, with exact masks.

Every image is seeded by its own name, so that any number of threads draws the same bytes and no two images share a
scene. Pose, light and noise come from one generator, the defect from another: drawing the same scene without its defect
gives a twin, and the mask is where the two differ visibly.
"""

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from bench.data.synthetic import carpet as synthetic_carpet
from bench.data.synthetic import screw as synthetic_screw
from bench.data.synthetic.drawing import Array, Defect
from bench.phases import phase
from bench.processes import available_cores
from bench.writing import sync_files

VERSION = 1  # part of every seed: increased when pictures change

_DRAW: dict[str, Callable[[int, np.random.Generator, Defect | None], Array]] = {
    "screw": synthetic_screw.draw,
    "carpet": synthetic_carpet.draw,
}
CATEGORIES: tuple[str, ...] = tuple(_DRAW)
DEFECTS: dict[str, tuple[str, ...]] = {
    "screw": tuple(synthetic_screw.DAMAGES),
    "carpet": tuple(synthetic_carpet.DAMAGES),
}

TRAIN_GOOD = 80
TEST_GOOD = 19  # with five defect types an odd number of test images, which two or three ranks cannot share evenly
PER_DEFECT = 8
HARD = (1, 4, 6)  # the numbers of the small and faint defects of every type

PERCEPTIBLE = 6.0  # grey levels before noise: a change from here on belongs to the mask


class Shot(NamedTuple):
    """One image of the dataset, by name; the name decides every pixel."""

    category: str
    split: str
    kind: str
    number: int

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each image and purpose."""
        return np.random.default_rng(list(f"{VERSION}/{'/'.join(map(str, self))}/{purpose}".encode()))


def generate(category: str, folder: Path, *, size: int = 256) -> None:
    """Write one category into `folder`, which appears complete or not at all; an existing one is kept."""
    if category not in CATEGORIES:
        raise ValueError(f"unknown synthetic category {category!r}; there are {', '.join(CATEGORIES)}")
    if _holds_files(folder):
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        complete = Path(temporary) / folder.name
        each = list(shots(category))
        workers = min(8, available_cores())
        with phase(f"drawing a synthetic {category}", len(each)) as counted, ThreadPoolExecutor(workers) as threads:
            for _ in threads.map(lambda shot: _write(shot, complete, size), each):  # exceptions surface here
                counted.advance()
        sync_files(complete)
        try:
            complete.rename(folder)
        except OSError:  # another process was faster: a folder that is not empty cannot be replaced
            if not _holds_files(folder):
                raise


def shots(category: str) -> Iterator[Shot]:
    """Every image of a category."""
    yield from (Shot(category, "train", "good", number) for number in range(TRAIN_GOOD))
    yield from (Shot(category, "test", "good", number) for number in range(TEST_GOOD))
    for kind in DEFECTS[category]:
        yield from (Shot(category, "test", kind, number) for number in range(PER_DEFECT))


def draw(shot: Shot, size: int) -> Array:
    """The picture of a shot, in grey levels not yet rounded."""
    defect = None if shot.kind == "good" else Defect(shot.kind, shot.number in HARD, shot.rng("defect"))
    return _DRAW[shot.category](size, shot.rng("scene"), defect)


def draw_twin(shot: Shot, size: int) -> Array:
    """The same scene without its defect."""
    return _DRAW[shot.category](size, shot.rng("scene"), None)


def changed(picture: Array, twin: Array) -> NDArray[np.bool_]:
    """The defect's mask: pixels that it changes perceptibly in any channel, and the small gaps between them."""
    difference = np.abs(picture - twin).reshape(*picture.shape[:2], -1).max(axis=2)
    # The second threshold keeps the mask from being empty should a tiny image blur its defect below the first.
    visible = difference >= min(PERCEPTIBLE, difference.max() / 2)
    closed = ndimage.binary_closing(visible, iterations=max(1, len(visible) // 128))
    mask: NDArray[np.bool_] = visible | closed  # closing alone erodes what touches the image's edge
    return mask


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _write(shot: Shot, folder: Path, size: int) -> None:
    picture = draw(shot, size)
    _save(picture, folder / shot.split / shot.kind / f"{shot.number:03}.png")
    if shot.kind != "good":
        mask = changed(picture, draw_twin(shot, size))
        _save(mask * 255.0, folder / "ground_truth" / shot.kind / f"{shot.number:03}_mask.png")


def _save(picture: Array, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Noise hardly shrinks: the default level takes three times as long for a tenth fewer bytes.
    Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8)).save(path, compress_level=3)
