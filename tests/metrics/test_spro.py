"""sPRO: worked examples, and an independent reference that follows MVTec's definition threshold by threshold."""

from datetime import timedelta

import numpy as np
import pytest
import torch

from bench.metrics.spro import GOOD, LargestScores, SaturatedOverlap
from spro_reference import reference

LOGICAL, STRUCTURAL = 1, 2


def _pixels(images) -> dict[int, int]:
    pixels = {GOOD: 0, LOGICAL: 0, STRUCTURAL: 0}
    for scores, kind, _ in images:
        pixels[kind] += scores.size
    return pixels


def measured(images, limit: float = 0.05) -> dict[int, float]:
    overlap = SaturatedOverlap(_pixels(images), limit)
    for scores, kind, defects in images:
        overlap.update(scores, kind, defects)
    return overlap.compute()


def _random_images(seed: int, levels: int | None):
    """Good and defective maps; with `levels`, of so few different scores that most are equal to others."""
    rng = np.random.default_rng(seed)
    images = []
    for kind in (GOOD, LOGICAL, STRUCTURAL) * 3:
        shape = tuple(rng.integers(6, 12, 2))
        scores = rng.normal(size=shape)
        defects = []
        for _ in range(rng.integers(1, 4) if kind else 0):
            mask = np.zeros(shape, bool)
            top, left = rng.integers(0, 5, 2)
            mask[top : top + rng.integers(1, 5), left : left + rng.integers(1, 5)] = True
            scores[mask] += rng.uniform(0, 2)
            defects.append((mask, int(rng.integers(1, mask.sum() + 1))))
        if levels:
            scores = np.round(scores * levels / 6) * 6 / levels
        images.append((scores.astype(np.float32), kind, defects))
    return images


def _map(rows) -> np.ndarray:
    return np.array(rows, np.float32)


def test_a_defect_is_found_whole_once_its_saturation_area_is_found():
    mask = np.array([[True, True, True, True, False, False, False, False, False, False]])
    # Two of its four pixels lie above all normal ones, two below them.
    scores = _map([[9, 8, 0, 0, 5, 4, 3, 2, 1.5, 1]])
    assert measured([(scores, LOGICAL, [(mask, 2)])], 0.5) == {LOGICAL: 1.0}
    assert measured([(scores, LOGICAL, [(mask, 4)])], 0.5)[LOGICAL] == pytest.approx(0.5)


def test_what_is_found_late_counts_from_its_false_positive_rate_on():
    mask = np.array([[True, True, False, False, False, False]])
    scores = _map([[6, 3.5, 5, 4, 3, 2]])  # half found at once, the rest behind two of four normal pixels
    assert measured([(scores, LOGICAL, [(mask, 2)])], 1.0)[LOGICAL] == pytest.approx(0.5 + 0.5 * 0.5)
    assert measured([(scores, LOGICAL, [(mask, 2)])], 0.5)[LOGICAL] == pytest.approx(0.5)
    assert measured([(scores, LOGICAL, [(mask, 1)])], 0.5)[LOGICAL] == pytest.approx(1.0)


def test_equal_scores_of_a_defect_and_of_normal_pixels_move_along_a_line():
    mask = np.array([[True, True, False, False]])
    scores = _map([[1, 1, 1, 0]])  # one threshold takes the whole defect and half of the normal pixels
    assert measured([(scores, LOGICAL, [(mask, 2)])], 0.5)[LOGICAL] == pytest.approx(0.5)
    assert measured([(scores, LOGICAL, [(mask, 2)])], 0.25)[LOGICAL] == pytest.approx(0.25)
    assert measured([(scores, LOGICAL, [(mask, 1)])], 0.5)[LOGICAL] == pytest.approx(0.5)


def test_a_pixel_of_any_defect_is_no_false_positive():
    first = np.array([[True, False, False, False]])
    second = np.array([[False, True, False, False]])
    scores = _map([[9, 8, 1, 0]])
    assert measured([(scores, LOGICAL, [(first, 1), (second, 1)])])[LOGICAL] == 1.0
    assert measured([(scores, LOGICAL, [(second, 1)])], 0.5)[LOGICAL] < 1.0


def test_each_defect_weighs_alike_whatever_its_area():
    large, small = np.zeros((1, 20), bool), np.zeros((1, 20), bool)
    large[0, :9], small[0, 9] = True, True
    scores = np.concatenate([np.full(9, 5.0), [0.0], np.linspace(1, 2, 10)]).astype(np.float32)[None]
    assert measured([(scores, LOGICAL, [(large, 9), (small, 1)])])[LOGICAL] == pytest.approx(0.5)


def test_a_kind_is_scored_among_good_images_and_its_own():
    mask = np.array([[True, False, False, False]])
    images = [
        (_map([[0, 0, 0, 0]]), GOOD, []),
        (_map([[5, 1, 1, 1]]), LOGICAL, [(mask, 1)]),
        (_map([[0, 9, 9, 9]]), STRUCTURAL, [(mask, 1)]),  # its false positives are not the other kind's
    ]
    assert measured(images, 0.3) == {LOGICAL: 1.0, STRUCTURAL: pytest.approx(0.0)}


