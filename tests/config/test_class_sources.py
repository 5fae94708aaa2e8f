"""What is read of a class without importing it is what the class is."""

import pytest

from bench.config.class_sources import read_source
from bench.config.presets import preset_names, read_preset
from bench.config.settings import _parser_of, flatten, setting_names


@pytest.mark.parametrize("name", preset_names("model"))
def test_settings_and_ways_of_learning_are_those_of_the_method(name):
    preset, data = read_preset("model", name), read_preset("data", "mvtec_ad")
    source, method = read_source(preset), preset.load_class()
    assert source is not None
    assert setting_names(preset, data) == set(flatten(_parser_of(method, data.load_class()).get_defaults().as_dict()))
    assert (source.is_trained(), source.track) == (method.is_trained(), method.track)
    assert all(setting.about for setting in source.settings.values())


@pytest.mark.parametrize("name", preset_names("data"))
def test_settings_are_those_of_the_dataset(name):
    preset, model = read_preset("data", name), read_preset("model", "vae")
    known = flatten(_parser_of(model.load_class(), preset.load_class()).get_defaults().as_dict())
    assert setting_names(model, preset) == known.keys()


@pytest.mark.parametrize("name", preset_names("launcher"))
def test_settings_are_those_of_the_launcher(name):
    preset = read_preset("launcher", name)
    source = read_source(preset)
    assert source is not None
    assert source.settings.keys() == preset.load_class().model_fields.keys()


def test_a_class_that_is_not_written_out_is_imported(tmp_path):
    """Its settings are found, if later."""
    (tmp_path / "made.py").write_text(
        "from bench.models.padim import PaDiM\nMade = type('Made', (PaDiM,), {'__module__': __name__})\n"
    )
    (tmp_path / "made.yaml").write_text("class_path: made.Made\n")
    preset = read_preset("model", str(tmp_path / "made.yaml"))
    assert read_source(preset) is None
    assert "model.backbone" in setting_names(preset, read_preset("data", "mvtec_ad"))
