"""Features of frozen backbones on the disk: the same bits with and without, each image through the network once."""

import json
import os
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from bench.models.parts.backbones import Backbone
from bench.models.parts.feature_cache import FeatureCache, cached_features, files_of, saved_seconds, unchanged_images
from bench.models.parts.precision import networks_in

LEVELS: list[int] = [1, 2]
METHODS = {
    "padim": ("--model.channels", "8"),
    "patchcore_r18": (),
    "spade": ("--model.backbone", "resnet18", "--model.neighbours", "2"),
    "anomaly_dino": ("--model.backbone", "resnet18", "--model.level", "2", "--model.rotations", "3"),
    "knn": ("--model.backbone", "resnet18", "--model.levels", "[4]"),
    "gaussian": ("--model.backbone", "resnet18", "--model.levels", "[1,2,3,4]"),
    "ocsvm": ("--model.backbone", "resnet18", "--model.levels", "[4]"),
    "stfpm": ("--trainer.max_epochs", "2", "--data.batch_size", "4"),
    "reverse_distillation_mobilenetv2": (
        "--model.backbone",
        "resnet18",
        "--trainer.max_epochs",
        "2",
        "--data.batch_size",
        "4",
    ),
    "fastflow": ("--trainer.max_epochs", "2", "--data.batch_size", "4"),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    torch.manual_seed(3)
    save_file(timm.create_model("resnet18").state_dict(), path)
    return path


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "features"


def build(weights: Path | str, levels: list[int] = LEVELS, size: int = 64) -> Backbone:
    torch.manual_seed(0)
    return Backbone("resnet18", levels, str(weights), size)


def ask(backbone: Backbone, images: torch.Tensor, folder: Path, gigabytes: float = 1.0) -> list[torch.Tensor]:
    with torch.no_grad(), cached_features(folder, gigabytes), unchanged_images():
        return backbone(images)


def passed(backbone: Backbone, monkeypatch) -> list[int]:
    """The numbers of images that pass the network from now on."""
    counts: list[int] = []
    compute = backbone._compute
    monkeypatch.setattr(backbone, "_compute", lambda image: counts.append(len(image)) or compute(image))
    return counts


def test_features_are_the_same_bits_in_the_same_memory_format_cold_and_warm(weights, images, folder):
    backbone = build(weights)
    with torch.no_grad():
        plain = backbone(images)
    for found in (ask(backbone, images, folder), ask(backbone, images, folder)):
        for one, other in zip(plain, found, strict=True):
            assert torch.equal(one, other)
            assert one.stride() == other.stride()
            assert torch.equal(one.mean(dim=(2, 3)), other.mean(dim=(2, 3)))


def test_an_image_passes_the_network_once_whatever_batches_it_comes_in(weights, images, folder, monkeypatch):
    backbone = build(weights)
    counts = passed(backbone, monkeypatch)
    ask(backbone, images[:3], folder)
    ask(backbone, images, folder)
    alone = [ask(backbone, images[i : i + 1], folder) for i in range(5)]
    assert counts == [3, 2]
    with torch.no_grad():
        together = build(weights)(images)
    assert all(
        torch.equal(level[i], one[0]) for i, own in enumerate(alone) for level, one in zip(together, own, strict=True)
    )


def test_methods_with_other_levels_share_those_that_they_have_in_common(weights, images, folder, monkeypatch):
    ask(build(weights, [1, 2, 3]), images, folder)
    backbone = build(weights, [2])
    counts = passed(backbone, monkeypatch)
    assert torch.equal(ask(backbone, images, folder)[0], backbone._compute(images)[0])
    assert counts == [5]  # by this comparison alone


@pytest.mark.parametrize("what", ["pixel", "size", "weights", "precision", "threads", "channels"])
def test_whatever_changes_a_number_is_another_entry(weights, images, folder, monkeypatch, tmp_path, what):
    backbone = build(weights)
    ask(backbone, images, folder)
    if what == "weights":
        torch.manual_seed(4)
        save_file(timm.create_model("resnet18").state_dict(), tmp_path / "other.safetensors")
        backbone = build(tmp_path / "other.safetensors")
    if what == "size":
        backbone, images = build(weights, size=96), torch.nn.functional.interpolate(images, size=96)
    if what == "pixel":
        images = images.clone()
        images[:, 0, 0, 0] += 1e-6
    if what == "channels":
        images = images[:, :1]
    counts = passed(backbone, monkeypatch)
    before = torch.get_num_threads()
    try:
        if what == "threads":
            torch.set_num_threads(before + 1)
        with networks_in(torch.bfloat16 if what == "precision" else None, images.device):
            found = ask(backbone, images, folder)
            expected = backbone._compute(images)
    finally:
        torch.set_num_threads(before)
    assert counts == [5, 5]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_weights_that_are_loaded_after_the_network_was_built_count(weights, images, folder):
    """A checkpoint fills a backbone that was built with random weights, the same ones for every checkpoint."""
    right = build(weights)
    wrong = build("none")
    ask(wrong, images, folder)
    wrong.load_state_dict(right.state_dict())
    expected = ask(right, images, folder)
    assert all(torch.equal(one, other) for one, other in zip(ask(wrong, images, folder), expected, strict=True))


@pytest.mark.parametrize("damage", ["a byte", "half", "nothing left", "another's content"])
def test_a_damaged_entry_is_said_and_made_again(weights, images, folder, capsys, damage):
    backbone = build(weights)
    expected = ask(backbone, images, folder)
    first, second = files_of(folder)[:2]
    content = bytearray(first.read_bytes())
    content[-1] ^= 1
    changes = {"a byte": bytes(content), "half": bytes(content[: len(content) // 2]), "nothing left": b""}
    first.write_bytes(changes.get(damage, second.read_bytes()))
    found = ask(backbone, images, folder)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert f"{first} was damaged on the disk; the features are computed again" in capsys.readouterr().err
    ask(backbone, images, folder)
    assert "damaged" not in capsys.readouterr().err


def test_augmented_images_are_not_kept(weights, images, folder):
    with torch.no_grad(), cached_features(folder, 1.0):
        build(weights)(images)
    assert not files_of(folder)


def test_with_nothing_to_fill_nothing_is_kept(weights, images, folder):
    ask(build(weights), images, folder, gigabytes=0)
    assert not folder.exists()


def test_no_more_is_written_than_the_bound_and_what_is_in_use_stays(weights, images, folder):
    backbone = build(weights)
    ask(backbone, images[:1], folder)
    one = sum(path.stat().st_size for path in files_of(folder))
    ask(backbone, images, folder, gigabytes=2.5 * one / 1e9)
    assert sum(path.stat().st_size for path in files_of(folder)) <= 2.5 * one
    kept = files_of(folder)
    ask(backbone, 1 - images, folder, gigabytes=2.5 * one / 1e9)
    assert files_of(folder) == kept


def test_between_two_looks_at_the_disk_what_is_written_counts(weights, images, folder, monkeypatch):
    monkeypatch.setattr("bench.models.parts.feature_cache._RESCANS", 1)
    backbone = build(weights)
    ask(backbone, images[:1], folder)
    one = sum(path.stat().st_size for path in files_of(folder))
    ask(backbone, images, folder, gigabytes=3.5 * one / 1e9)
    assert 2 * one < sum(path.stat().st_size for path in files_of(folder)) <= 3.5 * one


def test_what_nobody_used_for_an_hour_makes_room(weights, images, folder):
    backbone = build(weights)
    ask(backbone, images[:2], folder)
    old = files_of(folder)
    size = sum(path.stat().st_size for path in old)
    for path in old:
        os.utime(path, (time.time() - 7200,) * 2)
    ask(backbone, images[2:4], folder, gigabytes=1.2 * size / 1e9)
    assert len(set(files_of(folder)) - set(old)) == 4
    assert sum(path.stat().st_size for path in files_of(folder)) <= 1.2 * size


def test_a_disk_that_refuses_is_said_once_and_figures_are_the_same(weights, images, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    backbone = build(weights)
    found = ask(backbone, images, tmp_path / "file" / "features")
    with torch.no_grad():
        assert all(torch.equal(one, other) for one, other in zip(found, backbone(images), strict=True))
    assert capsys.readouterr().err.count("features are not kept") == 1


def test_time_that_others_spent_is_told_and_ones_own_is_not(weights, images, folder):
    backbone = build(weights)
    with torch.no_grad(), cached_features(folder, 1.0), unchanged_images():
        backbone(images)
        backbone(images)
        assert saved_seconds() == 0
    with torch.no_grad(), cached_features(folder, 1.0), unchanged_images():
        backbone(images)
        first = saved_seconds()
        backbone(images)
        assert 0 < first == saved_seconds()


def test_a_transformer_keeps_its_blocks_too(images, folder, monkeypatch):
    torch.manual_seed(0)
    backbone = Backbone("vit_tiny_patch16_224", [1, 3], "none", 64)
    first = ask(backbone, images, folder)
    counts = passed(backbone, monkeypatch)
    assert all(torch.equal(one, other) for one, other in zip(ask(backbone, images, folder), first, strict=True))
    assert counts == []


def test_a_bound_that_is_no_size_is_refused(refuse, quick):
    assert "--data.feature_cache" in refuse("fit", *quick, "--data.feature_cache", "-1")


def test_the_command_for_the_cache_tells_and_removes_features(bench, weights, images, tmp_path):
    ask(build(weights), images, tmp_path / "cache" / "features")
    outcome = bench("data", "cache")
    assert "10 files of features" in outcome.stdout
    assert bench("data", "cache", "--clear").status == 0
    assert not files_of(tmp_path / "cache" / "features")


@pytest.mark.parametrize("method", METHODS)
def test_every_figure_of_a_run_is_the_same_without_cold_and_warm(bench, data_root, tmp_path, weights, method):
    place = ("--category", "screw", "--data.root", data_root, "--data.image_size", "32", "--trainer.accelerator", "cpu")
    words = ("--model", method, "--model.weights", weights, *METHODS[method], *place, "--data.crop", "null")
    found = []
    for name, bound in (("none", 0), ("cold", 4), ("warm", 4)):
        outcome = bench("fit", *words, "--data.feature_cache", bound, "--runs", tmp_path / name, "--json")
        assert outcome.status == 0, outcome.stderr
        record = json.loads(outcome.stdout)
        predictions = next((tmp_path / name).rglob("predictions.csv")).read_bytes()
        kept = ("fingerprint", "metrics", "metrics_by_defect", "intervals", "map_range")
        found.append(({key: record[key] for key in kept}, predictions))
        assert (record["cost"]["saved_seconds"] > 0) == (name == "warm")
    assert found[0] == found[1] == found[2]
    assert files_of(tmp_path / "cache" / "features")


def test_the_costs_of_fit_and_test_hold_what_each_of_them_did_not_spend(bench, data_root, weights, monkeypatch):
    """As if each image's features had taken a thousand seconds: twelve images are learned from, thirteen tested."""
    write = FeatureCache.write
    monkeypatch.setattr(FeatureCache, "write", lambda self, keys, levels, _seconds: write(self, keys, levels, 1000.0))
    place = ("--category", "screw", "--data.root", data_root, "--data.image_size", "32", "--data.crop", "null")
    words = ("fit", "--model", "padim", *METHODS["padim"], "--model.weights", weights, *place, "--json", "--force")
    cold, warm = (json.loads(bench(*words).stdout)["cost"] for _ in range(2))
    assert cold["saved_seconds"] == 0
    assert max(cold["fit_seconds"], cold["test_seconds"]) < 1000
    assert warm["saved_seconds"] == 25_000
    assert 12_000 < warm["fit_seconds"] < 13_000
    assert 13_000 < warm["test_seconds"] < 14_000


def test_refits_compute_each_image_once(bench, data_root, weights, monkeypatch):
    """A Gaussian's threshold comes from five refits: six passes over the training images, and one over the test's."""
    counts: list[int] = []
    compute = Backbone._compute

    def count(self: Backbone, image: torch.Tensor) -> list[torch.Tensor]:
        counts.append(len(image))
        return compute(self, image)

    monkeypatch.setattr(Backbone, "_compute", count)
    monkeypatch.setattr("bench.runs.measure_cost._seconds_per_pass", lambda model, images: 1.0)
    monkeypatch.setattr("bench.runs.run.draw_extremes", lambda *_: [])
    place = ("--category", "screw", "--data.root", data_root, "--data.image_size", "32", "--data.crop", "null")
    for build_and_images in (1 + 12 + 13, 1):  # building asks for the shapes; the second time, nothing else
        counts.clear()
        assert (
            bench(
                "fit", "--model", "gaussian", *METHODS["gaussian"], "--model.weights", weights, *place, "--force"
            ).status
            == 0
        )
        assert sum(counts) == build_and_images


def test_two_processes_may_write_the_same_entry(weights, images, folder):
    """Each under a name of its own, renamed when it is whole."""
    backbone = build(weights)
    one, other = FeatureCache(folder, 10**9), FeatureCache(folder, 10**9)
    (level, _) = backbone._compute(images[:1])
    other._path("ab" * 32).parent.mkdir(parents=True)
    one._write("ab" * 32, level, 1.0)
    other._write("ab" * 32, level, 1.0)
    read = one.read(["ab" * 32])
    assert read is not None
    assert torch.equal(read[0], level)
    assert [path.suffix for path in files_of(folder)] == [".safetensors"]


def test_features_of_a_mixed_training_step_are_not_those_of_single_precision(weights, images, folder):
    """Lightning enters autocast itself before a step: FastFlow's backbone computes in half precision there."""
    backbone = build(weights)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = ask(backbone, images, folder)
    single = ask(backbone, images, folder)
    with torch.no_grad():
        plain = backbone(images)
    assert all(torch.equal(one, other) for one, other in zip(single, plain, strict=True))
    assert not torch.equal(mixed[0], single[0])
    with torch.autocast("cpu", torch.bfloat16):
        again = ask(backbone, images, folder)
    assert all(torch.equal(one, other) for one, other in zip(again, mixed, strict=True))
