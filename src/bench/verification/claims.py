"""Figures that somebody claims, and the protocols that reproduce them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.errors import UsageError, unknown
from bench.metrics.catalogue import METRICS

CLOSE = 0.0005  # how near a figure must come to a claim, unless that has fewer digits
_LARGEST = 2  # some implementations give an AUPRO above 1; what is larger is a percentage without its sign
_KINDS = ("image_", "pixel_", "aupro_")
CLAIMABLE = tuple(name for name in METRICS if name.startswith(_KINDS))
_NUMBER = re.compile(r"(\d+\.?(\d*)|\.(\d+))(%?)")


@dataclass(frozen=True)
class Claim:
    """A claimed figure; figures that differ from it by no more than `tolerance` reproduce it."""

    metric: str
    value: float
    tolerance: float

    def is_met_by(self, figure: float) -> bool:
        """Whether a figure reproduces the claim."""
        return abs(figure - self.value) <= self.tolerance + 1e-9  # .981 - .9805 is above .0005 by rounding


@dataclass(frozen=True)
class Figure:
    """A figure under one protocol, and by how much it differs from the exact one, if there is an exact one."""

    protocol: str
    value: float
    difference: float | None


def read_claims(words: Sequence[str]) -> list[Claim]:
    """The claims of `pixel_auroc=.981` or `pixel_auroc=98.1%`; a UsageError names one that is none."""
    return [_read_claim(word) for word in words]


def _read_claim(word: str) -> Claim:
    name, equals, text = word.partition("=")
    if not equals:
        raise UsageError(f"--claimed {word} names no figure; write it as --claimed pixel_auroc=.981")
    if name not in CLAIMABLE:
        raise unknown("metric", name, CLAIMABLE)
    found = _NUMBER.fullmatch(text.strip())
    if not found:
        raise UsageError(f"--claimed {word}: '{text}' is no figure; write .981 or 98.1%")
    percent, digits = found[4] == "%", len(found[2] or found[3] or "")
    value = float(text.strip().rstrip("%"))
    if percent:
        value, digits = value / 100, digits + 2
    elif value > _LARGEST:
        raise UsageError(f"--claimed {word}: {text} is above 1; if it is a percentage, write {name}={text}%")
    if value > _LARGEST:
        raise UsageError(f"--claimed {word}: {text} is more than any implementation gives")
    return Claim(name, value, max(CLOSE, 0.5 * 10**-digits))


def reproducing(claim: Claim, figures: Mapping[str, Mapping[str, float | None]], exact: str) -> list[Figure]:
    """The figures of all protocols that reproduce a claim: the exact one first, then by how near they come to it."""
    own = figures[exact].get(claim.metric)
    met = [
        Figure(protocol, value, None if own is None else value - own)
        for protocol, found in figures.items()
        if (value := found.get(claim.metric)) is not None and math.isfinite(value) and claim.is_met_by(value)
    ]
    return sorted(met, key=lambda each: (each.protocol != exact, abs(each.value - claim.value), each.protocol))


def reproducing_all(
    claims: Sequence[Claim], figures: Mapping[str, Mapping[str, float | None]], exact: str
) -> list[str]:
    """The protocols that reproduce all claims at once; a metric that a protocol does not change has its exact value."""

    def meets(own: Mapping[str, float | None], claim: Claim) -> bool:
        value = own.get(claim.metric, figures[exact].get(claim.metric))
        return value is not None and claim.is_met_by(value)

    met = [name for name, own in figures.items() if all(meets(own, claim) for claim in claims)]
    return sorted(met, key=lambda name: (name != exact, name))
