from inspect import signature

import numpy as np
import pytest
from scipy import stats
from scipy.stats import binomtest
from sklearn import metrics as sklearn

from bench.metrics.bootstrap import (
    CLASSIFICATION_STATISTICS,
    DETECTION_STATISTICS,
    classification_intervals,
    detection_intervals,
    paired_difference,
    percentile_interval,
    resample,
    resampled_confusions,
)
from bench.metrics.classification import class_metrics, class_metrics_of_confusion, classification_metrics, defect_score
from bench.metrics.image import image_metrics

CLASSES = ["good", "bent", "color", "scratch"]
TARGETS = np.repeat([0, 2, 1, 3, 0], [40, 25, 8, 30, 50])
TYPES = np.array(CLASSES)[TARGETS]


def draw_logits(seed, skill=1.0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((TARGETS.size, 4)) + skill * np.eye(4)[TARGETS]


@pytest.fixture(scope="module")
def logits():
    return draw_logits(1)


def test_every_resample_keeps_the_number_of_images_of_each_class():
    drawn = TARGETS[resample(TARGETS, number=50)]
    assert (np.sort(drawn) == np.sort(TARGETS)).all()


def test_every_image_of_a_class_is_drawn_as_often_as_any_other():
    images = np.flatnonzero(TARGETS == 1)
    drawn = resample(TARGETS, number=4000)
    counts = np.bincount(drawn[np.isin(drawn, images)])[images]
    assert counts.sum() == 4000 * images.size
    assert stats.chisquare(counts).pvalue > 1e-3


def test_resamples_differ_from_each_other_and_by_seed():
    first, second = resample(TARGETS, seed=0), resample(TARGETS, seed=1)
    assert first.shape == (2000, TARGETS.size)
    assert len(np.unique(first, axis=0)) == 2000
    assert (first != second).any()


@pytest.mark.parametrize("name", CLASSIFICATION_STATISTICS)
def test_a_classification_figure_of_all_resamples_is_that_of_each_resample_by_itself(logits, name):
    rows = resample(TARGETS, number=40)
    expected = [classification_metrics(logits[row], TARGETS[row])[name] for row in rows]
    vectorised = CLASSIFICATION_STATISTICS[name](logits, TARGETS, rows)
    np.testing.assert_allclose(vectorised, expected, rtol=0, atol=1e-12)


def test_every_classification_metric_is_a_statistic(logits):
    assert set(CLASSIFICATION_STATISTICS) == set(classification_metrics(logits, TARGETS))


def test_figures_by_class_of_all_resamples_are_those_of_each_resample_by_itself(logits):
    rows = resample(TARGETS, number=40)
    vectorised = class_metrics_of_confusion(resampled_confusions(logits, TARGETS, rows))
    for i, row in enumerate(rows):
        by_class = class_metrics(logits[row].argmax(axis=1), TARGETS[row], CLASSES)
        for place, name in enumerate(CLASSES):
            for key, values in vectorised.items():
                assert values[i, place] == pytest.approx(by_class[name][key], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("name", DETECTION_STATISTICS)
def test_a_detection_figure_of_all_resamples_is_that_of_each_resample_by_itself(logits, name):
    scores, rows = defect_score(logits), resample(TYPES, number=40)
    expected = [image_metrics(scores[row], TARGETS[row] > 0, None)[name] for row in rows]
    assert DETECTION_STATISTICS[name](scores, TYPES, rows).tolist() == expected


def test_intervals_hold_every_figure_overall_and_by_class_around_its_value(logits):
    overall, by_class = classification_intervals(logits, TARGETS, CLASSES)
    values = classification_metrics(logits, TARGETS)
    biased = {"calibration_error"}
    assert set(overall) == set(values)
    assert all(overall[name][0] < values[name] < overall[name][1] for name in set(values) - biased)
    values_by_class = class_metrics(logits.argmax(axis=1), TARGETS, CLASSES)
    assert list(by_class) == CLASSES
    for name, intervals in by_class.items():
        assert list(intervals) == ["recall", "precision", "f1"]
        assert all(low < values_by_class[name][key] < high for key, (low, high) in intervals.items())


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others(logits):
    first = classification_intervals(logits, TARGETS, CLASSES, seed=3, number=200)
    assert classification_intervals(logits.tolist(), TARGETS.tolist(), CLASSES, seed=3, number=200) == first
    assert classification_intervals(logits, TARGETS, CLASSES, seed=4, number=200) != first


def test_an_interval_leaves_out_resamples_without_the_figure_and_is_none_where_all_are():
    called = np.repeat([0, 1, 2], [60, 2, 38])
    logits = 9 * np.eye(4)[called]  # class 1 is predicted for two images of class 0, class 3 for none
    targets = np.repeat([0, 1, 2, 3], [62, 4, 30, 4])
    precision = class_metrics_of_confusion(resampled_confusions(logits, targets, resample(targets)))["precision"][:, 1]
    assert 0 < np.isnan(precision).mean() < 0.3
    by_class = classification_intervals(logits, targets, CLASSES).by_class
    assert by_class["bent"]["precision"] == (0, 0)
    assert (by_class["scratch"]["precision"], by_class["scratch"]["f1"]) == (None, (0, 0))


def test_the_recall_of_a_class_has_wilsons_interval():
    called = np.repeat([0, 1, 1], [20, 8, 2])
    targets = np.repeat([0, 1, 0], [20, 8, 2])  # all eight of class 1 are found
    by_class = classification_intervals(np.eye(2)[called], targets, CLASSES[:2]).by_class
    expected = binomtest(8, 8).proportion_ci(0.95, "wilson")
    assert by_class[CLASSES[1]]["recall"] == (expected.low, expected.high)
    assert expected.low < 0.7


def test_the_interval_of_a_recall_holds_the_true_one_in_about_95_of_100_test_sets():
    true, images, covered = 0.8, 60, []
    targets = np.ones(images, dtype=int)
    rng = np.random.default_rng(0)
    for seed in range(400):
        found = np.eye(2)[(rng.random(images) < true).astype(int)]
        by_class = class_metrics_of_confusion(resampled_confusions(found, targets, resample(targets, seed, number=500)))
        low, high = percentile_interval(by_class["recall"][:, 1])
        covered.append(low <= true <= high)
    assert 0.88 < np.mean(covered) < 0.99


def scipy_interval(samples, statistic, *, paired=False):
    """SciPy's interval, and four times the Monte Carlo error of its distance to another of 10,000 resamples."""
    seeded = {"rng" if "rng" in signature(stats.bootstrap).parameters else "random_state": 5}
    options = {"n_resamples": 10000, "batch": 500, "paired": paired, "method": "percentile"}
    found = stats.bootstrap(samples, statistic, **options, **seeded)
    error_of_percentile = np.sqrt(0.025 * 0.975 / 10000) / stats.norm.pdf(stats.norm.ppf(0.025))
    return tuple(found.confidence_interval), 4 * np.sqrt(2) * error_of_percentile * found.standard_error


def test_the_interval_of_an_auroc_is_scipys_for_two_samples(logits):
    scores, types = defect_score(logits), np.where(TARGETS > 0, "bent", "good")

    def auroc(good, defective, axis):
        return (defective[..., None, :] > good[..., :, None]).mean(axis=(-2, -1))

    expected, noise = scipy_interval((scores[TARGETS == 0], scores[TARGETS > 0]), auroc)
    assert detection_intervals(scores, types, number=10000)["image_auroc"] == pytest.approx(expected, abs=noise)


def test_a_paired_difference_has_scipys_paired_interval():
    rng = np.random.default_rng(8)
    before = rng.standard_normal(80)
    after = before + 0.1 + 0.5 * rng.standard_normal(80)

    def mean(values, strata, rows):
        return values[rows].mean(axis=1)

    expected, noise = scipy_interval(
        (before, after), lambda first, second, axis: second.mean(axis=axis) - first.mean(axis=axis), paired=True
    )
    found = paired_difference(before, after, mean, strata=np.zeros(80), number=10000)
    assert found.value == pytest.approx(np.mean(after - before), abs=1e-12)
    assert (found.low, found.high) == pytest.approx(expected, abs=noise)


def test_a_paired_difference_of_macro_f1_has_the_interval_that_scipy_finds_within_strata(logits):
    after, strata = draw_logits(2, skill=1.4), [np.flatnonzero(target == TARGETS) for target in range(4)]

    def macro_f1(predicted, true):
        agreed = [((predicted == c) & (true == c)).sum(axis=-1) for c in range(4)]
        sizes = [(predicted == c).sum(axis=-1) + (true == c).sum(axis=-1) for c in range(4)]
        return np.mean(2 * np.array(agreed) / np.array(sizes), axis=0)

    def change(*chosen, axis):
        row = np.concatenate(chosen, axis=-1)
        first, second = (macro_f1(each.argmax(axis=1)[row], TARGETS[row]) for each in (logits, after))
        return second - first

    expected, noise = scipy_interval(strata, change)
    found = paired_difference(logits, after, CLASSIFICATION_STATISTICS["macro_f1"], TARGETS, number=10000)
    first, second = (sklearn.f1_score(TARGETS, each.argmax(axis=1), average="macro") for each in (logits, after))
    assert found.value == pytest.approx(second - first, abs=1e-12)
    assert (found.low, found.high) == pytest.approx(expected, abs=noise)


@pytest.mark.parametrize("name", CLASSIFICATION_STATISTICS)
def test_two_equal_predictions_differ_by_exactly_0_in_an_interval_of_no_width(logits, name):
    found = paired_difference(logits, logits.copy(), CLASSIFICATION_STATISTICS[name], TARGETS, number=50)
    assert found == (0, 0, 0)
    assert not found.larger_than_chance


def test_two_equal_scores_differ_by_exactly_0_in_an_interval_of_no_width(logits):
    scores = defect_score(logits)
    found = paired_difference(scores, 2 * scores + 7, DETECTION_STATISTICS["image_auroc"], TYPES, number=50)
    assert found == (0, 0, 0)


def test_exchanging_the_predictions_turns_the_difference_round(logits):
    after, statistic = draw_logits(2, skill=2.5), CLASSIFICATION_STATISTICS["balanced_accuracy"]
    there, back = (
        paired_difference(logits, after, statistic, TARGETS),
        paired_difference(after, logits, statistic, TARGETS),
    )
    assert (back.value, back.low, back.high) == pytest.approx((-there.value, -there.high, -there.low), abs=1e-12)
    assert there.low > 0
    assert there.larger_than_chance
    assert back.larger_than_chance


def test_images_in_common_make_a_paired_interval_narrower_than_that_of_either_prediction(logits):
    after = logits + 0.2 * draw_logits(2, skill=0)
    found = paired_difference(logits, after, CLASSIFICATION_STATISTICS["accuracy"], TARGETS)
    low, high = classification_intervals(logits, TARGETS, CLASSES).overall["accuracy"]
    assert found.high - found.low < (high - low) / 2


def test_chance_is_called_a_difference_in_few_of_100_pairs_of_equally_good_predictions():
    statistic, called = CLASSIFICATION_STATISTICS["accuracy"], []
    for seed in range(200):
        before, after = draw_logits(2 * seed), draw_logits(2 * seed + 1)
        called.append(paired_difference(before, after, statistic, TARGETS, seed, number=300).larger_than_chance)
    assert 0.01 < np.mean(called) < 0.12


def test_the_rounding_of_sums_is_no_difference():
    targets = np.repeat([0, 1], 10)
    before, after = np.ones(20, dtype=int) - targets, np.ones(20, dtype=int) - targets
    before[[0, 10, 11]] = targets[[0, 10, 11]]  # recalls of .1 and .2
    after[:3] = targets[:3]  # of .3 and 0
    assert (0.1 + 0.2) / 2 != 0.3 / 2
    statistic = CLASSIFICATION_STATISTICS["balanced_accuracy"]
    assert paired_difference(np.eye(2)[before], np.eye(2)[after], statistic, targets).value == 0


def test_a_difference_of_a_figure_that_is_not_defined_is_nan_and_not_larger_than_chance():
    scores, types = np.arange(5.0), np.array(["bent"] * 5)
    found = paired_difference(scores, -scores, DETECTION_STATISTICS["image_auroc"], types, number=20)
    assert np.isnan(found).all()
    assert not found.larger_than_chance
    assert detection_intervals(scores, types, number=20) == {"image_auroc": None, "image_ap": None}


def test_predictions_of_other_images_are_refused(logits):
    with pytest.raises(ValueError, match="153 and 152 predictions for 153 images"):
        paired_difference(logits, logits[1:], CLASSIFICATION_STATISTICS["accuracy"], TARGETS)
    with pytest.raises(ValueError, match="one score for each of 153 images"):
        detection_intervals(np.zeros(154), TYPES)
    with pytest.raises(ValueError, match="3 names for 4 classes"):
        classification_intervals(logits, TARGETS, CLASSES[:3])
