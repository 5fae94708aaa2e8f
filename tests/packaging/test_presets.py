"""Every YAML in `conf/` and the class that it names say the same."""

import inspect
import re

import pytest
import yaml

from bench.config.presets import conf_folder, constructor_keywords, preset_names, read_preset, read_yaml
from bench.config.settings import Config, resolve
from bench.records.published import references

MODELS = preset_names("model")
DATASETS = preset_names("data")
LONGEST_LINE = 70  # `bench models` must fit a terminal


def resolved(model: str, data: str) -> Config:
    return resolve(model=model, data=data, category="screw", files=[], options={})


def test_there_are_models_and_datasets():
    assert {"padim", "vae"} <= set(MODELS)
    assert {"mvtec_ad", "synthetic"} <= set(DATASETS)


@pytest.mark.parametrize("name", MODELS)
def test_a_models_settings_are_its_constructors_keywords(name):
    preset = read_preset("model", name)
    assert set(preset.settings["model"]) == constructor_keywords(preset.load_class())


@pytest.mark.parametrize("name", MODELS)
def test_a_models_track_is_its_classs(name):
    preset = read_preset("model", name)
    assert preset.track == preset.load_class().track


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_what_it_is_in_one_line(name):
    preset = read_preset("model", name)
    assert preset.paper
    assert preset.about
    assert "\n" not in preset.about
    assert len(preset.about) <= LONGEST_LINE, f"{len(preset.about)} characters"


@pytest.mark.parametrize("name", MODELS)
def test_a_model_names_the_published_figures_to_compare_it_with_or_says_why_there_are_none(name):
    path = conf_folder() / "model" / f"{name}.yaml"
    named = read_yaml(path)["reference"]
    assert read_preset("model", name).reference == (None if named == "none" else named)
    assert named in {*references(), "none"}
    if named == "none":
        assert re.search(r"^reference: none  # \w+", path.read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_in_a_few_words_in_what_its_protocol_is_not_that_of_the_figures(name):
    preset = read_preset("model", name)
    assert len(preset.differs) <= LONGEST_LINE
    assert not (preset.differs and preset.reference is None), "nothing to differ from"
    if name.endswith("_paper"):  # the paper's protocol, but for a choice that its authors made on the test set
        assert preset.differs in ("", "the last epoch, not the best on the test set")


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_says_what_it_is_in_one_line(name):
    preset = read_preset("data", name)
    assert preset.about
    assert "\n" not in preset.about
    assert len(preset.about) <= LONGEST_LINE, f"{len(preset.about)} characters"


@pytest.mark.parametrize("name", MODELS)
def test_a_models_settings_have_the_types_of_its_constructor(name):
    config = resolved(name, "mvtec_ad")
    rates = [value for key, value in config.section("model").items() if key in ("learning_rate", "weight_decay")]
    assert all(type(rate) is float for rate in rates), "YAML reads 1e-3 as text; only typed parsing mends it"
    assert config.overrides == {}


@pytest.mark.parametrize("name", DATASETS)
def test_a_datasets_settings_are_its_constructors_keywords(name):
    preset = read_preset("data", name)
    assert set(preset.settings["data"]) <= set(inspect.signature(preset.load_class()).parameters)
    assert resolved("vae", name).data.class_path == preset.class_path


@pytest.mark.parametrize("name", MODELS)
def test_printed_settings_read_back_are_the_same(name):
    config = resolved(name, "synthetic")
    again = resolve(model=None, data=None, category=None, files=[yaml.safe_load(config.to_yaml())], options={})
    assert again.as_dict() == config.as_dict()
    assert again.overrides == {}
