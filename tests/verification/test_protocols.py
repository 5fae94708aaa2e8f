"""Each protocol recognises a figure that independent code computed by it, where it is far from the exact one."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import (
    accuracy_score,
    auc,
    average_precision_score,
    f1_score,
    precision_recall_curve,
    precision_score,
    roc_auc_score,
    roc_curve,
)

from bench.verification.protocols import OF_IMAGES, OF_MAPS, OF_MASKS, OF_PIXELS, OF_SCORES
from fake_data import write_category
from maps_of_others import (
    Mask,
    Test,
    Values,
    area_up_to,
    by_steps,
    full_curve,
    make_maps,
    overlaps,
    regions,
    write_tiffs,
)

LIMIT = 0.3
FAR = 0.002  # from the exact figure


def long_tailed(mask: Mask, rng: np.random.Generator) -> Values:
    """A map whose defects lie above, among noise with a long tail, on a level of its own."""
    values = rng.uniform(0, 0.6) + rng.exponential(0.5, mask.shape) ** 2
    return values + np.where(mask, rng.uniform(0.2, 1.5), 0)


def longer_tailed(mask: Mask, rng: np.random.Generator) -> Values:
    """The same, most values being close to the lowest."""
    return long_tailed(mask, rng) ** 2


def short_tailed(mask: Mask, rng: np.random.Generator) -> Values:
    """A map that tells most defects by its maximum, with half of its values above 1."""
    return rng.uniform(0, 2, mask.shape) + np.where(mask, rng.uniform(0, 2), 0)


def in_few_values(mask: Mask, rng: np.random.Generator) -> Values:
    """The same in whole numbers, so that many pixels have equal scores."""
    return np.floor(long_tailed(mask, rng) * 1.5)


def in_three_values(mask: Mask, rng: np.random.Generator) -> Values:
    """Hardly more than 0, 1 and 2."""
    return np.minimum(np.floor(long_tailed(mask, rng)), 2)


def a_third_of_the_size(mask: Mask, rng: np.random.Generator) -> Values:
    """The same, three times smaller than its mask."""
    height, width = mask.shape
    small = np.asarray(Image.fromarray(mask).resize((width // 3, height // 3)))
    return long_tailed(small, rng)


def resized(test: Test, fit: Callable[[Image.Image, tuple[int, int]], Mask]) -> Test:
    """The test with masks in the size of the maps."""
    masks = [
        fit(Image.fromarray(mask.astype(np.uint8) * 255), values.shape[::-1])
        for mask, values in zip(test.masks, test.maps, strict=True)
    ]
    return Test(test.names, masks, test.maps)


def pixel_auroc(test: Test) -> float:
    return float(roc_auc_score(*test.pooled()))


def aupro(test: Test, limit: float = LIMIT) -> float:
    return area_up_to(*full_curve(test), limit) / limit


def aupro_to_the_end_point(test: Test) -> float:
    """Each region's curve against all normal pixels, up to its last point at or below the limit; then their means."""
    labels, scores = test.pooled()
    thresholds = np.unique(scores)[::-1]
    ends, areas = [], []
    for index, region in regions(test):
        own = test.maps[index][region]
        rates = np.array([np.mean(scores[~labels] >= threshold) for threshold in thresholds])
        found = np.array([np.mean(own >= threshold) for threshold in thresholds])
        kept = rates <= LIMIT
        ends.append(rates[kept].max())
        areas.append(auc(np.append(0, rates[kept]), np.append(0, found[kept])))
    return float(np.mean(areas) / np.mean(ends))


def aupro_of_resampled_curves(test: Test) -> float:
    """The mean of the regions' own curves, point by point, after each was stretched to the length of the common one."""
    labels, scores = test.pooled()
    count = int(np.sum(roc_curve(labels, scores, drop_intermediate=False)[0] <= LIMIT))
    rates, overlap, found = np.zeros(count), np.zeros(count), regions(test)
    for index, region in found:
        own = test.maps[index][region]
        truth = np.append(np.zeros((~labels).sum()), np.ones(own.size))
        fpr, tpr, _ = roc_curve(truth, np.append(scores[~labels], own), drop_intermediate=False)
        last = int(np.flatnonzero(fpr >= LIMIT)[0])  # the point that is cut off at the limit
        share = (LIMIT - fpr[last - 1]) / (fpr[last] - fpr[last - 1])
        step = (count - 1) / last
        wanted = np.append(np.arange(count - 1), (last - 1 + share) * step) / step
        rates += np.interp(wanted, np.arange(last + 1), fpr[: last + 1])
        overlap += np.interp(wanted, np.arange(last + 1), tpr[: last + 1])
    order = np.argsort(rates, kind="stable")
    return float(auc(rates[order], overlap[order]) / len(found) / rates[-1])


