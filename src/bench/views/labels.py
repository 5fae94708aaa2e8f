"""Words beside the points of a scatter, where there is room for them."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from bench.views.drawing import LEFT, RIGHT, WIDTH, Frame, element, join, shorten, text_width

_HALF = 8.0  # half of the height of a line


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "_Box") -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def place_labels(
    wanted: Sequence[tuple[float, float, str]],
    points: Sequence[tuple[float, float]],
    lines: Sequence[tuple[float, float, float]],
    frame: Frame,
) -> Markup:
    """Place the text of each (x, y, text) beside its point, in this order; left out where every side is taken.

    Texts do not cover points (x, y) and horizontal lines (from x, to x, y).
    """
    taken = [_Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    taken += [_Box(low + 6, y - 1, high, y + 1) for low, high, y in lines]
    edge = _Box(LEFT, 0, WIDTH - RIGHT + 10, frame.bottom)
    parts = []
    for x, y, text in wanted:
        short = shorten(text)
        width = text_width(short)
        choices = (
            ("start", x + 9, y, x + 9),
            ("end", x - 9, y, x - 9 - width),
            ("middle", x, y - 15, x - width / 2),
            ("middle", x, y + 16, x - width / 2),
            ("start", x + 6, y - 14, x + 6),
            ("start", x + 6, y + 15, x + 6),
            ("end", x - 6, y - 14, x - 6 - width),
            ("end", x - 6, y + 15, x - 6 - width),
        )
        for anchor, at, middle, left in choices:
            box = _Box(left, middle - _HALF, left + width, middle + _HALF)
            within = box.left >= edge.left and box.right <= edge.right
            within = within and box.top >= edge.top and box.bottom <= edge.bottom
            if within and not any(box.meets(other) for other in taken):
                taken.append(box)
                parts.append(element("text", short, x=at, y=middle + 5, text_anchor=anchor, class_="halo"))
                break
    return join(parts)
