import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torchmetrics.classification import MulticlassCalibrationError

from bench.metrics.classification import class_metrics, classification_metrics, confusion_matrix, defect_score

CLASSES = ["good", "bent", "color", "scratch"]
IMAGES = [90, 8, 25, 40]
TARGETS = np.repeat(np.arange(4), IMAGES)
EXACT = 1e-12


def draw_logits(seed=4, skill=1.5, targets=TARGETS, classes=4):
    """Raw logits far from 0, right more often than not."""
    rng = np.random.default_rng(seed)
    return 30 + 2 * (rng.standard_normal((targets.size, classes)) + skill * np.eye(classes)[targets])


@pytest.fixture(params=["skilled", "poor", "tied", "two classes", "a class never predicted"])
def case(request):
    """Logits and targets."""
    if request.param == "two classes":
        targets = np.minimum(TARGETS, 1)
        return draw_logits(targets=targets, classes=2), targets
    logits = draw_logits(skill=0.2 if request.param == "poor" else 1.5)
    if request.param == "tied":
        logits = np.round(logits / 2) * 2
    if request.param == "a class never predicted":
        logits[:, 1] = -50
    return logits, TARGETS


def test_figures_over_all_classes_are_those_of_scikit_learn(case):
    logits, targets = case
    predicted = logits.argmax(axis=1)
    result = classification_metrics(logits, targets)
    expected = {
        "accuracy": sklearn.accuracy_score(targets, predicted),
        "balanced_accuracy": sklearn.balanced_accuracy_score(targets, predicted),
        "macro_f1": sklearn.f1_score(targets, predicted, average="macro", zero_division=0),
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=EXACT)


def test_figures_of_good_against_any_defect_are_those_of_scikit_learn(case):
    logits, targets = case
    truth, decided, score = targets > 0, logits.argmax(axis=1) > 0, defect_score(logits)
    result = classification_metrics(logits, targets)
    expected = {
        "image_auroc": sklearn.roc_auc_score(truth, score),
        "image_ap": sklearn.average_precision_score(truth, score),
        "image_accuracy": sklearn.accuracy_score(truth, decided),
        "image_balanced_accuracy": sklearn.balanced_accuracy_score(truth, decided),
        "image_precision": sklearn.precision_score(truth, decided),
        "image_recall": sklearn.recall_score(truth, decided),
    }
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=EXACT)


def test_the_calibration_error_is_that_of_torchmetrics(case):
    logits, targets = case
    peer = MulticlassCalibrationError(num_classes=logits.shape[1], n_bins=15, norm="l1")
    expected = peer(torch.from_numpy(logits).softmax(dim=1), torch.from_numpy(targets)).item()
    # torchmetrics counts in single precision.
    assert classification_metrics(logits, targets)["calibration_error"] == pytest.approx(expected, abs=1e-6)


def test_probabilities_of_exactly_1_share_the_last_bin_with_those_just_below():
    logits = np.array([[0.0, 800.0], [0.0, 5.0]])  # the first is wrong and certain, the second right
    expected = abs(1 - (1 - 1 / (1 + np.exp(-5.0)))) / 2
    assert classification_metrics(logits, np.array([0, 1]))["calibration_error"] == pytest.approx(expected, abs=EXACT)


def test_means_over_classes_leave_out_those_that_have_no_image():
    chosen = TARGETS != 2
    logits, targets = draw_logits(skill=0.5)[chosen], TARGETS[chosen]
    predicted = logits.argmax(axis=1)
    assert (predicted == 2).any()
    present = [0, 1, 3]
    result = classification_metrics(logits, targets)
    assert result["macro_f1"] == pytest.approx(
        sklearn.f1_score(targets, predicted, labels=present, average="macro", zero_division=0), abs=EXACT
    )
    assert result["balanced_accuracy"] == pytest.approx(
        sklearn.recall_score(targets, predicted, labels=present, average="macro"), abs=EXACT
    )


