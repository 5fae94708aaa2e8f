"""What is known of a dataset by the name in a record."""

import subprocess
import sys

import pytest

from bench.config.presets import DEFAULT_DATA, owner_of, preset_names, read_preset
from bench.data.datasets.mvtec_ad_facts import mvtec_categories
from bench.data.facts import known_categories
from bench.records.published import DATASET, groups


def test_published_means_are_over_the_categories_of_their_dataset():
    known = known_categories(DATASET)
    assert set(groups()["mean"]) == set(known)
    assert set(groups()["textures"]) == {name for name, facts in known.items() if facts.group == "texture"}


@pytest.mark.parametrize("category", ["screw", "carpet"])
def test_a_drawn_category_may_be_turned_as_the_one_that_it_shows(category):
    drawn, shown = known_categories("synthetic")[category], mvtec_categories()[category]
    assert (drawn.group, drawn.aligned, drawn.symmetry) == (shown.group, shown.aligned, shown.symmetry)
    assert drawn.published is None


def test_nothing_is_known_of_a_dataset_that_is_none_of_ours():
    assert owner_of("bottles") == ""
    assert known_categories("bottles") == {}


def test_only_the_datasets_own_room_names_its_owner():
    assert owner_of(DEFAULT_DATA) == "MVTec"
    owned = {name: owner for name in preset_names("data") if (owner := read_preset("data", name).owner)}
    assert owned == {
        "btad": "beanTech",
        "elpv": "ZAE Bayern",
        "mvtec_ad": "MVTec",
        "mvtec_ad_2": "MVTec",
        "mvtec_loco": "MVTec",
        "visa": "Amazon",
    }


def test_tables_know_of_datasets_without_torch():
    code = "import sys; from bench.data.facts import known_categories; known_categories('elpv'); "
    code += "known_categories('mvtec_ad'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
