"""Whether `bench data describe` names planted shortcuts and nothing else: twenty synthetic sets, ten with a shortcut.

Each set holds 12 training images, 40 good and 40 defective test images, freshly drawn. In ten of them brightness,
border or file size gives the label away; another light and another border differ from image to image, so that labels
overlap a little. All ten must be named by what was planted, and nothing may be named in the other ten.

    python benchmarks/planted_shortcuts.py 5000           # sets of the seeds 5000 to 5019, half a minute
"""

import io
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.describe.description import Giveaway
from bench.data.describe.measure import describe_category
from bench.data.layout import read_category
from bench.data.synthetic.images import DEFECTS, Shot, draw

SETS = 20
TRAIN, TEST = 12, 40  # images in training, and of each label in the test
SIDE = 96
Picture = NDArray[np.float64]
# In the order of sets: odd ones have nothing.
PLANTED = ("mean grey value", "", "border", "", "file size", "")


class Shortcut(NamedTuple):
    """How an image gives its label away: a change of its pixels, or how its file is compressed."""

    change: Callable[[Picture, np.random.Generator], Picture] = lambda picture, _: picture
    compression: int = 6


def lighten(picture: Picture, rng: np.random.Generator) -> Picture:
    """Another light: 10 grey levels more on average."""
    return picture + rng.normal(10, 2)


def brighten_border(picture: Picture, rng: np.random.Generator) -> Picture:
    """A brighter frame around the image, as another camera or cutting leaves it."""
    changed, width = picture.copy(), SIDE // 20
    frame = np.ones(picture.shape[:2], np.bool_)
    frame[width:-width, width:-width] = False
    changed[frame] += rng.normal(20, 4)
    return changed


SHORTCUTS = {
    "mean grey value": Shortcut(lighten),
    "border": Shortcut(brighten_border),
    "file size": Shortcut(compression=1),
    "": Shortcut(),
}


class Found(NamedTuple):
    """What was planted in a set, and what `bench data describe` tells of it."""

    seed: int
    category: str
    planted: str
    giveaways: Sequence[Giveaway]

    @property
    def named(self) -> list[str]:
        """What is named."""
        return [each.name for each in self.giveaways if each.is_named]

    @property
    def is_right(self) -> bool:
        """Whether what was planted is named, or nothing was planted and nothing is named."""
        return self.planted in self.named if self.planted else not self.named


def write_set(root: Path, seed: int, planted: str) -> str:
    """Write one set; its category. The seed decides every pixel."""
    category = ("screw", "carpet")[seed // 2 % 2]
    kinds = DEFECTS[category]
    jobs = [("train", "good", number) for number in range(TRAIN)]
    jobs += [("test", "good", number) for number in range(TEST)]
    jobs += [("test", kinds[number % len(kinds)], number) for number in range(TEST)]

    def write(job: tuple[str, str, int]) -> None:
        split, kind, number = job
        picture = draw(Shot(category, split, kind, 1000 * seed + number), SIDE).astype(np.float64)
        shortcut = SHORTCUTS[planted if kind != "good" else ""]
        rng = np.random.default_rng([seed, number, len(kind)])
        pixels = np.clip(shortcut.change(picture, rng), 0, 255).astype(np.uint8)
        stored = io.BytesIO()
        Image.fromarray(pixels).save(stored, "png", compress_level=shortcut.compression)
        path = root / category / split / kind / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stored.getvalue())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, jobs))
    return category


def look(seed: int, planted: str) -> Found:
    """Draw a set and describe it."""
    with tempfile.TemporaryDirectory() as folder:
        category = write_set(Path(folder), seed, planted)
        description = describe_category(read_category(Path(folder), category), "folder")
    return Found(seed, category, planted, description.giveaways)


def study(first: int, sets: int = SETS) -> list[Found]:
    """`sets` sets of the seeds from `first` on, every other one with a shortcut."""
    return [look(first + index, PLANTED[index % len(PLANTED)]) for index in range(sets)]


def main(first: int) -> int:
    """Print a line for each set and the count of right ones; 1 where any is wrong."""
    found = study(first)
    for each in found:
        told = ", ".join(f"{g.name} {g.auroc:.3f} (p {g.p_value:.1g})" for g in each.giveaways)
        verdict = "right" if each.is_right else "WRONG"
        print(
            f"{each.seed} {each.category}: {each.planted or 'nothing'} planted, {each.named} named: {verdict}; {told}"
        )
    planted, clean = [each for each in found if each.planted], [each for each in found if not each.planted]
    print(
        f"{sum(each.is_right for each in planted)} of {len(planted)} planted shortcuts named, "
        f"{sum(not each.is_right for each in clean)} of {len(clean)} clean sets with a false one"
    )
    return 0 if all(each.is_right for each in found) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
