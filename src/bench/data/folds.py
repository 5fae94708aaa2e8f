"""Divide labelled images: a cap per class, stratified folds, and how often training draws each class."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bench.data.category_folders import GOOD
from bench.errors import UsageError

Sampling = Literal["each_once", "square_root", "balanced"]
Groups = Sequence[int] | NDArray[np.int64]

_FEW = 20  # below so many images, the recall of a class is hardly known


def choose_per_class(types: Sequence[str], per_class: int | None, seed: int) -> list[int]:
    """Indices of at most `per_class` images of each class, drawn by the seed, in ascending order; None keeps all.

    A larger cap keeps all images of a smaller one.
    """
    if per_class is None:
        return list(range(len(types)))
    chosen: list[int] = []
    seen: Counter[str] = Counter()
    for index in np.random.default_rng(seed).permutation(len(types)).tolist():
        seen[types[index]] += 1
        if seen[types[index]] <= per_class:
            chosen.append(index)
    return sorted(chosen)


def assign_folds(types: Sequence[str], groups: Groups, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold (N,) that tests each image, by `stratify`; a UsageError if a class cannot be learned and tested."""
    _check(types, groups, folds)
    return stratify(types, groups, folds, seed)


def stratify(
    types: Sequence[str], groups: Groups, folds: int, seed: int, shares: Sequence[float] | None = None
) -> NDArray[np.int64]:
    """Deal images into folds (N,), about equally many of each class per fold; images of a group stay together.

    If each image is its own group, folds differ by at most one image of each class and by at most one image in total.
    With `shares`, all above 0, the folds have these shares of the images, each class rounded by Sainte-Laguë.
    """
    # scikit-learn's StratifiedGroupKFold divides differently in different releases (shuffled before 1.8, it takes
    # groups at random: pull request 32540) and may leave a fold empty (issue 34828). Folds decide a result and must not
    # change.
    _, labels, sizes = np.unique(np.asarray(types), return_inverse=True, return_counts=True)
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    contents = np.zeros((members.max() + 1, len(sizes)), np.int64)  # images of each class in each group
    np.add.at(contents, (members, labels), 1)
    # Large groups first, then class by class; the shuffle orders groups that are equal in both.
    shuffled = np.random.default_rng(seed).permutation(len(contents))
    order = shuffled[np.lexsort((contents[shuffled].argmax(axis=1), -contents[shuffled].sum(axis=1)))]
    counts = np.zeros((folds, len(sizes)), np.int64)
    fold = np.empty(len(contents), np.int64)
    for group in order:
        crowding = counts @ (contents[group] / sizes)  # how full each fold is of the classes in the group
        total = counts.sum(axis=1)
        if shares is not None:
            crowding = (crowding + contents[group] @ (contents[group] / sizes) / 2) / shares
            total = total / shares
        fold[group] = np.lexsort((total, crowding))[0]
        counts[fold[group]] += contents[group]
    return fold[members]


def describe_limits(types: Sequence[str], folds: int) -> list[str]:
    """What a split of these images cannot measure, one line each."""
    from scipy.stats import binomtest  # takes half a second, so it is imported only here

    lines = []
    for name, count in Counter(types).items():
        if count < _FEW:
            found = round(0.75 * count)
            low, high = binomtest(found, count).proportion_ci(0.95, "exact")
            lines.append(
                f"{name} has {count} images: a recall of {_decimals(found / count)} ({found} of {count}) "
                f"has a 95 % interval of {_decimals(low)} to {_decimals(high)}"
            )
        if count < folds:
            lines.append(f"{name} has {count} images: at least {folds - count} of {folds} folds test none")
    return lines


def sampling_weights(types: Sequence[Any], sampling: Sampling) -> NDArray[np.float64] | None:
    """Each image's probability (N,) of being drawn; None: each once an epoch.

    `balanced` draws each class equally often, `square_root` in proportion to the root of its number of images.
    """
    if sampling == "each_once":
        return None
    _, labels, counts = np.unique(np.asarray(types), return_inverse=True, return_counts=True)
    power = {"balanced": -1.0, "square_root": -0.5}[sampling]
    weights: NDArray[np.float64] = np.power(counts.astype(np.float64), power)[labels]
    return weights / float(weights.sum())


def _check(types: Sequence[str], groups: Groups, folds: int) -> None:
    if folds < 2:
        raise UsageError(f"--data.folds {folds} is less than 2: images are learned from in some, tested in the other")
    if len(types) < folds:
        raise UsageError(f"{len(types)} images cannot be divided into --data.folds {folds}")
    counts = Counter(types)
    if len(counts) < 2:
        raise UsageError(f"all images are of the class '{types[0]}'; supervised methods need defect images beside good")
    different: dict[str, set[int]] = {name: set() for name in counts}
    for name, group in zip(types, groups, strict=True):
        different[name].add(int(group))
    for name in sorted(counts):
        if counts[name] == 1:
            raise UsageError(f"only one image in {_folder(name)}: it cannot be both learned and tested; add or remove")
        if len(different[name]) == 1:
            raise UsageError(
                f"the {counts[name]} images in {_folder(name)} are one photograph: it cannot be both learned and "
                "tested; add or remove"
            )
    if len(set().union(*different.values())) < folds:
        raise UsageError(f"fewer different photographs than --data.folds {folds}; near-duplicates share a fold")


def _folder(name: str) -> str:
    return f"train/{GOOD} and test/{GOOD}" if name == GOOD else f"test/{name}"


def _decimals(share: float) -> str:
    return "1" if share == 1 else f"{share:.2f}".lstrip("0")