def test_figures_by_class_are_those_of_scikit_learn(case):
    logits, targets = case
    predicted, classes = logits.argmax(axis=1), CLASSES[: logits.shape[1]]
    precision, recall, f1, count = sklearn.precision_recall_fscore_support(
        targets, predicted, labels=range(len(classes)), zero_division=np.nan
    )
    result = class_metrics(predicted, targets, classes)
    assert list(result) == classes
    for i, name in enumerate(classes):
        expected = {"count": count[i], "recall": recall[i], "precision": precision[i], "f1": f1[i]}
        assert result[name] == pytest.approx(expected, abs=EXACT, nan_ok=True)


def test_a_class_that_is_never_predicted_has_no_precision_and_an_f1_of_0():
    figures = class_metrics([0, 0, 0], [0, 0, 1], ["good", "bent"])["bent"]
    assert np.isnan(figures.pop("precision"))
    assert figures == {"count": 1, "recall": 0, "f1": 0}


def test_the_confusion_matrix_is_that_of_scikit_learn_with_true_classes_as_rows(case):
    logits, targets = case
    predicted, classes = logits.argmax(axis=1), logits.shape[1]
    result = confusion_matrix(predicted, targets, classes)
    assert result.dtype == np.int64
    np.testing.assert_array_equal(result, sklearn.confusion_matrix(targets, predicted, labels=range(classes)))


def test_the_confusion_matrix_has_rows_for_classes_that_do_not_occur():
    assert confusion_matrix([1, 0], [1, 1], 3).tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_the_defect_score_is_the_log_odds_of_any_defect():
    logits = draw_logits()
    good = torch.from_numpy(logits).softmax(dim=1)[:, 0].numpy()
    np.testing.assert_allclose(defect_score(logits), np.log1p(-good) - np.log(good), atol=1e-9)


def test_the_defect_score_is_finite_and_in_order_where_probabilities_are_all_0_or_1():
    score = defect_score(np.array([[2000, 0, 0], [1000, 0, 0], [0, 0, 1000], [0, 0, 2000]], dtype=np.float32))
    assert score.dtype == np.float64
    np.testing.assert_allclose(score, [-2000 + np.log(2), -1000 + np.log(2), 1000, 2000], rtol=1e-15)


def test_an_image_is_good_when_good_has_the_largest_logit_though_all_defects_together_are_likelier():
    logits = np.array([[1.0, 0.9, 0.9]])
    assert defect_score(logits)[0] > 0
    assert classification_metrics(logits, np.array([1]))["image_recall"] == 0


def test_figures_without_a_good_image_or_without_an_image_at_all_are_nan_and_warn_of_nothing():
    undefined = {"image_balanced_accuracy", "image_auroc", "image_ap"}
    with warnings.catch_warnings(action="error"):
        defects = classification_metrics(np.array([[0.0, 1.0]]), np.array([1]))
        nothing = classification_metrics(np.empty((0, 3)), np.empty(0, dtype=int))
    assert {name for name, value in defects.items() if np.isnan(value)} == undefined
    assert np.isnan(list(nothing.values())).all()


def test_the_order_of_the_images_changes_no_count():
    logits, order = draw_logits(), np.random.default_rng(2).permutation(TARGETS.size)
    shuffled = classification_metrics(logits[order], TARGETS[order])
    assert shuffled == pytest.approx(classification_metrics(logits, TARGETS), abs=EXACT)


@pytest.mark.parametrize(
    ("logits", "targets", "message"),
    [
        ([[0.0, np.nan]], [0], "finite"),
        ([[0.0, np.inf]], [0], "finite"),
        ([[0.0, 1.0]], [2], "0 to 1, got 2 to 2"),
        ([[0.0, 1.0]], [-1], "0 to 1, got -1 to -1"),
        ([[0.0, 1.0]], [1.0], "integers"),
        ([[0.0, 1.0]], [0, 1], r"got \(1, 2\), \(2,\)"),
        ([[0.0]], [0], "2 classes or more"),
        ([0.0, 1.0], [0, 1], r"logits \(N, K\)"),
    ],
)
def test_what_are_no_logits_and_classes_is_refused(logits, targets, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(np.array(logits), np.array(targets))


def test_more_predictions_than_images_are_refused():
    with pytest.raises(ValueError, match="2 predicted classes for 1 images"):
        confusion_matrix([0, 1], [0], 2)
