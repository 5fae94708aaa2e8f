"""The roles of imported photos: shares, groups that stay together, and `split.csv`, which tells them again."""

import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.data.digests import file_sha256
from bench.data.importing.roles import SPLIT, Assigned, read_roles, split_text
from bench.data.importing.splitting import assign_roles, check_shares, join_groups
from bench.errors import UsageError
from fake_photos import write_photos

SHARES = check_shares(0.25, 0.25)


def dealt(groups, good, shares=SHARES, seed=0):
    return assign_roles(np.array(groups, np.int64), np.array(good, bool), shares, seed)


def test_forty_good_photos_are_halved_and_quartered():
    roles = dealt(range(46), [True] * 40 + [False] * 6)
    assert Counter(roles[:40]) == {"fit": 20, "calibration": 10, "test": 10}
    assert set(roles[40:]) == {"test"}


def test_the_seed_deals_other_photos_and_the_same_seed_the_same():
    assert dealt(range(40), [True] * 40, seed=1) == dealt(range(40), [True] * 40, seed=1)
    assert dealt(range(40), [True] * 40, seed=1) != dealt(range(40), [True] * 40, seed=2)


def test_a_role_without_a_share_gets_no_photo():
    assert Counter(dealt(range(10), [True] * 10, check_shares(0, 0))) == {"fit": 10}
    assert Counter(dealt(range(10), [True] * 10, check_shares(0.5, 0))) == {"fit": 5, "calibration": 5}


def test_a_good_photo_of_the_same_part_as_a_bad_one_is_tested():
    roles = dealt([*range(20), 3], [True] * 20 + [False])
    assert roles[3] == "test"
    assert Counter(roles[:20]) == {"fit": 10, "calibration": 5, "test": 5}


def test_a_part_with_many_photos_calibrates_as_often_as_any_other():
    """Otherwise the photos that set the threshold would not be drawn as those of the line are."""
    groups = [0] * 30 + list(range(1, 20))
    roles = [dealt(groups, [True] * len(groups), seed=seed) for seed in range(400)]
    assert 80 <= sum(each[0] == "calibration" for each in roles) <= 120  # 100 expected, 8.7 the standard deviation
    assert all(Counter(each)["calibration"] - 29 * (each[0] == "calibration") == 5 for each in roles)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_a_group_never_has_two_roles_and_bad_photos_are_tested(groups, bad, seed):
    good = [index >= bad for index in range(len(groups))]
    try:
        roles = dealt(groups, good, seed=seed)
    except UsageError:  # too few
        different = {group for group, is_good in zip(groups, good, strict=True) if is_good}
        tested = {group for group, is_good in zip(groups, good, strict=True) if not is_good}
        assert len(different - tested) < 4
        return
    for group in set(groups):
        assert len({role for role, own in zip(roles, groups, strict=True) if own == group}) == 1
    assert all(role == "test" for role, is_good in zip(roles, good, strict=True) if not is_good)
    assert {"fit", "calibration", "test"} <= set(roles)


def test_files_of_equal_content_join_the_groups_that_they_are_in():
    assert join_groups(np.array([5, 5, 1, 2, 3]), ["a", "b", "c", "c", "d"]).tolist() == [0, 0, 1, 1, 2]
    assert join_groups(np.array([5, 5, 1, 2, 3]), ["a", "b", "b", "c", "d"]).tolist() == [0, 0, 0, 1, 2]


@pytest.fixture
def category(tmp_path, bench) -> Path:
    """An imported category; two of its good photos are copies."""
    root = write_photos(tmp_path / "photos")
    shutil.copy(root / "good" / "003.png", root / "good" / "copy.png")
    assert bench("data", "import", root, "--name", "tablet").status == 0
    return tmp_path / "products" / "tablet"


def test_split_csv_tells_role_group_label_source_and_content_of_each_photo(category, tmp_path):
    photos = read_roles(category)
    assert len(photos) == 17
    assert {photo.role for photo in photos if photo.path.startswith("train/good/")} == {"fit", "calibration"}
    for photo in photos:
        assert (photo.path.split("/")[0] == "test") == (photo.role == "test")
        assert photo.path.split("/")[1] == photo.label
        assert file_sha256(category / photo.path) == photo.sha256
        assert (tmp_path / "photos" / photo.source).samefile(category / photo.path)
    groups = Counter(photo.group for photo in photos)
    twins = {photo.source for photo in photos if groups[photo.group] > 1}
    assert twins == {"good/003.png", "good/copy.png"}
    assert len({photo.role for photo in photos if groups[photo.group] > 1}) == 1


def test_paths_that_a_spreadsheet_takes_for_formulas_are_read_back(tmp_path):
    photo = Assigned("train/good/a.png", "fit", 0, "good", '=1+1, "x".png', "0" * 64)
    assert "'=1+1" in split_text([photo])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda text: text.replace(",fit,", ",learn,", 1), "no role 'learn'"),
        (lambda text: text.replace("role", "part", 1), "is damaged"),
        (lambda text: text.replace(",calibration,", ",test,", 1), "has the role 'test'"),
        (lambda text: text.replace(",0,", ",first,", 1), "is damaged"),
        (lambda text: "\n".join(text.split("\n")[:-2]) + "\n", "is not in"),
        (lambda text: text + "train/good/z.png,fit,99,good,z.png,0\n", "is missing, and named in"),
    ],
)
def test_a_split_that_does_not_fit_its_photos_is_refused(category, change, expected):
    file = category / SPLIT
    file.write_text(change(file.read_text()))
    with pytest.raises(UsageError, match=expected):
        read_roles(category)


def test_a_category_that_was_not_imported_has_no_roles(category):
    (category / SPLIT).unlink()
    with pytest.raises(UsageError, match="import them: bench data import PHOTOS"):
        read_roles(category)


def test_whether_a_photo_is_good_is_its_label(category):
    one = read_roles(category)[-1]
    assert one.is_good
    assert not replace(one, label="dent").is_good
