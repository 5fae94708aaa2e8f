"""Dividing labelled images: caps, folds, and what a split cannot tell."""

import numpy as np
import pytest
from scipy.stats import beta

from bench.data.datasets.mvtec_ad_facts import mvtec_published
from bench.data.folds import assign_folds, choose_per_class, describe_limits, stratify
from bench.errors import UsageError


def _types(**counts: int) -> list[str]:
    """Classes in a mixed order."""
    types = [name for name, count in counts.items() for _ in range(count)]
    return np.random.default_rng(7).permutation(types).tolist()


def _table(types, assigned, folds: int) -> np.ndarray:
    """(classes, folds) numbers of images."""
    names = sorted(set(types))
    table = np.zeros((len(names), folds), int)
    np.add.at(table, ([names.index(each) for each in types], assigned), 1)
    return table


def test_a_cap_keeps_so_many_images_of_each_class_in_their_order():
    types = _types(good=50, cut=9, hole=3)
    chosen = choose_per_class(types, 5, seed=0)
    assert chosen == sorted(set(chosen))
    assert {name: [types[i] for i in chosen].count(name) for name in set(types)} == {"good": 5, "cut": 5, "hole": 3}


def test_without_a_cap_all_images_stay():
    assert choose_per_class(_types(good=5, cut=3), None, seed=0) == list(range(8))


def test_a_cap_draws_by_the_seed_and_a_smaller_cap_from_a_larger():
    types = _types(good=50, cut=20)
    first, again, other = (choose_per_class(types, 10, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert set(choose_per_class(types, 4, seed=0)) < set(first)


def test_twenty_images_of_each_of_six_classes_are_four_in_each_of_five_folds():
    types = _types(a=20, b=20, c=20, d=20, e=20, good=20)
    assert (_table(types, assign_folds(types, range(120), 5, seed=0), 5) == 4).all()


@pytest.mark.parametrize("seed", range(20))
def test_no_fold_has_two_images_of_a_class_or_two_in_all_more_than_another(seed):
    rng = np.random.default_rng(seed)
    folds = int(rng.integers(2, 8))
    counts = {f"type{i}": int(rng.integers(2, 40)) for i in range(rng.integers(2, 10))}
    types = _types(**counts)
    table = _table(types, assign_folds(types, range(len(types)), folds, seed), folds)
    assert np.ptp(table, axis=1).max() <= 1
    assert np.ptp(table.sum(axis=0)) <= 1


@pytest.mark.parametrize("category", sorted(mvtec_published()))
def test_every_category_of_mvtec_has_every_type_in_every_of_five_folds(category):
    facts = mvtec_published()[category]
    types = _types(good=facts.train_good + facts.test_good, **facts.defect_types)
    assert (_table(types, assign_folds(types, range(len(types)), 5, seed=0), 5) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_images_of_one_group_are_never_parted_and_classes_stay_balanced(seed):
    types = _types(good=200, cut=30, hole=20)
    rng = np.random.default_rng(seed)
    groups = np.arange(250)
    for _ in range(40):  # groups of two and more, of several classes as well
        groups[rng.integers(250)] = groups[rng.integers(250)]
    assert len(set(groups)) < 230
    assigned = assign_folds(types, groups, 5, seed)
    assert all(len(set(assigned[groups == group])) == 1 for group in set(groups))
    assert np.ptp(_table(types, assigned, 5), axis=1).max() <= 2


def test_a_large_group_takes_the_place_of_as_many_single_images():
    types = ["good"] * 40 + ["cut"] * 10
    groups = np.arange(50)
    groups[:8] = 0
    assigned = assign_folds(types, groups, 5, seed=0)
    assert len(set(assigned[:8])) == 1
    assert (_table(types, assigned, 5) == [[2], [8]]).all()


def test_folds_depend_on_the_seed_alone():
    types = _types(good=40, cut=10)
    first, again, other = (assign_folds(types, range(50), 5, seed) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_folds_do_not_follow_the_order_of_the_images():
    types = ["good"] * 100 + ["cut"] * 100
    assigned = assign_folds(types, range(200), 2, seed=0)
    runs = np.count_nonzero(np.diff(assigned)) + 1
    assert 80 < runs < 120  # of 200 tosses of a coin about half begin a new run


@pytest.mark.parametrize(
    ("types", "groups", "folds", "words"),
    [
        (["good"] * 10, range(10), 5, "need defect images beside good"),
        (["good"] * 10 + ["cut"], range(11), 5, "only one image in test/cut: it cannot be both learned and tested"),
        (["good"] + ["cut"] * 9, range(10), 5, "only one image in train/good and test/good"),
        (["good"] * 2 + ["cut"] * 2, range(4), 5, "4 images cannot be divided into --data.folds 5"),
        (["good"] * 2 + ["cut"] * 2, range(4), 1, "--data.folds 1 is less than 2"),
        (["good"] * 10 + ["cut"] * 3, [*range(10), 11, 11, 11], 5, "the 3 images in test/cut are one photograph"),
        (["good"] * 5 + ["cut"] * 5, [0, 0, 0, 1, 1, 2, 2, 2, 3, 3], 5, "fewer different photographs than"),
    ],
)
def test_what_cannot_be_learned_and_tested_is_refused(types, groups, folds, words):
    with pytest.raises(UsageError, match=words) as caught:
        assign_folds(types, groups, folds, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", range(3, 40))
def test_shares_are_rounded_by_sainte_lague(count):
    shares = (0.713, 0.178, 0.109)
    dealt = np.bincount(stratify(["good"] * count, range(count), 3, seed=0, shares=shares), minlength=3)
    seats = np.zeros(3, int)
    for _ in range(count):  # each seat to the part whose quotient is highest
        seats[np.argmax(np.array(shares) / (2 * seats + 1))] += 1
    assert dealt.tolist() == seats.tolist()


def test_a_part_of_the_images_can_be_dealt_whatever_it_holds():
    assert sorted(stratify(["good", "good", "cut"], range(3), 5, seed=0)) == [0, 1, 2]


def test_small_classes_are_told_with_the_interval_of_a_recall_of_three_quarters():
    lines = describe_limits(_types(good=100, color=8, cut=20), folds=5)
    assert lines == ["color has 8 images: a recall of .75 (6 of 8) has a 95 % interval of .35 to .97"]


@pytest.mark.parametrize("count", range(2, 20))
def test_the_interval_is_clopper_and_pearsons(count):
    found = round(0.75 * count)
    low = beta.ppf(0.025, found, count - found + 1)
    high = beta.ppf(0.975, found + 1, count - found) if found < count else 1.0
    bounds = describe_limits(_types(color=count), folds=2)[0].split(" interval of ")[1].split(" to ")
    assert [float(bound) for bound in bounds] == pytest.approx([low, high], abs=0.00501)


def test_folds_without_an_image_of_a_class_are_told():
    assert "x has 3 images: at least 2 of 5 folds test none" in describe_limits(_types(good=100, x=3), folds=5)
