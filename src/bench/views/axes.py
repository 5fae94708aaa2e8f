"""Axes of charts: the positions of the ticks, their labels, and the position of a value."""

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A label with its unit, and limits; None takes the limits from the data, out to the next tick."""

    label: str
    limits: tuple[float, float] | None = None
    logarithmic: bool = False


@dataclass(frozen=True)
class Scale:
    """An axis whose limits are known, from `start` to `end` on the page."""

    axis: Axis
    low: float
    high: float
    ticks: tuple[float, ...]
    start: float
    end: float

    def position(self, value: float) -> float:
        """The position of a value, in units of the drawing."""
        low, high = self.low, self.high
        if self.axis.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def texts(self) -> list[str]:
        """The labels of the ticks, all with the digits that distinguish them."""
        if self.axis.logarithmic:
            return [f"{tick:,.10g}" for tick in self.ticks]
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        digits = max(0, -math.floor(math.log10(step) + 1e-9))
        return [f"{tick + 0.0:,.{digits}f}" for tick in self.ticks]


def make_scale(axis: Axis, values: Iterable[float], start: float, end: float, about: int = 6) -> Scale:
    """The scale of the axis for these values, with `about` ticks or so; a logarithmic one needs positive values."""
    found = [value for value in values if math.isfinite(value)]
    if axis.limits:
        low, high = axis.limits
    else:
        low, high = (min(found), max(found)) if found else (0.0, 1.0)
    if axis.logarithmic:
        low, high, ticks = _decades(low, high, widen=axis.limits is None)
    else:
        low, high, ticks = _steps(low, high, about, widen=axis.limits is None)
    return Scale(axis, low, high, ticks, start, end)


def limits_of(values: Iterable[float]) -> tuple[float, float]:
    """The limits that an axis of these values takes, for several charts on one scale."""
    scale = make_scale(Axis(""), values, 0.0, 1.0)
    return scale.low, scale.high


def share_limits(values: Iterable[float]) -> tuple[float, float]:
    """The limits of an axis of shares, none of which is above 1: from the tenth below the smallest value, to 1."""
    found = [value for value in values if math.isfinite(value)]
    return (min(0.9, math.floor(10 * min(found)) / 10) if found else 0.0), 1.0


def _steps(low: float, high: float, about: int, *, widen: bool) -> tuple[float, float, tuple[float, ...]]:
    """Limits, and ticks at multiples of 1, 2 or 5 times a power of ten."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):  # equal but for rounding
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if widen:
        low, high = first * step, last * step
    # Rounded, for 3 * 0.1 is 0.30000000000000004.
    ticks = (float(f"{number * step:.12g}") for number in range(first, last + 1))
    slack = step * 1e-6
    return low, high, tuple(tick for tick in ticks if low - slack <= tick <= high + slack)


def _decades(low: float, high: float, *, widen: bool) -> tuple[float, float, tuple[float, ...]]:
    """Limits, and ticks at powers of ten, and at 2 and 5 times them where there are few."""
    if low <= 0:
        raise ValueError("a logarithmic axis has no place for 0 or less")
    first, last = math.floor(math.log10(low) - 1), math.ceil(math.log10(high) + 1)
    factors = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    ticks = [float(f"{factor * 10.0**power:.12g}") for power in range(first, last + 1) for factor in factors]
    if widen:
        low = max(tick for tick in ticks if tick <= low)
        high = min(tick for tick in ticks if tick >= high and tick > low)
    return low, high, tuple(tick for tick in ticks if low <= tick <= high)
