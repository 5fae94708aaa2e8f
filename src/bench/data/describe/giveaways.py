"""Giveaways: what tells good from defective test images without a look at the defect.

Four plain numbers of an image, and a logistic regression on all four. The rule for naming one was fixed before the
planted-shortcut study was run on its final seeds (benchmarks/planted_shortcuts.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.data.category_folders import GOOD
from bench.data.describe.description import Giveaway, ImageFacts
from bench.metrics.ranking import auroc, rank

NAMED_FROM = 0.8  # the image AUROC, in the better direction, from which a number is named
# For the regression, which can subtract the border from the mean and so see a large defect in the middle.
ALL_NAMED_FROM = 0.9
LEVEL = 0.001  # the largest p-value, corrected for all looks, with which it is named
FOLDS = 5

Numbers = NDArray[np.float64]
_TITLES = {"brightness": "mean grey value", "contrast": "contrast", "border": "border", "bytes": "file size"}
ALL_OF_THEM = "all four together"
_LOOKS = len(_TITLES) + 1


@dataclass(frozen=True)
class _Split:
    """A number of each training and test image; `defective` (N,) is of the test images."""

    train: Numbers
    test: Numbers
    defective: NDArray[np.bool_]


def find_giveaways(images: Sequence[ImageFacts], trained: int) -> tuple[Giveaway, ...]:
    """What each number, and all together, tell of the test images, which follow the `trained` first ones.

    Empty where there are no good or no defective test images.
    """
    defective = np.array([image.defect_type != GOOD for image in images[trained:]], dtype=bool)
    if not defective.any() or defective.all():
        return ()
    numbers = {key: np.array([float(getattr(image, key)) for image in images]) for key in _TITLES}
    found = [
        _of_number(_TITLES[key], _Split(values[:trained], values[trained:], defective))
        for key, values in numbers.items()
    ]
    return (*found, *_of_all({key: values[trained:] for key, values in numbers.items()}, defective))


def _of_number(title: str, split: _Split) -> Giveaway:
    """In the better direction, with a two-sided p-value; as a distance in the one direction that a detector knows."""
    area = _auroc(split.test, split.defective)
    distance = None
    if split.train.size:
        distance = _auroc(np.abs(split.test - split.train.mean()), split.defective)
    from scipy.stats import mannwhitneyu

    p_value = float(mannwhitneyu(split.test[split.defective], split.test[~split.defective]).pvalue)
    return _judged(title, max(area, 1 - area), area >= 0.5, distance, p_value, NAMED_FROM)


def _of_all(numbers: Mapping[str, Numbers], defective: NDArray[np.bool_]) -> tuple[Giveaway, ...]:
    """Logistic regression, each image scored by a model of the other folds; none where a class has a single image.

    Its direction is learned, so that only an AUROC above .5 counts.
    """
    folds = min(FOLDS, int(defective.sum()), int((~defective).sum()))
    if folds < 2:
        return ()
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features = np.column_stack(list(numbers.values()))
    scores = cross_val_predict(
        make_pipeline(StandardScaler(), LogisticRegression()),
        features,
        defective,
        cv=StratifiedKFold(folds, shuffle=True, random_state=0),
        method="decision_function",
    )
    p_value = _rank_test(features, defective)
    return (_judged(ALL_OF_THEM, _auroc(scores, defective), True, None, p_value, ALL_NAMED_FROM),)


def _judged(
    title: str, area: float, is_higher: bool, distance: float | None, p_value: float, named_from: float
) -> Giveaway:
    """By the rule; the p-value times the number of looks (Bonferroni), nan for a number that never varies."""
    corrected = 1.0 if np.isnan(p_value) else min(1.0, _LOOKS * p_value)
    return Giveaway(title, area, is_higher, distance, corrected, area >= named_from and corrected <= LEVEL)


def _auroc(scores: Numbers, defective: NDArray[np.bool_]) -> float:
    return float(auroc(rank(scores[defective], scores[~defective])))


def _rank_test(features: Numbers, defective: NDArray[np.bool_]) -> float:
    """Puri and Sen's test that several numbers (N, K) have one distribution in both classes.

    Mann and Whitney's for several numbers at once. Left-out scores cannot be tested as if they were independent: of
    normal noise, that is below .05 in 7 to 9 of 100 cases.
    """
    from scipy.stats import chi2, rankdata

    ranks = rankdata(features, axis=0)
    ranks -= ranks.mean(axis=0)
    labels = defective - defective.mean()
    fitted, _, independent, _ = np.linalg.lstsq(ranks, labels, rcond=1e-9)
    explained = float(np.square(ranks @ fitted).sum() / np.square(labels).sum())
    return float(chi2.sf((len(labels) - 1) * explained, independent)) if independent else 1.0
