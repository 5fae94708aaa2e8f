"""Differences to the best method of a category, over the same images and seeds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.leaderboard.aggregate import Row, aggregate
from bench.leaderboard.collect import collect
from bench.leaderboard.paired import (
    Compared,
    image_auroc_difference,
    mean_auroc,
    metric_differences,
    pair,
    read_predictions,
)
from fake_records import make_record, write_record

TYPES = {"good": 20, "scratch": 12, "hole": 8}


@pytest.fixture
def runs(own_folder: Path) -> Path:
    return own_folder / "runs"


def draw(model: str, seed: int, strength: float) -> dict[str, list[float]]:
    rng = np.random.default_rng([seed, *model.encode()])
    return {kind: (rng.normal(size=n) + strength * (kind != "good")).tolist() for kind, n in TYPES.items()}


def write(runs: Path, model: str, seed: int, strength: float) -> Path:
    return write_record(runs, make_record(model, seed=seed), draw(model, seed, strength))


def rows(runs: Path) -> dict[str, Row]:
    (found,) = aggregate(collect([runs]).sources).values()
    return {row.method.model: row for row in found}


def test_the_difference_is_the_mean_over_the_seeds_that_both_have(runs):
    for seed in (0, 1, 2):
        write(runs, "best", seed, 3.0)
    for seed in (1, 2, 7):
        write(runs, "other", seed, 1.0)
    found = rows(runs)
    result = image_auroc_difference(found["best"], found["other"])
    assert result.seeds == (1, 2)
    by_seed = {name: row.by_seed("image_auroc") for name, row in found.items()}
    expected = np.mean([by_seed["other"][seed] - by_seed["best"][seed] for seed in (1, 2)])
    assert result.difference.value == pytest.approx(expected, abs=1e-12)
    assert result.difference.low <= expected <= result.difference.high < 0


def test_a_method_compared_with_the_same_predictions_differs_by_nothing(runs):
    for model in ("one", "same"):
        write_record(runs, make_record(model), draw("one", 0, 1.0))
    found = rows(runs)
    assert tuple(image_auroc_difference(found["one"], found["same"]).difference) == (0, 0, 0)


def test_images_are_resampled_in_pairs_and_not_apart(runs):
    """Two methods that rank almost alike: apart, their intervals are wide, and the difference's is not."""
    scores = draw("one", 0, 1.0)
    write_record(runs, make_record("one"), scores)
    write_record(runs, make_record("alike"), {**scores, "hole": [score - 0.05 for score in scores["hole"]]})
    found = rows(runs)
    _, low, high = image_auroc_difference(found["one"], found["alike"]).difference
    predictions = read_predictions(next((runs / "one").rglob("record.json")).parent)
    rng = np.random.default_rng(0)
    alone = mean_auroc(
        predictions.scores[:, None], predictions.defect_types, rng.integers(40, size=(500, len(predictions.scores)))
    )
    assert high - low < 0.2 * np.ptp(np.quantile(alone, (0.025, 0.975)))


@pytest.mark.parametrize(
    ("seeds", "words"), [((3,), "no seed in common with the best"), ((0,), "no predictions beside a record")]
)
def test_where_there_is_no_difference_the_reason_is_given(seeds, words, runs):
    write(runs, "best", 0, 3.0)
    for seed in seeds:
        write_record(runs, make_record("other", seed=seed, auroc=0.5))
    found = rows(runs)
    assert image_auroc_difference(found["best"], found["other"]) == words


def test_images_are_matched_by_content_whatever_their_order_and_names(runs):
    one, other = (read_predictions(write(runs, model, 0, 1.0)) for model in ("one", "other"))
    file = next((runs / "other").rglob("predictions.csv"))
    header, *lines = file.read_text().splitlines()
    shuffled = file.parent / "elsewhere"
    shuffled.mkdir()
    text = [line.replace("/test/", "/renamed/") for line in reversed(lines)]
    (shuffled / "predictions.csv").write_text("\n".join([header, *text]) + "\n")
    again = read_predictions(shuffled)
    expected, found = pair(one, other), pair(one, again)
    assert tuple(found.before.scores) == tuple(expected.before.scores)
    assert tuple(found.after.scores) == tuple(expected.after.scores)


