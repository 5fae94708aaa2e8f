import numpy as np
import pytest
from sklearn import metrics as sklearn

from bench.metrics.image import image_metrics, image_metrics_by_defect

TYPES = np.array(["good"] * 40 + ["scratch"] * 25 + ["bent"] * 15)
LABELS = TYPES != "good"


@pytest.fixture(params=["tied", "untied"])
def scores(request):
    """Raw scores far outside [0, 1], unsorted."""
    rng = np.random.default_rng(5)
    values = 20 + 10 * (rng.standard_normal(TYPES.size) + LABELS)
    return np.round(values / 5) * 5 if request.param == "tied" else values


def test_figures_are_those_of_scikit_learn(scores):
    decided = scores > 25.0
    precision, recall, _ = sklearn.precision_recall_curve(LABELS, scores)
    assert image_metrics(scores, LABELS, 25.0) == pytest.approx(
        {
            "image_auroc": sklearn.roc_auc_score(LABELS, scores),
            "image_ap": sklearn.average_precision_score(LABELS, scores),
            "image_f1max": np.max(2 * precision * recall / np.maximum(precision + recall, 1e-300)),
            "image_accuracy": sklearn.accuracy_score(LABELS, decided),
            "image_balanced_accuracy": sklearn.balanced_accuracy_score(LABELS, decided),
            "image_precision": sklearn.precision_score(LABELS, decided),
            "image_recall": sklearn.recall_score(LABELS, decided),
        },
        abs=1e-9,
    )


def test_figures_by_defect_compare_the_images_of_the_type_with_all_good_ones(scores):
    result = image_metrics_by_defect(scores, TYPES, 25.0)
    assert list(result) == ["bent", "scratch"]
    for name, figures in result.items():
        chosen = (name == TYPES) | (TYPES == "good")
        expected = {
            "count": np.sum(name == TYPES),
            "image_auroc": sklearn.roc_auc_score(LABELS[chosen], scores[chosen]),
            "image_ap": sklearn.average_precision_score(LABELS[chosen], scores[chosen]),
            "image_recall": np.mean(scores[name == TYPES] > 25.0),
        }
        assert figures == pytest.approx(expected, abs=1e-9)


def test_without_a_threshold_its_figures_are_left_out(scores):
    assert list(image_metrics(scores, LABELS, None)) == ["image_auroc", "image_ap", "image_f1max"]
    assert list(image_metrics_by_defect(scores, TYPES, None)["bent"]) == ["count", "image_auroc", "image_ap"]


def test_labels_may_be_integers_and_everything_may_be_a_list(scores):
    listed = image_metrics(scores.tolist(), LABELS.astype(int).tolist(), 25.0)
    assert listed == image_metrics(scores, LABELS, 25.0)
    by_defect = image_metrics_by_defect(scores.tolist(), TYPES.tolist(), 25.0)
    assert by_defect == image_metrics_by_defect(scores, TYPES, 25.0)


def test_the_order_of_the_images_changes_no_bit(scores):
    order = np.random.default_rng(2).permutation(scores.size)
    assert image_metrics(scores[order], LABELS[order], 25.0) == image_metrics(scores, LABELS, 25.0)


def test_the_scores_of_the_caller_stay_as_they_are(scores):
    before = scores.copy()
    image_metrics(scores, LABELS, 25.0)
    image_metrics_by_defect(scores, TYPES, 25.0)
    np.testing.assert_array_equal(scores, before)


def test_only_good_images_leave_accuracy_and_nan():
    figures = image_metrics([1.0, 2.0, 3.0, 4.0], [0, 0, 0, 0], 3.5)
    assert figures["image_accuracy"] == 0.75
    assert np.isnan([figures[name] for name in ("image_auroc", "image_ap", "image_f1max", "image_recall")]).all()
    assert image_metrics_by_defect([1.0, 2.0], ["good", "good"], 3.5) == {}


def test_a_defect_without_good_images_has_a_recall_and_no_ranking():
    figures = image_metrics_by_defect([1.0, 4.0], ["bent", "bent"], 3.5)["bent"]
    assert (figures["count"], figures["image_recall"]) == (2, 0.5)
    assert np.isnan([figures["image_auroc"], figures["image_ap"]]).all()
