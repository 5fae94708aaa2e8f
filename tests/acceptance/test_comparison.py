"""Which method is recommended, whether photos can tell it from the others, and how far being the best flatters it."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import betabinom

from bench.acceptance.candidates import Candidate, FittedRun
from bench.acceptance.comparison import compare
from bench.acceptance.operating_point import OperatingPoint
from bench.metrics.operating_points import stopped
from bench.records.chosen_threshold import ChosenThreshold, FalseAlarms
from bench.records.predictions import Predicted
from bench.runs.chosen_threshold import OnTest
from fake_records import make_record


def candidate(name: str, good: np.ndarray, bad: np.ndarray, seeds: int = 1) -> Candidate:
    """A method with these scores, the same ones for each seed."""
    labels = [("good", score) for score in good] + [("dent", score) for score in bad]
    rows = [
        Predicted(f"{place}", f"{place:064}", kind, kind != "good", float(score), ())
        for place, (kind, score) in enumerate(labels)
    ]
    auroc = float(np.mean(good[:, None] < bad)) if bad.size else None
    runs = [
        FittedRun(Path(), make_record(name, seed=seed, metrics={"image_auroc": auroc}), rows) for seed in range(seeds)
    ]
    return Candidate(name, runs)


def shifted(rng: np.random.Generator, by: float, count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    return rng.normal(size=count), rng.normal(by, size=count)


def test_the_highest_image_auroc_is_recommended_whatever_the_order():
    rng = np.random.default_rng(0)
    weak, strong = candidate("weak", *shifted(rng, 0.3)), candidate("strong", *shifted(rng, 3.0))
    for order in ([weak, strong], [strong, weak]):
        found = compare(order)
        assert found.best.name == "strong"
        assert found.not_told_apart == []
        assert found.others[0][1].value == pytest.approx(strong.auroc - weak.auroc)


def test_methods_that_differ_by_chance_alone_are_not_told_apart():
    rng = np.random.default_rng(1)
    good, bad = shifted(rng, 1.5, 12)
    noisy = candidate("noisy", good + rng.normal(0, 0.2, 12), bad + rng.normal(0, 0.2, 12))
    found = compare([candidate("plain", good, bad), noisy])
    assert len(found.not_told_apart) == 1


def test_without_bad_photos_the_first_named_is_taken_and_nothing_is_compared():
    rng = np.random.default_rng(2)
    found = compare([candidate(name, rng.normal(size=9), np.empty(0)) for name in ("b", "a")])
    assert (found.best.name, found.flattery) == ("b", None)
    assert found.others[0][1] is None


def test_the_best_of_more_methods_that_are_equally_good_is_flattered_more():
    rng = np.random.default_rng(3)
    equal = [candidate(str(number), *shifted(rng, 1.0, 12)) for number in range(8)]
    few, many = compare(equal[:2]).flattery, compare(equal).flattery
    assert 0 < few < many < 0.2


def test_flattery_is_how_much_better_the_winner_of_a_resample_looks_than_it_is():
    rng = np.random.default_rng(6)
    methods = [shifted(rng, by, 8) for by in (1.0, 0.7, 0.4)]

    def auroc(good: np.ndarray, bad: np.ndarray) -> float:
        return float(np.mean(good[:, None] < bad) + np.mean(good[:, None] == bad) / 2)

    true = np.array([auroc(*each) for each in methods])
    gains = []
    for _ in range(3000):
        rows, columns = rng.integers(8, size=8), rng.integers(8, size=8)
        drawn = np.array([auroc(good[rows], bad[columns]) for good, bad in methods])
        gains.append(drawn.max() - true[drawn.argmax()])
    found = compare([candidate(str(place), *each) for place, each in enumerate(methods)])
    assert found.flattery == pytest.approx(np.mean(gains), abs=0.01)
    assert found.flattery > np.mean(gains) / 2 > 0.01


def test_a_method_that_is_alone_is_not_flattered():
    rng = np.random.default_rng(4)
    assert compare([candidate("one", *shifted(rng, 1.0))]).flattery is None


def point(rank: int, of: int, good: np.ndarray) -> OperatingPoint:
    """A threshold at 0, the `rank`-th smallest of so many calibration scores, and these good test scores."""
    calibration = np.sort(np.arange(of, dtype=np.float64) - rank + 1)
    alarms = FalseAlarms(at_most=0.5, rank=rank, expected=0.1, confidence=0.95, bound=0.5)
    chosen = ChosenThreshold(
        run="0" * 16, threshold=0.0, pixel_threshold=None, with_bad_images=False, normal_images=of, normal_scores=of,
        nearly_learned=0, obtained="held-out", normal_scores_sha256="", false_alarms=alarms,
    )  # fmt: skip
    test = OnTest(stopped(good, 0.0), stopped(np.empty(0), 0.0), {})
    return OperatingPoint(0.05, chosen, calibration, 59, test, good, np.empty(0))


def test_photos_alike_contradict_the_promise_as_often_as_it_says():
    rng = np.random.default_rng(5)
    calibration, test = rng.normal(size=(20_000, 10)), rng.normal(size=(20_000, 10))
    above = (test > calibration.max(axis=1)[:, None]).sum(axis=1)
    for number in (1, 3, 5):
        scores = np.where(np.arange(10) < number, 1.0, -1.0)
        assert point(10, 10, scores).contradiction == pytest.approx((above >= number).mean(), abs=0.01)
    assert point(8, 10, np.ones(10)).contradiction == pytest.approx(betabinom.sf(9, 10, 3, 8))


def test_no_alarm_contradicts_nothing():
    assert point(10, 10, -np.ones(10)).contradiction == 1
    assert point(10, 10, np.empty(0)).contradiction == 1
