import json

import pytest

from bench.config.presets import preset_names, read_preset

# Large backbones at the smallest size that has all their levels; what is tested is chance, not accuracy.
SMALL = ("--data.image_size", "32", "--data.crop", "null", "--trainer.accelerator", "cpu")


def arguments_of(preset: str, root) -> tuple[str, ...]:
    settings = read_preset("model", preset).settings
    weights = ("--model.weights", "none") if "weights" in settings["model"] else ()
    if settings["model"].get("backbone") == "cait_m48_448":  # its checkpoint is 1.2 GB at any size of the images
        weights += ("--model.backbone", "cait_xxs24_224", "--model.levels", "[20]")
    if "patch14" in settings["model"].get("backbone", ""):  # 32 pixels are no multiple of 14
        levels = ("--model.level", "1") if "level" in settings["model"] else ("--model.levels", "[0,1]")
        weights += ("--model.backbone", "test_vit", *levels)
    epochs = ("--trainer.max_epochs", "1", "--data.samples_per_epoch", "16") if settings.get("trainer") else ()
    if "pretrain_epochs" in settings["model"]:
        epochs += ("--model.pretrain_epochs", "0")
    if "width" in settings["model"]:
        epochs += ("--model.width", "4")
    if settings["data"].get("fold") is not None:
        epochs += ("--data.fold", "0", "--data.folds", "2")
    if "balancing_epochs" in settings["model"]:
        epochs += ("--model.balancing_epochs", "0")
    if "neighbours" in settings["model"]:
        epochs += ("--model.neighbours", "3")  # there are 12 images
    if "hard_quantile" in settings["model"]:  # EfficientAD: f-AnoGAN has a penalty, too
        epochs += ("--model.penalty", "none", "--data.image_size", "64", "--data.batch_size", "2")
        epochs += ("--data.samples_per_epoch", "4")
    if "textures" in settings["model"]:
        epochs += ("--model.textures", "procedural")
    if "share" in settings["model"]:
        epochs += ("--model.share", "0.2")  # one hundredth of so few patches is one, however it is chosen
    return ("fit", "--model", preset, "--category", "screw", "--data.root", str(root), *SMALL, *weights, *epochs)


def _quick_first(preset: str) -> tuple[bool, str]:
    return not preset.endswith(("_cpu", "_mobilenetv2", "resnet18")), preset


PRESETS = sorted(preset_names("model"), key=_quick_first, reverse=True)
# The last of a class that is met is kept.
DRAWS_NOTHING = {"trivial", "trivial_contrast", "trivial_thumbnail"}
FIRST_OF_CLASS = {read_preset("model", name).class_path: name for name in PRESETS}


def run_with(seed: int, folder: str, preset: str, bench, root) -> dict:
    run = bench(*arguments_of(preset, root), "--seed", seed, "--runs", folder, "--json")
    assert run.status == 0, run.stderr
    return json.loads(run.stdout)


def assert_same(first: dict, again: dict) -> None:
    assert first["metrics"] == again["metrics"]
    assert first["fingerprint"] == again["fingerprint"]
    assert first["data"]["predictions_sha256"] == again["data"]["predictions_sha256"]


@pytest.mark.parametrize("preset", sorted(FIRST_OF_CLASS.values()))
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(preset, bench, data_root):
    first, again, other = (
        run_with(seed, folder, preset, bench, data_root) for seed, folder in ((0, "first"), (0, "second"), (1, "third"))
    )
    assert_same(first, again)
    same = first["data"]["predictions_sha256"] == other["data"]["predictions_sha256"]
    assert same == (preset in DRAWS_NOTHING)


@pytest.mark.slow
@pytest.mark.parametrize("preset", sorted({*PRESETS} - {*FIRST_OF_CLASS.values()}))
def test_every_other_preset_gives_the_same_bits_again(preset, bench, data_root):
    assert_same(*(run_with(0, folder, preset, bench, data_root) for folder in ("first", "second")))
