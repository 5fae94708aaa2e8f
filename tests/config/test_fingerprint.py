"""A fingerprint names all that decides a result, and nothing else."""

import inspect
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from lightning import Trainer

from bench.config.cell import PROTOCOL, Cell, encode_settings, fingerprint_of
from bench.config.decisive_settings import DECIDE_NOTHING
from bench.config.moved_classes import present_path
from bench.config.presets import preset_names, read_preset
from bench.config.settings import Config, _parser_of, flatten, resolve
from bench.data.layout import read_category
from bench.models.parts.weights import identify_weights
from bench.records.record import Record
from fake_data import SIDE, save, weave

COMMITTED = [
    Record.read(file) for file in sorted((Path(__file__).parents[2] / "leaderboards" / "records").rglob("record.json"))
]


def _config(model: str = "vae", **options: str) -> Config:
    named = {key.replace("__", "."): value for key, value in options.items()}
    return resolve(model=model, data=None, category="screw", files=[], options=named)


def _fingerprint(config: Config, digest: str = "content", weights: dict[str, str] | None = None) -> str:
    return Cell(config, digest, weights or {"source": "none"}).fingerprint


def _with(config: Config, section: str, key: str, value: object) -> Config:
    return replace(config, settings={**config.settings, section: {**config.settings[section], key: value}})


def test_a_fingerprint_is_16_hexadecimal_digits():
    found = _fingerprint(_config())
    assert len(found) == 16
    assert set(found) <= set("0123456789abcdef")


def test_the_same_cell_has_the_same_fingerprint():
    assert _fingerprint(_config()) == _fingerprint(_config())


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("data__root", "/elsewhere"),
        ("data__cache", "/elsewhere"),
        ("data__num_workers", "3"),
        ("trainer__devices", "2"),
        ("trainer__accelerator", "cpu"),
        ("trainer__num_nodes", "2"),
        ("trainer__strategy", "ddp"),
    ],
)
def test_places_workers_and_devices_do_not_count(option, value):
    assert _fingerprint(_config(**{option: value})) == _fingerprint(_config())


@pytest.mark.parametrize(
    ("option", "value", "other"),
    [
        ("seed", "0", "1"),
        ("protocol", "model", "full"),
        ("threshold_quantile", "0.99", "0.95"),
        ("patience", "null", "5"),
        ("trainer__max_epochs", "1", "2"),
        ("trainer__max_steps", "-1", "7"),
        ("trainer__precision", "32-true", "bf16-mixed"),
        ("trainer__deterministic", "warn", "false"),
        ("trainer__gradient_clip_val", "null", "1.0"),
        ("trainer__limit_train_batches", "1.0", "0.5"),
        ("data__image_size", "32", "64"),
        ("data__crop", "null", "24"),
        ("data__batch_size", "8", "16"),
        ("data__validation_share", "0.1", "0.2"),
        ("data__augmentation", "symmetries", "none"),
    ],
)
def test_what_decides_a_result_counts(option, value, other):
    assert _fingerprint(_config(**{option: value})) != _fingerprint(_config(**{option: other}))


@pytest.mark.parametrize("model", preset_names("model"))
def test_every_setting_of_every_method_counts(model):
    config = _config(model)
    found = [_fingerprint(config)]
    for key in config.settings["model"].keys() - {"weights"}:
        found.append(_fingerprint(_with(config, "model", key, "another value")))
    assert len(set(found)) == len(found)


def test_category_model_and_dataset_count():
    configs = [_config(), _config("autoencoder")]
    configs += [replace(configs[0], category="bottle"), replace(configs[0], data=replace(configs[0].data, name="mine"))]
    assert len({_fingerprint(config) for config in configs}) == 4


def test_the_content_of_the_data_counts(own_category):
    before = read_category(own_category.parent, "screw").digest
    save(weave(SIDE, "changed"), own_category / "test" / "good" / "000.png")
    after = read_category(own_category.parent, "screw").digest
    assert _fingerprint(_config(), before) != _fingerprint(_config(), after)


def test_the_content_of_a_weights_file_counts_and_not_its_name():
    torch.save({"a": torch.zeros(2)}, "zeros.pth")
    torch.save({"a": torch.ones(2)}, "ones.pth")
    Path("same.pth").write_bytes(Path("zeros.pth").read_bytes())

    def fingerprint(reference: str) -> str:
        return _fingerprint(_config("padim", model__weights=reference), weights=identify_weights(reference))

    assert fingerprint("zeros.pth") == fingerprint("same.pth")
    assert len({fingerprint(reference) for reference in ("zeros.pth", "ones.pth", "none", "tv_in1k")}) == 4