def aupro_by_steps(test: Test, steps: int) -> float:
    rates, found = by_steps(test, steps)
    kept = rates < LIMIT
    return float(auc((rates[kept] - rates[kept].min()) / np.ptp(rates[kept]), found[kept]))


def aupro_of_images(test: Test) -> float:
    """RD4AD: the area of each defective image, thresholds between its own extremes; the mean of these."""
    found = []
    for index in np.flatnonzero(test.defects):
        rates, overlap = by_steps(test.only(np.arange(len(test.names)) == index), 200)
        kept = rates < LIMIT
        found.append(auc(rates[kept] / rates[kept].max(), overlap[kept]))
    return float(np.mean(found))


def f1_at_21(test: Test) -> float:
    labels, scores = test.pooled()
    scaled = (scores - scores.min()) / (scores.max() - scores.min())
    return float(max(f1_score(labels, scaled > threshold) for threshold in np.arange(0, 1.001, 0.05)))


def ap_by_trapezoids(labels: Any, scores: Any) -> float:
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(auc(recall, precision))


def maxima(test: Test) -> Values:
    return np.array([values.max() for values in test.maps])


def accuracy_at_best_f1(test: Test) -> float:
    scores = maxima(test)
    best = max(np.unique(scores)[::-1], key=lambda threshold: f1_score(test.defects, scores >= threshold))
    return float(accuracy_score(test.defects, scores >= best))


def best_accuracy(test: Test) -> float:
    scores = maxima(test)
    thresholds = [*np.unique(scores), np.inf]
    return float(max(accuracy_score(test.defects, scores >= threshold) for threshold in thresholds))


def stretched(values: Values) -> Values:
    return (values - values.min()) / (values.max() - values.min())


def bilinear(image: Image.Image, size: tuple[int, int]) -> Any:
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR)) / 255


def sigmoid(values: Any) -> Any:
    return torch.sigmoid(torch.as_tensor(values * 40, dtype=torch.float32)).numpy()


