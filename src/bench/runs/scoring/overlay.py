"""A heat map over its image, with a colour bar and a caption: one picture that explains itself."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.views.axes import Axis, Scale, make_scale
from bench.views.heatmap import colour_bar, overlay

SMALLEST, LARGEST = 480, 1024  # pixels of the longer side of the image in the picture
_TITLE = "map value (raw)"
_BAR = 18  # width of the colour bar
_GAP = 12
_FONT = 15
_LINE = 22
_SHORTEST = 240  # so that the bar's ticks have room beside a flat image


def draw_overlay(image: Image.Image, values: NDArray[np.float32], low: float, high: float, caption: str) -> Image.Image:
    """An RGB image with its map (H, W), of any size, laid over it, and the scale beside it."""
    factor = min(max(max(image.size), SMALLEST), LARGEST) / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    heat = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    tall = max(height, _SHORTEST)
    scale = make_scale(Axis("", (low, high)), (), _LINE + tall - 1.0, float(_LINE))
    font = ImageFont.load_default(_FONT)
    labels = max(int(font.getlength(text)) for text in scale.texts())
    title = max(width, 4 + int(font.getlength(caption))) + _GAP  # above the bar, or right of a caption that is wider
    wide = max(width + _GAP + _BAR + 8 + labels, title + int(font.getlength(_TITLE))) + 4
    canvas = Image.new("RGB", (wide, _LINE + tall + 6), "white")
    canvas.paste(Image.fromarray(overlay(resized, heat, low, high)), (0, _LINE))
    draw = ImageDraw.Draw(canvas)
    draw.text((4, 2), caption, fill="black", font=font)
    draw.text((title, 2), _TITLE, fill="black", font=font)
    _draw_bar(canvas, draw, scale, width + _GAP, tall, font)
    return canvas


def _draw_bar(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    scale: Scale,
    left: int,
    tall: int,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Draw the colours from low, at the bottom, to high, with ticks; values beyond take the colour of that end."""
    canvas.paste(Image.fromarray(colour_bar(_BAR, tall)), (left, _LINE))
    for tick, text in zip(scale.ticks, scale.texts(), strict=True):
        position = round(scale.position(tick))
        draw.line([(left + _BAR, position), (left + _BAR + 4, position)], fill="black")
        middle = min(max(position, _LINE + _FONT // 2), _LINE + tall - _FONT // 2)
        draw.text((left + _BAR + 8, middle), text, fill="black", font=font, anchor="lm")