def test_of_copies_of_one_image_those_of_one_path_are_paired(runs):
    """A run that lacks the first of two copies is not compared with the first copy's score."""
    both = read_predictions(write(runs, "one", 0, 1.0))
    both = replace(both, hashes=(both.hashes[0],) * 2 + both.hashes[2:])
    both = replace(both, defect_types=np.array(["good", "good", *both.defect_types[2:]]))
    fewer = both[np.arange(1, len(both))]
    found = pair(both, fewer)
    assert found.before.paths == found.after.paths == both.paths[1:]


def test_the_table_shows_difference_and_interval_and_which_seeds_they_are_of(bench, runs):
    for seed in (0, 1):
        write(runs, "best", seed, 3.0)
    write(runs, "other", 1, 1.0)
    assert bench("leaderboard", "runs").status == 0
    text = Path("leaderboards/mvtec_ad-one-class.md").read_text()
    assert "| best |" in text
    found = rows(runs)
    value, low, high = image_auroc_difference(found["best"], found["other"]).difference
    assert f"| {value:+.3f} [{low:+.3f}, {high:+.3f}]† |" in text
    assert "over the seeds that both have: 1 (other)." in text


def test_no_bootstrap_leaves_the_intervals_out(bench, runs):
    write(runs, "best", 0, 3.0)
    write(runs, "other", 0, 1.0)
    assert bench("leaderboard", "runs", "--no-bootstrap").status == 0
    assert "to the best" not in Path("leaderboards/mvtec_ad-one-class.md").read_text().lower()


def compared(runs: Path, seed: int, images: slice) -> Compared:
    """The runs of one seed, `one` and `other`, as if they had predicted only some of the images."""
    sources = {(source.record.model, source.record.seed): source for source in collect([runs]).sources}
    both = [sources[model, seed] for model in ("one", "other")]
    chosen = np.arange(sum(TYPES.values()))[images]
    before, after = (read_predictions(source.folder)[chosen] for source in both)
    return Compared((both[0].record, both[1].record), pair(before, after))


@pytest.fixture
def two_seeds(runs: Path) -> Path:
    for seed in (0, 1):
        for model, strength in (("one", 1.0), ("other", 2.0)):
            write_record(runs, make_record(model, seed=seed), draw(model, 0, strength))
    return runs


def test_seeds_that_repeat_each_other_make_an_interval_no_narrower(two_seeds):
    alone = metric_differences([compared(two_seeds, 0, slice(None))], ["image_auroc"])["image_auroc"]
    twice = [compared(two_seeds, seed, slice(None)) for seed in (0, 1)]
    assert metric_differences(twice, ["image_auroc"])["image_auroc"] == alone


def test_seeds_with_other_images_draw_those_that_they_share_together(two_seeds):
    """Each half alone is less sure than both; halves of the same images are as sure as one of them."""

    def width(*parts: slice) -> float:
        found = metric_differences(
            [compared(two_seeds, seed, part) for seed, part in enumerate(parts)], ["image_auroc"]
        )
        _, low, high = found["image_auroc"]
        return high - low

    even, odd = slice(0, None, 2), slice(1, None, 2)
    assert width(even, even) == width(even)
    assert width(even, odd) < 0.9 * max(width(even), width(odd))


def test_the_difference_of_seeds_with_other_images_is_the_mean_of_theirs(two_seeds):
    parts = [compared(two_seeds, 0, slice(0, 30)), compared(two_seeds, 1, slice(10, 40))]
    alone = [metric_differences([part])["image_auroc"].value for part in parts]
    assert metric_differences(parts)["image_auroc"].value == pytest.approx(np.mean(alone), abs=1e-12)