@pytest.mark.parametrize("levels", [None, 40, 5])
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_every_threshold_together_gives(seed, limit, levels):
    images = _random_images(seed, levels)
    found = measured(images, limit)
    assert found.keys() == {LOGICAL, STRUCTURAL}
    for kind, value in found.items():
        assert value == pytest.approx(reference(images, kind, limit), abs=1e-12)


def test_the_order_of_the_images_changes_no_bit():
    images = _random_images(7, 12)
    assert measured(images) == measured(images[::-1])


def test_defects_that_lie_above_all_else_give_one_and_no_more():
    rng = np.random.default_rng(1)
    for area in range(1, 60):
        mask = np.arange(100)[None] < area
        scores = rng.normal(size=(1, 100)).astype(np.float32) + np.float32(99) * mask
        assert measured([(scores, LOGICAL, [(mask, area)] * 7)])[LOGICAL] == pytest.approx(1.0, abs=1e-12)
        assert measured([(scores, LOGICAL, [(mask, area)] * 7)])[LOGICAL] <= 1


def test_where_no_pixel_is_normal_it_is_not_defined():
    mask = np.ones((2, 2), bool)
    assert np.isnan(measured([(_map([[1, 2], [3, 4]]), LOGICAL, [(mask, 4)])])[LOGICAL])


@pytest.mark.parametrize(
    ("kind", "defects", "words"),
    [
        (LOGICAL, [], "a defective image has defects"),
        (GOOD, [(np.ones((2, 2), bool), 1)], "a good one has none"),
        (LOGICAL, [(np.ones((2, 3), bool), 1)], "shape of the map"),
        (LOGICAL, [(np.ones((2, 2), bool), 5)], "saturation area lies within"),
        (LOGICAL, [(np.ones((2, 2), bool), 0)], "saturation area lies within"),
    ],
)
def test_what_cannot_be_meant_is_refused(kind, defects, words):
    with pytest.raises(ValueError, match=words):
        SaturatedOverlap({GOOD: 4, LOGICAL: 4}).update(np.zeros((2, 2), np.float32), kind, defects)


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="finite"):
        SaturatedOverlap({GOOD: 4}).update(np.full((2, 2), np.nan, np.float32), GOOD, [])


def test_more_pixels_than_were_said_are_refused():
    overlap = SaturatedOverlap({GOOD: 4, LOGICAL: 4}, 0.5)
    for _ in range(3):
        overlap.update(np.zeros((2, 2), np.float32), GOOD, [])
    overlap.update(np.zeros((2, 2), np.float32), LOGICAL, [(np.eye(2, dtype=bool), 1)])
    with pytest.raises(ValueError, match="more than the images of this kind"):
        overlap.compute()


@pytest.mark.parametrize("levels", [3, 30, 10**6])
def test_counts_of_the_largest_scores_are_exact_as_far_as_they_matter(levels):
    rng = np.random.default_rng(levels)
    scores = rng.integers(0, levels, 5000).astype(np.float32)
    largest = LargestScores(keep=200)
    for part in np.array_split(np.sort(scores) if levels == 30 else scores, 40):
        largest.add(part)
    asked = np.unique(np.concatenate([scores, scores + 0.5]))
    above, at_or_above = largest.counts(asked)
    for value, one, other in zip(asked, above, at_or_above, strict=True):
        for count, exact in ((one, (scores > value).sum()), (other, (scores >= value).sum())):
            assert count == exact if exact < 200 else count >= 200
    assert largest.total == 5000


def test_memory_is_a_share_of_the_pixels():
    rng = np.random.default_rng(0)
    overlap = SaturatedOverlap({GOOD: 100 * 10_000, LOGICAL: 10_000})
    for number in range(100):
        overlap.update(rng.normal(number, 1, (100, 100)).astype(np.float32), GOOD, [])  # each above all before
        assert overlap._normal[GOOD].size <= 2 * (0.05 * 101 * 10_000 + 1) + 10_000


def _share(images, rank: int):
    """What two processes see: uneven shares; only good images on one; nothing on one."""
    good = [image for image in images if image[1] == GOOD]
    shares = [(images[:7], images[7:]), ([each for each in images if each[1]], good), (images, [])]
    return [share[rank] for share in shares]


def _computed_on(rank: int, folder, seed: int, levels: int | None):
    meeting = {"init_method": f"file://{folder}/meeting", "timeout": timedelta(minutes=2)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, **meeting)
    try:
        images, found = _random_images(seed, levels), []
        for share in _share(images, rank):
            overlap = SaturatedOverlap(_pixels(images))
            for scores, kind, defects in share:
                overlap.update(scores, kind, defects)
            overlap.gather(torch.device("cpu"))
            found.append(overlap.compute() if rank == 0 else None)
        return found
    finally:
        torch.distributed.destroy_process_group()


def _second_process(_, *arguments):
    _computed_on(1, *arguments)


@pytest.mark.parametrize("levels", [None, 5])
def test_two_processes_give_the_figures_of_one_to_the_bit(tmp_path, levels):
    second = torch.multiprocessing.spawn(_second_process, args=(tmp_path, 3, levels), nprocs=1, join=False)
    results = _computed_on(0, tmp_path, 3, levels)
    assert second.join(timeout=60)
    assert results == [measured(_random_images(3, levels))] * 3
