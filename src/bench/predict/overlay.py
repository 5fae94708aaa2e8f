"""A heat map over its image, with a colour bar: one picture that says all it takes to read it."""

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from bench.pages.axes import Axis, Scale, make_scale

SMALLEST, LARGEST = 480, 1024  # pixels of the longer side of the image in the picture
_BAR = 18  # width of the colour bar
_GAP = 12
_FONT = 15
_LINE = 22
_SHORTEST = 240  # so that the bar's ticks have room beside a flat image

Picture = NDArray[np.uint8]


def heat_colours(values: NDArray[np.float32], low: float, high: float) -> Picture:
    """Colours (..., 3) of values (H, W) in inferno, viridis' sister that begins in black, at `low`."""
    share = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(cv2.applyColorMap((share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1])


def lay_over(image: Picture, values: NDArray[np.float32], low: float, high: float) -> Picture:
    """Values (H, W) as colours over an image (H, W, 3), of which only the brightness is left: all colour is heat."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[:, :, None]
    return np.asarray(np.clip(0.35 * grey + 0.65 * heat_colours(values, low, high), 0, 255), dtype=np.uint8)


def draw_overlay(image: Image.Image, values: NDArray[np.float32], low: float, high: float, caption: str) -> Image.Image:
    """An RGB image with its map (H, W), of any size, laid over it, and the scale beside it."""
    factor = min(max(max(image.size), SMALLEST), LARGEST) / max(image.size)
    width, height = (max(1, round(side * factor)) for side in image.size)
    resized = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    heat = np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)
    tall = max(height, _SHORTEST)
    scale = make_scale(Axis("", (low, high)), (), _LINE + tall - 1.0, float(_LINE))
    font = ImageFont.load_default(_FONT)
    labels = max(int(font.getlength(text)) for text in (*scale.texts(), "map value"))
    wide = max(width + _GAP + _BAR + 8 + labels + 4, int(font.getlength(caption)) + 8)
    canvas = Image.new("RGB", (wide, _LINE + tall + 6), "white")
    canvas.paste(Image.fromarray(lay_over(resized, heat, low, high)), (0, _LINE))
    draw = ImageDraw.Draw(canvas)
    draw.text((4, 2), caption, fill="black", font=font)
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
    """The colours from low, at the foot, to high, with ticks; a value beyond takes the colour of the end."""
    ramp = np.linspace(scale.high, scale.low, tall, dtype=np.float32)[:, None].repeat(_BAR, axis=1)
    canvas.paste(Image.fromarray(heat_colours(ramp, scale.low, scale.high)), (left, _LINE))
    for tick, text in zip(scale.ticks, scale.texts(), strict=True):
        place = round(scale.place(tick))
        draw.line([(left + _BAR, place), (left + _BAR + 4, place)], fill="black")
        middle = min(max(place, _LINE + _FONT // 2), _LINE + tall - _FONT // 2)
        draw.text((left + _BAR + 8, middle), text, fill="black", font=font, anchor="lm")
