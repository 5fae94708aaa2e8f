"""Means over categories, and who is ranked over which of them."""

from pathlib import Path

import pytest

from bench.leaderboard.aggregate import Method, aggregate
from bench.leaderboard.collect import collect
from bench.leaderboard.standings import Ranking, rankings, shared_categories
from fake_records import make_record, write_record, write_seeds


@pytest.fixture
def runs(own_folder: Path) -> Path:
    return own_folder / "runs"


def rank(runs: Path) -> list[Ranking]:
    ((key, rows),) = aggregate(collect([runs]).sources).items()
    return rankings(key, rows)


def sets(**methods: str) -> dict[Method, set[str]]:
    return {Method(name, "", ""): set(letters) for name, letters in methods.items()}


@pytest.mark.parametrize(
    ("methods", "shared"),
    [
        (sets(one="abc", other="abc", third="ab"), "abc"),
        (sets(one="abc", other="ab"), "ab"),
        (sets(one="ab", other="bc", third="ca"), "a"),
        (sets(one="abc", other="abd", third="ab"), "ab"),
        (sets(one="abc"), "abc"),
        (sets(one="a", other="b"), ""),
    ],
    ids=["one lacks a category", "one has more", "a circle", "each has its own", "alone", "nothing in common"],
)
def test_ranked_over_the_largest_set_of_categories_that_two_methods_have(methods, shared):
    assert "".join(shared_categories(methods)) == shared


def test_spread_of_a_mean_over_categories_is_that_of_the_means_of_each_seed(runs):
    write_seeds(runs, (0.6, 0.8), category="screw")
    write_seeds(runs, (0.9, 0.7), category="bottle")  # good where the other is bad: the mean does not move
    (ranking,) = rank(runs)
    found = ranking.standings[0].macro("image_auroc", ranking.categories)
    assert (found.mean, found.std) == (pytest.approx(0.75), pytest.approx(0.0, abs=1e-15))


def test_seeds_that_a_category_lacks_are_in_the_mean_and_not_in_its_spread(runs):
    write_seeds(runs, (0.6, 0.8, 1.0), category="screw")
    write_seeds(runs, (0.4, 0.6), category="bottle")
    (ranking,) = rank(runs)
    found = ranking.standings[0].macro("image_auroc", ranking.categories)
    assert found.mean == pytest.approx((0.8 + 0.5) / 2)
    assert (found.std, found.count) == (pytest.approx(0.2 / 2**0.5), 2)


def test_textures_and_objects_have_means_of_their_own(runs):
    for category, auroc in {"carpet": 0.5, "wood": 0.7, "screw": 0.9}.items():
        write_seeds(runs, (auroc,), category=category)
    (ranking,) = rank(runs)
    found = {name: ranking.standings[0].macro("image_auroc", names).mean for name, names in ranking.groups().items()}
    assert found == pytest.approx({"textures": 0.6, "objects": 0.9, "mean": 0.7})


def test_mean_ranks_count_places_and_not_distances(runs):
    for category, aurocs in {"screw": (0.51, 0.50), "bottle": (0.61, 0.60), "wood": (0.50, 0.99)}.items():
        for model, auroc in zip(("often", "once"), aurocs, strict=True):
            write_record(runs, make_record(model, category, auroc=auroc))
    (ranking,) = rank(runs)
    assert [(s.method.model, s.mean_rank) for s in ranking.standings] == [
        ("often", pytest.approx(4 / 3)),
        ("once", pytest.approx(5 / 3)),
    ]


def test_a_method_that_lacks_a_category_stands_last_without_a_rank(runs):
    for model in ("one", "other"):
        for category in ("screw", "bottle"):
            write_record(runs, make_record(model, category, auroc=0.5))
    write_record(runs, make_record("best", "screw", auroc=0.99))
    (ranking,) = rank(runs)
    assert [s.method.model for s in ranking.ranked] == ["one", "other"]
    last = ranking.standings[-1]
    assert (last.method.model, last.mean_rank, last.macro("image_auroc", ranking.categories)) == ("best", None, None)


def test_a_category_on_two_sets_of_images_has_two_rankings(runs):
    for model, digest in (("one", "1" * 64), ("other", "1" * 64), ("one", "2" * 64)):
        write_record(runs, make_record(model, "screw", digest=digest))
    for model in ("one", "other"):
        write_record(runs, make_record(model, "bottle"))
    used, other = rank(runs)
    assert (used.digests["screw"], other.digests["screw"]) == ("1" * 64, "2" * 64)
    assert used.digests["bottle"] == other.digests["bottle"]
    assert [s.method.model for s in used.ranked] == ["one", "other"]
    assert all(row.digest == other.digests[row.category] for s in other.standings for row in s.rows.values())
