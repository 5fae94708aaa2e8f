"""Training, validation and test parts: stratified by defect type, near-duplicates kept together."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bench.data.folds import stratify
from bench.data.layout import Category, Sample
from bench.data.supervised import LabelledSplit
from bench.errors import UsageError

SPLITS = ("train", "val", "test")


def read_shares(typed: str) -> dict[str, float]:
    """`0.7,0.15,0.15` as the share of each part that has one; a UsageError if they are no shares that sum to 1."""
    try:
        numbers = [float(word) for word in typed.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != len(SPLITS) or not all(0 <= number <= 1 for number in numbers):
        raise UsageError(f"--shares {typed} is not three shares for {', '.join(SPLITS)}, such as 0.7,0.15,0.15")
    if abs(sum(numbers) - 1) > 1e-6:
        raise UsageError(f"--shares {typed} add up to {sum(numbers):g}, not to 1")
    if not numbers[0]:
        raise UsageError(f"--shares {typed} leave nothing to learn from; give train a share")
    return {name: number for name, number in zip(SPLITS, numbers, strict=True) if number}


def deal(category: Category, shares: Mapping[str, float], seed: int, cache: Path) -> list[tuple[Sample, str]]:
    """Assign every image of the category to a part; images of train/good come first."""
    names = list(shares)
    images = LabelledSplit(category, len(names), None, seed, cache)
    part = stratify(images.types, images.groups, len(names), seed, shares=list(shares.values()))
    return [(sample, names[index]) for sample, index in zip(images.samples, part.tolist(), strict=True)]


def describe_gaps(dealt: list[tuple[Sample, str]], shares: Mapping[str, float], types: tuple[str, ...]) -> list[str]:
    """One line for each type that a part has no image of."""
    counts = Counter((name, sample.defect_type) for sample, name in dealt)
    return [
        f"{kind} has {sum(counts[each, kind] for each in shares)} images: none of them is in {name}"
        for kind in types
        for name in shares
        if not counts[name, kind]
    ]