@pytest.mark.parametrize(("key", "whole", "fraction"), [("beta", 1, 1.0), ("sigma", 4, 4.0), ("learning_rate", 0, 0.0)])
def test_a_whole_number_is_the_same_with_and_without_its_point(key, whole, fraction):
    config = _config()
    assert _fingerprint(_with(config, "model", key, whole)) == _fingerprint(_with(config, "model", key, fraction))


def test_a_default_that_is_typed_out_changes_nothing():
    config = _config()
    typed = {"seed": str(config.settings["seed"]), "model__latent_dim": str(config.settings["model"]["latent_dim"])}
    assert _fingerprint(_config(**typed)) == _fingerprint(config)


def test_settings_printed_and_read_again_have_the_same_fingerprint(tmp_path):
    config = _config("padim", model__levels="[1, 2]", seed="3")
    (tmp_path / "printed.yaml").write_text(config.to_yaml(), encoding="utf-8")
    again = resolve(model=None, data=None, category=None, files=[tmp_path / "printed.yaml"], options={})
    assert _fingerprint(again) == _fingerprint(config)


@pytest.mark.parametrize("record", COMMITTED, ids=lambda record: f"{record.model}-{record.fingerprint}")
def test_a_committed_record_keeps_its_fingerprint(record):
    own = [
        fingerprint_of(record.config, record.weights, record.data.digest, version) for version in range(1, PROTOCOL + 1)
    ]
    assert record.fingerprint in own


@pytest.mark.parametrize("record", COMMITTED, ids=lambda record: f"{record.model}-{record.fingerprint}")
def test_what_its_method_cannot_use_had_its_default_in_a_committed_record(record):
    config = resolve(model=None, data=None, category=None, files=[record.config], options={})
    again = flatten(config.as_dict())
    before = flatten(record.config)
    before |= {key: present_path(before[key]) for key in before if key.endswith("class_path")}
    assert {key: value for key, value in before.items() if again[key] != value} == {}


def test_a_class_that_moved_is_the_same_cell_and_is_loaded_by_its_first_name():
    config = _config()
    moved = replace(config, data=replace(config.data, class_path="bench.data.datamodule.MVTecAD"))
    assert config.data.class_path != moved.data.class_path
    assert moved.data.load_class() is config.data.load_class()
    assert _fingerprint(moved) == _fingerprint(config)


@pytest.mark.parametrize("order", [int | float | None, float | int | None])
def test_one_batch_is_not_all_batches_whatever_else_was_imported(monkeypatch, order):
    signature = inspect.signature(Trainer.__init__)
    limit = signature.parameters["limit_train_batches"].replace(annotation=order)
    parameters = dict(signature.parameters) | {"limit_train_batches": limit}
    monkeypatch.setattr(
        Trainer.__init__, "__signature__", signature.replace(parameters=list(parameters.values())), raising=False
    )
    _parser_of.cache_clear()
    try:
        one, share, all_of_them = (_config(trainer__limit_train_batches=text) for text in ("1", "0.5", "1.0"))
        file = resolve(
            model="vae", data=None, category="screw", files=[{"trainer": {"limit_train_batches": 1}}], options={}
        )
    finally:
        _parser_of.cache_clear()
    found = [config.settings["trainer"]["limit_train_batches"] for config in (one, file, share, all_of_them)]
    assert [repr(limit) for limit in found] == ["1", "1", "0.5", "None"]
    assert _fingerprint(one) == _fingerprint(file) != _fingerprint(all_of_them) == _fingerprint(_config())


@pytest.mark.parametrize(("alias", "name"), [("32", "32-true"), ("bf16", "bf16-mixed")])
def test_a_precision_by_another_name_is_the_same(alias, name):
    assert _fingerprint(_config(trainer__precision=alias)) == _fingerprint(_config(trainer__precision=name))


@pytest.mark.parametrize("key", sorted(DECIDE_NOTHING))
def test_everything_in_the_one_list_is_left_out(key):
    config, (section, _, name) = _config(), key.partition(".")
    assert _fingerprint(_with(config, section, name, "another")) == _fingerprint(config)


@pytest.mark.parametrize(
    "name", ["sweep.local.LocalLauncher", "sweep.slurm.SlurmLauncher", "sweep.ray_cluster.RayLauncher"]
)
def test_a_launcher_that_moved_is_found_by_its_first_name(name, tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text(f"class_path: bench.{name}\n")
    assert read_preset("launcher", str(file)).load_class().__name__ == name.rpartition(".")[2]


def test_a_padded_run_is_another_cell_than_before_its_padding_left_the_score():
    padded = _config(data__aspect="pad")
    assert _fingerprint(padded) != _fingerprint(_config())
    assert '"padding"' in "".join(encode_settings(padded.as_dict(), {"source": "none"}).values())
    assert "padding" not in encode_settings(_config(data__aspect="crop").as_dict(), {"source": "none"})