# Of each protocol: the maps, a metric, and the figure by independent code.
CLAIMS: Mapping[str, tuple[Callable[[Mask, np.random.Generator], Values], str, Callable[[Test], float]]] = {
    "aupro_end_point": (in_few_values, "aupro_0.30", aupro_to_the_end_point),
    "aupro_resampled_curves": (in_three_values, "aupro_0.30", aupro_of_resampled_curves),
    "aupro_200_thresholds": (longer_tailed, "aupro_0.30", lambda test: aupro_by_steps(test, 200)),
    "aupro_500_thresholds": (longer_tailed, "aupro_0.30", lambda test: aupro_by_steps(test, 500)),
    "aupro_not_cut": (long_tailed, "aupro_0.30", lambda test: aupro(test, 1.0)),
    "aupro_not_cut_200_thresholds": (long_tailed, "aupro_0.30", lambda test: float(auc(*by_steps(test, 200)))),
    "aupro_mean_of_images": (long_tailed, "aupro_0.30", aupro_of_images),
    "defective_images": (long_tailed, "aupro_0.30", lambda test: aupro(test.only(test.defects))),
    "f1max_21_thresholds": (long_tailed, "pixel_f1max", f1_at_21),
    "pixel_ap_trapezoid": (in_three_values, "pixel_ap", lambda test: ap_by_trapezoids(*test.pooled())),
    "masks_cut": (
        a_third_of_the_size,
        "pixel_auroc",
        lambda t: pixel_auroc(resized(t, lambda m, s: bilinear(m, s) == 1)),
    ),
    "masks_cut_by_opencv": (
        a_third_of_the_size,
        "pixel_auroc",
        lambda test: pixel_auroc(resized(test, lambda m, s: (cv2.resize(np.asarray(m), s) / 255).astype(np.uint8) > 0)),
    ),
    "masks_half": (
        a_third_of_the_size,
        "pixel_auroc",
        lambda t: pixel_auroc(resized(t, lambda m, s: bilinear(m, s) > 0.5)),
    ),
    "masks_nearest": (
        a_third_of_the_size,
        "pixel_auroc",
        lambda test: pixel_auroc(resized(test, lambda m, s: np.asarray(m.resize(s, Image.Resampling.NEAREST)) > 0)),
    ),
    "masks_half + aupro_200_thresholds": (
        a_third_of_the_size,
        "aupro_0.30",
        lambda test: aupro_by_steps(resized(test, lambda m, s: bilinear(m, s) > 0.5), 200),
    ),
    "maps_normalised_each": (long_tailed, "pixel_auroc", lambda test: pixel_auroc(test.changed(stretched))),
    "scores_clamped": (short_tailed, "pixel_auroc", lambda test: pixel_auroc(test.changed(lambda v: np.clip(v, 0, 1)))),
    "scores_sigmoid": (
        lambda mask, rng: long_tailed(mask, rng) * 40,
        "image_auroc",
        lambda test: float(roc_auc_score(test.defects, sigmoid(maxima(test) / 40))),
    ),
    "image_score_maximum": (long_tailed, "image_auroc", lambda test: float(roc_auc_score(test.defects, maxima(test)))),
    "image_score_mean": (
        long_tailed,
        "image_ap",
        lambda test: float(average_precision_score(test.defects, [v.mean(dtype=float) for v in test.maps])),
    ),
    "threshold_of_best_f1": (short_tailed, "image_accuracy", accuracy_at_best_f1),
    "threshold_of_best_accuracy": (short_tailed, "image_accuracy", best_accuracy),
    "image_ap_trapezoid": (long_tailed, "image_ap", lambda test: ap_by_trapezoids(test.defects, maxima(test))),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verified") / "parts"
    write_category(root, "bottle", side=30, good=5, defects={"blob": 4, "scratch": 4}, train=2)
    return root


def verified(bench: Any, root: Path, test: Test, *options: str) -> dict[str, Any]:
    """What `bench verify --json` says of these maps."""
    maps = write_tiffs(test, Path("maps"))
    done = bench("verify", maps, "--category", "bottle", "--data", "folder", "--data.root", root, *options, "--json")
    assert done.status == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("protocol", CLAIMS)
def test_a_figure_of_each_protocol_is_recognised(protocol: str, bench: Any, root: Path, tmp_path: Path):
    make, metric, compute = CLAIMS[protocol]
    test = make_maps(root, "bottle", make)
    options = ["--claimed", f"{metric}={compute(test):.6f}"]
    if metric == "image_accuracy":
        options += ["--threshold", "0"]  # everything is called defective
    if protocol == "image_score_maximum":  # the scores that were given are others
        rows = [f"{name}.png,{values.mean()}" for name, values in zip(test.names, test.maps, strict=True)]
        Path("scores.csv").write_text("\n".join(["path,score", *rows]), encoding="utf-8")
        options += ["--scores", "scores.csv"]
    claim = verified(bench, root, test, *options)["claims"][0]
    assert abs(claim["exact"] - claim["claimed"]) > FAR
    by_name = {each["protocol"]: each for each in claim["reproduced_by"]}
    assert by_name[protocol]["figure"] == pytest.approx(compute(test), abs=5e-5)
    assert by_name[protocol]["difference"] == pytest.approx(claim["claimed"] - claim["exact"], abs=1e-4)
    assert "exact" not in by_name


def test_a_protocol_that_has_no_figure_on_these_maps_is_named(bench: Any, root: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("bench.verification.resampled_curves.MOST_OF_A_CURVE", 10)
    maps = write_tiffs(make_maps(root, "bottle", long_tailed), Path("maps"))
    done = bench("verify", maps, "--category", "bottle", "--data", "folder", "--data.root", root)
    assert "bench: no AUPRO@0.30 under aupro_resampled_curves: not defined on these maps, or too many" in done.stderr


def test_no_protocol_is_without_a_claim_of_its_own():
    kinds = (OF_PIXELS, OF_MASKS, OF_MAPS, OF_SCORES, OF_IMAGES)
    assert {each.name for kind in kinds for each in kind} <= CLAIMS.keys()


def test_each_protocol_says_in_a_sentence_what_it_does_and_where_that_was_read():
    for kind in (OF_PIXELS, OF_MASKS, OF_MAPS, OF_SCORES, OF_IMAGES):
        for each in kind:
            assert each.about.endswith(".") and each.source, each.name


def test_exact_figures_are_those_of_scikit_learn_and_of_the_full_curve(bench: Any, root: Path):
    for make in (long_tailed, in_few_values):
        test = make_maps(root, "bottle", make)
        labels, scores = test.pooled()
        found = verified(bench, root, test, "--name", make.__name__)["metrics"]
        precision, recall, _ = precision_recall_curve(labels, scores)
        expected = {
            "image_auroc": roc_auc_score(test.defects, maxima(test)),
            "image_ap": average_precision_score(test.defects, maxima(test)),
            "pixel_auroc": roc_auc_score(labels, scores),
            "pixel_ap": average_precision_score(labels, scores),
            "pixel_f1max": np.nanmax(2 * precision * recall / np.maximum(precision + recall, 1e-12)),
            "aupro_0.30": aupro(test),
            "aupro_0.05": aupro(test, 0.05),
        }
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-9)


def test_figures_of_a_given_threshold_are_those_of_scikit_learn(bench: Any, root: Path):
    test = make_maps(root, "bottle", long_tailed)
    threshold = float(np.median(maxima(test)))
    found = verified(bench, root, test, "--threshold", repr(threshold))["metrics"]
    called = maxima(test) > threshold
    assert found["image_accuracy"] == pytest.approx(accuracy_score(test.defects, called))
    assert found["image_precision"] == pytest.approx(precision_score(test.defects, called))


def test_maps_of_another_size_are_resized_to_their_masks_as_in_the_test_of_a_run(bench: Any, root: Path):
    test = make_maps(root, "bottle", a_third_of_the_size)
    resize = torch.nn.functional.interpolate
    fitted = [
        resize(torch.from_numpy(values)[None, None], size=mask.shape, mode="bilinear", align_corners=False)[
            0, 0
        ].numpy()
        for values, mask in zip(test.maps, test.masks, strict=True)
    ]
    found = verified(bench, root, test)["metrics"]
    assert found["pixel_auroc"] == pytest.approx(pixel_auroc(Test(test.names, test.masks, fitted)), abs=1e-9)


def test_protocols_that_change_nothing_are_left_out(bench: Any, root: Path):
    names = {each["name"] for each in verified(bench, root, make_maps(root, "bottle", long_tailed))["protocols"]}
    assert not any("masks" in name for name in names)
    assert "image_score_maximum" not in names  # it is the exact score here
    assert "aupro_200_thresholds" in names


def test_scores_between_0_and_1_are_changed_by_no_sigmoid_and_no_clamp(bench: Any, root: Path):
    test = make_maps(root, "bottle", lambda mask, rng: stretched(long_tailed(mask, rng)))
    names = {each["name"] for each in verified(bench, root, test)["protocols"]}
    assert not {"scores_sigmoid", "scores_clamped"} & names


def test_overlaps_of_the_reference_rise_to_one():
    test = Test(["bottle/test/blob/000"], [np.eye(3, dtype=bool)], [np.arange(9, dtype=np.float32).reshape(3, 3)])
    rates, found = overlaps(test, np.array([-1.0, 8.0]))
    assert (rates.tolist(), found.tolist()) == ([1, 0], [1, 0])


def test_the_page_names_each_protocol():
    page = (Path(__file__).parents[2] / "docs/verify.md").read_text(encoding="utf-8")
    for kind in (OF_PIXELS, OF_MASKS, OF_MAPS, OF_SCORES, OF_IMAGES):
        assert [each.name for each in kind if f"`{each.name}`" not in page] == []
