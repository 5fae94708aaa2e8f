"""The parts of a chart as SVG: elements, frame and legend. Numbers are rounded: the same data give the same bytes."""

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from bench.escaping import visible
from bench.views.axes import Axis, Scale, make_scale

WIDTH = 480.0
LEFT, RIGHT, TOP = 64.0, 14.0, 14.0
LONGEST = 26  # letters of a label
COLOURS = 8  # of series in style.css
_DASHES = ("", "7 4", "2 3", "10 3 2 3")
_LETTER = 8.0  # mean width of a letter of a wide font at 14 units
_LINE = 20.0


def number(value: float) -> str:
    """A coordinate as text, rounded to a hundredth."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, content: str = "", **attributes: str | float | None) -> Markup:
    """One SVG element; `class_` is its class, underscores in names become hyphens, None omits an attribute."""
    parts = []
    for key, value in attributes.items():
        if value is not None:
            text = value if isinstance(value, str) else number(value)
            parts.append(f' {key.rstrip("_").replace("_", "-")}="{escape(visible(text))}"')
    body = content if isinstance(content, Markup) else escape(visible(content))
    return Markup(f"<{name}{''.join(parts)}>{body}</{name}>" if body else f"<{name}{''.join(parts)}/>")


def join(parts: Iterable[Markup]) -> Markup:
    """Join elements, one per line."""
    return Markup("\n").join(parts)


def chart(name: str, title: str, description: str, height: float, parts: Iterable[Markup]) -> Markup:
    """The whole picture; a screen reader reads title and description. `name` is unique on the page."""
    inside = [
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-description"),
        *parts,
    ]
    return element(
        "svg",
        Markup("\n") + join(inside) + Markup("\n"),
        class_="chart",
        viewBox=f"0 0 {number(WIDTH)} {number(height)}",
        role="img",
        aria_labelledby=f"{name}-title {name}-description",
    )


class Frame:
    """Both axes of a chart, with grid, ticks and labels; elements inside are clipped at its edges."""

    def __init__(
        self, name: str, x: Axis, y: Axis, xs: Iterable[float], ys: Iterable[float], height: float = 280.0
    ) -> None:
        self.name = name
        self.bottom = TOP + height
        self.x: Scale = make_scale(x, xs, LEFT, WIDTH - RIGHT)
        self.y: Scale = make_scale(y, ys, self.bottom, TOP)
        self.below = self.bottom + 46  # where the axis ends and the legend begins

    def draw(self) -> Markup:
        """Grid, ticks and labels."""
        parts, right = [], WIDTH - RIGHT
        for tick, text in zip(self.x.ticks, self.x.texts(), strict=True):
            position = self.x.position(tick)
            parts.append(element("path", d=f"M{number(position)} {number(TOP)}V{number(self.bottom)}", class_="grid"))
            parts.append(element("text", text, x=position, y=self.bottom + 18, text_anchor="middle", class_="faint"))
        for tick, text in zip(self.y.ticks, self.y.texts(), strict=True):
            position = self.y.position(tick)
            parts.append(element("path", d=f"M{number(LEFT)} {number(position)}H{number(right)}", class_="grid"))
            parts.append(element("text", text, x=LEFT - 6, y=position + 5, text_anchor="end", class_="faint"))
        corner = f"M{number(LEFT)} {number(TOP)}V{number(self.bottom)}H{number(right)}"
        middle = (TOP + self.bottom) / 2
        parts += [
            element("path", d=corner, class_="axis"),
            element("text", self.x.axis.label, x=(LEFT + right) / 2, y=self.bottom + 39, text_anchor="middle"),
            element(
                "text",
                self.y.axis.label,
                transform=f"translate(15 {number(middle)}) rotate(-90)",
                text_anchor="middle",
            ),
        ]
        return join(parts)

    def inside(self, parts: Iterable[Markup]) -> Markup:
        """Elements clipped at the edges of the frame."""
        # A little wider, so that a line along the edge keeps its width.
        box = element("rect", x=LEFT - 2, y=TOP - 2, width=WIDTH - RIGHT - LEFT + 4, height=self.bottom - TOP + 4)
        clip = element("clipPath", box, id=f"{self.name}-frame")
        return join([clip, element("g", join(parts), clip_path=f"url(#{self.name}-frame)")])

    def at(self, x: float, y: float) -> str:
        """`12.5 100`: the position of a point."""
        return f"{number(self.x.position(x))} {number(self.y.position(y))}"


def colour(index: int) -> str:
    """The CSS class of the series of this index."""
    return f"series-{index % COLOURS + 1}"


def dash(index: int) -> str | None:
    """The dashes of the series of this index: lines differ without colour as well."""
    return _DASHES[index % len(_DASHES)] or None


def marker(index: int, x: float, y: float, title: str = "", size: float = 5.0) -> Markup:
    """A point of the series of this index, in a shape of its own; `title` is shown under the pointer."""
    about = element("title", title) if title else ""
    kind = f"point {colour(index)}"
    shapes = (
        None,
        ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        ((0, -1.3), (1.2, 0.9), (-1.2, 0.9)),
        ((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
    )
    corners = shapes[index % len(shapes)]
    if corners is None:
        return element("circle", about, cx=x, cy=y, r=size, class_=kind)
    points = " ".join(f"{number(x + size * dx)},{number(y + size * dy)}" for dx, dy in corners)
    return element("polygon", about, points=points, class_=kind)


def text_width(text: str) -> float:
    """The approximate width of a text, in units of the drawing."""
    return len(text) * _LETTER


def shorten(text: str, longest: int = LONGEST) -> str:
    """Cut out the middle of a long text: names often differ at their ends."""
    if len(text) <= longest:
        return text
    end = (longest - 1) // 2
    return f"{text[: longest - 1 - end]}…{text[-end:]}"


def legend(samples: Sequence[tuple[str, Markup]], top: float) -> tuple[Markup, float]:
    """Samples (drawn around 0, 0, from -10 to 10) with their labels, in lines; and the y at which the legend ends."""
    parts, x, y = [], LEFT, top + 12
    for label, sample in samples:
        width = 30 + text_width(label) + 14
        if x > LEFT and x + width > WIDTH:
            x, y = LEFT, y + _LINE
        text = element("text", label, x=18, y=5)
        parts.append(element("g", sample + text, transform=f"translate({number(x + 10)} {number(y)})"))
        x += width
    return join(parts), (y + 14 if samples else top)
