"""The six changes of a photo, each in three strengths, as a camera or a line would make them.

All act on the photo as it is read, in its own resolution and in 8 bits, before it is resized for a method: light,
focus, sensor and JPEG act there too. So the changed photos are the same for every run, whatever its image size. A
method that shrinks photos sees a weaker change: noise of neighbouring pixels averages out, as it does in production.

Lengths (blur, shift) are shares of the photo's longer side, so that cameras of any resolution compare.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]  # (H, W) or (H, W, 3)

PIXELS_OF = 256  # a shift of one pixel is one of a photo of this side
_DIRECTIONS = tuple((x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if x or y)


@dataclass(frozen=True)
class Change:
    """One change in one strength; light and contrast go both ways, as two changes of the same strength."""

    kind: str
    strength: int  # 1 to 3, the weakest first
    amount: float  # in the unit of its kind
    label: str  # such as `light -5 %`

    def apply(self, pixels: Pixels, key: tuple[int, ...]) -> Pixels:
        """The changed photo; `key` (the seed and what tells the photo from others) decides what is drawn."""
        return KINDS[self.kind].apply(pixels, self.amount, np.random.default_rng(key))

    @property
    def moves(self) -> bool:
        """Whether defects end up elsewhere, so that masks have to move with the pixels."""
        return self.kind == "shift"


def light(pixels: Pixels, percent: float, rng: np.random.Generator) -> Pixels:
    """Multiply all grey values: a lamp that ages, dust on it, sun through a window, a longer exposure.

    Strengths are +-5, +-10 and +-20 % of the values as the file holds them; an LED's rated life ends where 30 % of its
    light is gone (L70). Values beyond white are clipped, as the sensor clips them.
    """
    return _as_bytes(pixels.astype(np.float32) * (1 + percent / 100))


def contrast(pixels: Pixels, percent: float, rng: np.random.Generator) -> Pixels:
    """Stretch or shrink all values around the photo's own mean: haze on a lens, stray light, another gain.

    Strengths are +-5, +-10 and +-20 %, those of light; the mean grey value stays, so that the two are told apart.
    """
    mean = np.float32(pixels.mean(dtype=np.float64))
    return _as_bytes((pixels.astype(np.float32) - mean) * (1 + percent / 100) + mean)


def blur(pixels: Pixels, percent: float, rng: np.random.Generator) -> Pixels:
    """Convolve with a Gaussian: a lens that lost its focus, or a part at another height.

    The standard deviation is .1, .2 and .4 % of the photo's longer side: 1, 2 and 4 pixels of 1024. The first is hard
    to see, the last is seen at once.
    """
    sigma = percent / 100 * max(pixels.shape[:2])
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101), np.uint8)


def noise(pixels: Pixels, sigma: float, rng: np.random.Generator) -> Pixels:
    """Add independent Gaussian noise to each value: a sensor at a higher gain, or warmer.

    The standard deviation is 2, 5 and 10 grey values of 255: a good sensor's, one at high gain, one that nobody keeps.
    """
    drawn = rng.standard_normal(pixels.shape, dtype=np.float32)
    return _as_bytes(pixels.astype(np.float32) + np.float32(sigma) * drawn)


def jpeg(pixels: Pixels, quality: float, rng: np.random.Generator) -> Pixels:
    """Save as JPEG and read again: somebody saved space between camera and computer.

    Qualities are 90, 70 and 50 of libjpeg's scale: a camera's, a web page's, one that shows its blocks.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=round(quality))
    return np.asarray(Image.open(file), np.uint8)


def shift(pixels: Pixels, distance: float, rng: np.random.Generator) -> Pixels:
    """Move all pixels in one of the eight directions, drawn for each photo: a part that lies a little off.

    One, four and eight pixels of a photo of 256: about .4, 1.6 and 3.1 % of its longer side, in whole pixels of the
    photo, so that no value is interpolated; a diagonal moves by as much along both sides. What moves in at the border
    is the photo reflected there: it continues a texture and a background without an edge. A defect that moves out on
    one side cannot come back with it on the other.
    """
    x, y = _DIRECTIONS[int(rng.integers(len(_DIRECTIONS)))]
    step = max(1, round(distance / PIXELS_OF * max(pixels.shape[:2])))
    for axis, sign in ((0, y), (1, x)):
        pixels = np.take(pixels, _sources(pixels.shape[axis], sign * step), axis=axis)
    return pixels


def _sources(side: int, step: int) -> NDArray[np.int64]:
    """For each row (column) after a move by `step`, the one that it shows; those outside are reflected."""
    period = 2 * max(1, side - 1)
    place = np.abs(np.arange(side) - step) % period
    return np.asarray(np.minimum(place, period - place).clip(0, side - 1), np.int64)


def _as_bytes(values: NDArray[np.float32]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Kind:
    """A kind of change: its name on an axis, the amounts of its strengths, and how they are written."""

    axis: str
    amounts: tuple[float, float, float]
    label: str  # how an amount is written after the kind's name
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    both_ways: bool = False


KINDS: dict[str, Kind] = {
    "light": Kind("light in %", (5, 10, 20), "{:+g} %", light, both_ways=True),
    "contrast": Kind("contrast in %", (5, 10, 20), "{:+g} %", contrast, both_ways=True),
    "blur": Kind("blur: standard deviation in % of the side", (0.1, 0.2, 0.4), "{:g} % of side", blur),
    "noise": Kind("noise: standard deviation in grey values", (2, 5, 10), "{:g} grey values", noise),
    "JPEG": Kind("JPEG quality", (90, 70, 50), "quality {:g}", jpeg),
    "shift": Kind(f"shift in pixels of {PIXELS_OF}", (1, 4, 8), f"{{:g}} px of {PIXELS_OF}", shift),
}


def all_changes() -> list[Change]:
    """Every change in every strength; of those that go both ways, the negative amounts first, in ascending order."""
    found = []
    for name, kind in KINDS.items():
        steps = [(number, float(amount)) for number, amount in enumerate(kind.amounts, 1)]
        if kind.both_ways:
            steps = [(number, -amount) for number, amount in reversed(steps)] + steps
        found += [Change(name, number, value, f"{name} {kind.label.format(value)}") for number, value in steps]
    return found


def as_dict(change: Change) -> dict[str, Any]:
    """A change as JSON."""
    return {"change": change.kind, "strength": change.strength, "amount": change.amount, "label": change.label}
