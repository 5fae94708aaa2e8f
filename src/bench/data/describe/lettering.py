"""Fonts for pictures: a name in any script is drawn by a font that has its letters, or not at all."""

from functools import cache
from pathlib import Path

import matplotlib
from matplotlib.font_manager import findSystemFonts
from matplotlib.ft2font import FT2Font
from PIL import ImageDraw, ImageFont

_OWN = Path(matplotlib.get_data_path(), "fonts", "ttf")


def font_for(text: str, size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont | None:
    """The first font with every letter of `text`: DejaVu Sans, then those of the system; None if no font has all."""
    path = _font_file(frozenset(text), bold)
    return None if path is None else ImageFont.truetype(path, size)


@cache
def _font_file(letters: frozenset[str], bold: bool) -> str | None:
    own = str(_OWN / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"))
    codes = {ord(letter) for letter in letters}
    if codes <= _codes(own):
        return own
    return next((path for path in _system_fonts() if codes <= _codes(path)), None)


@cache
def _system_fonts() -> tuple[str, ...]:
    return tuple(sorted(findSystemFonts()))


@cache
def _codes(path: str) -> frozenset[int]:
    """The characters that a font file can draw; empty if the file cannot be read."""
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()


def write(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, width: int, *, bold: bool = False
) -> None:
    """Write in black at `place`, shortened in the middle to `width` pixels; letters without a font become `?`."""
    font = font_for(text, size, bold=bold)
    if font is None:
        text = "".join(letter if font_for(letter, size) else "?" for letter in text)
        font = font_for(text, size, bold=bold)
    if font is None:  # each letter has a font, but no font has all
        text = "".join(letter if letter.isascii() else "?" for letter in text)
        font = ImageFont.truetype(_OWN / "DejaVuSans.ttf", size)
    shown, kept = text, len(text)
    while font.getlength(shown) > width and kept > 2:
        kept -= 1
        shown = f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"
    draw.text(place, shown, fill="black", font=font)
