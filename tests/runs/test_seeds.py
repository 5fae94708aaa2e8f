import json

import pytest

from bench.presets import preset_names, read_preset

# Large backbones at the smallest size that has all their levels; what is tested is chance, not accuracy.
SMALL = ("--data.image_size", "32", "--data.crop", "null", "--trainer.accelerator", "cpu")


def arguments_of(preset: str, root) -> tuple[str, ...]:
    settings = read_preset("model", preset).settings
    weights = ("--model.weights", "none") if "weights" in settings["model"] else ()
    epochs = ("--trainer.max_epochs", "1", "--data.samples_per_epoch", "16") if settings.get("trainer") else ()
    if "pretrain_epochs" in settings["model"]:
        epochs += ("--model.pretrain_epochs", "0")
    if "width" in settings["model"]:
        epochs += ("--model.width", "4")
    if settings["data"].get("fold") is not None:
        epochs += ("--data.fold", "0", "--data.folds", "2")
    if "balancing_epochs" in settings["model"]:
        epochs += ("--model.balancing_epochs", "0")
    return ("fit", "--model", preset, "--category", "screw", "--data.root", str(root), *SMALL, *weights, *epochs)


def _presets():
    """Every preset; the second one of a class, and those after it, take time and are slow."""
    seen: set[str] = set()
    for name in preset_names("model"):
        known = (path := read_preset("model", name).class_path) in seen
        seen.add(path)
        yield pytest.param(name, marks=pytest.mark.slow) if known else name


@pytest.mark.parametrize("preset", _presets())
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(preset, bench, data_root):
    arguments = arguments_of(preset, data_root)
    runs = [
        bench(*arguments, "--seed", seed, "--runs", folder, "--json")
        for seed, folder in ((0, "first"), (0, "second"), (1, "third"))
    ]
    assert [run.status for run in runs] == [0, 0, 0], runs[0].stderr
    first, again, other = (json.loads(run.stdout) for run in runs)
    assert first["metrics"] == again["metrics"]
    assert first["fingerprint"] == again["fingerprint"]
    assert first["data"]["predictions_sha256"] == again["data"]["predictions_sha256"]
    assert first["data"]["predictions_sha256"] != other["data"]["predictions_sha256"]
