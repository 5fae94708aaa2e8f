"""Weights that are missing, of another network or harmful are refused by name; no network is no traceback."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

# The smallest network of timm's.
BACKBONE = "test_resnet"


@pytest.fixture
def backbone(quick_padim) -> tuple[str, ...]:
    return ("fit", *quick_padim, "--model.backbone", BACKBONE, "--model.levels", "[1, 2]")


class Malicious:
    """A pickle that runs code where it is loaded."""

    def __reduce__(self):
        return Path.touch, (Path("harmed"),)


def test_weights_of_a_file_are_used(bench, backbone):
    torch.manual_seed(0)
    save_file(timm.create_model(BACKBONE).state_dict(), "weights.safetensors")
    torch.save(timm.create_model(BACKBONE).state_dict(), "weights.pth")
    for file in ("weights.safetensors", "weights.pth"):
        outcome = bench(*backbone, "--model.weights", file)
        assert outcome.status == 0, outcome.stderr


@pytest.mark.parametrize("name", ["missing.pth", "folder/missing.safetensors", "./missing"])
def test_a_missing_weights_file_is_named(refuse, backbone, name):
    assert f"no weights file {Path(name)}" in refuse(*backbone, "--model.weights", name)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt"])
@pytest.mark.parametrize("new_format", [True, False], ids=["zip", "legacy"])
def test_code_in_a_weights_file_never_runs(refuse, backbone, suffix, new_format):
    content = {"conv1.weight": torch.zeros(1), "harm": Malicious()}
    torch.save(content, f"weights{suffix}", _use_new_zipfile_serialization=new_format)
    line = refuse(*backbone, "--model.weights", f"weights{suffix}")
    assert f"weights{suffix} holds pickled code, which is never run" in line
    assert not Path("harmed").exists()


def test_code_in_a_bare_pickle_never_runs(refuse, backbone):
    Path("weights.pth").write_bytes(pickle.dumps(Malicious(), protocol=2))
    assert "weights.pth" in refuse(*backbone, "--model.weights", "weights.pth")
    assert not Path("harmed").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x00" * 100, b"\xff" * 100])
def test_a_file_of_anything_else_is_refused_by_name(refuse, backbone, suffix, content):
    Path(f"weights{suffix}").write_bytes(content)
    line = refuse(*backbone, "--model.weights", f"weights{suffix}")
    assert f"weights{suffix}" in line


def test_a_truncated_file_is_refused_by_name(refuse, backbone):
    save_file(timm.create_model(BACKBONE).state_dict(), "weights.safetensors")
    whole = Path("weights.safetensors").read_bytes()
    Path("weights.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "weights.safetensors is no readable weights file" in refuse(
        *backbone, "--model.weights", "weights.safetensors"
    )


def test_the_weights_of_another_network_are_refused_by_name(refuse, backbone):
    save_file(timm.create_model("test_vit").state_dict(), "vit.safetensors")
    line = refuse(*backbone, "--model.weights", "vit.safetensors")
    assert f"vit.safetensors does not fit {BACKBONE}" in line


def test_weights_with_a_layer_of_another_shape_are_refused_with_the_layer_s_name(refuse, backbone):
    state = timm.create_model(BACKBONE).state_dict()
    state["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    save_file(state, "weights.safetensors")
    line = refuse(*backbone, "--model.weights", "weights.safetensors")
    assert "'layer1.0.conv1.weight' has another shape" in line


@pytest.mark.parametrize("content", [[1, 2], {"state_dict": 5}, {"a": "text"}, torch.zeros(3)])
def test_a_file_without_a_state_dict_is_refused_by_name(refuse, backbone, content):
    torch.save(content, "weights.pth")
    assert "weights.pth holds no state dict" in refuse(*backbone, "--model.weights", "weights.pth")


@pytest.mark.slow
def test_without_a_network_a_tag_is_told_where_to_get_its_file_and_where_to_put_it(quick_padim, tmp_path):
    """Another process, for the hub's client reads its settings when it is imported."""
    command = ("fit", *quick_padim, "--model.backbone", BACKBONE, "--model.levels", "[1]")
    command += ("--model.weights", "r160_in1k")
    places = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hub"), "BENCH_WEIGHTS": str(tmp_path)}
    for variable in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HUGGINGFACE_HUB_CACHE"):
        os.environ.pop(variable, None)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bench", *command], env={**os.environ, **places}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert f"bench: weights '{BACKBONE}.r160_in1k' are not here and cannot be downloaded" in done.stderr
    assert "http://127.0.0.1:9/timm/test_resnet.r160_in1k/resolve/main/model.safetensors" in done.stderr
    assert str(tmp_path / f"{BACKBONE}.r160_in1k.safetensors") in done.stderr
    assert not Path("runs").exists()
    assert time.perf_counter() - start < 60  # most of it is torch's import on a slow machine


def test_a_file_placed_by_hand_serves_for_a_tag(bench, backbone, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "weights").mkdir()
    save_file(timm.create_model(BACKBONE).state_dict(), tmp_path / "weights" / f"{BACKBONE}.r160_in1k.safetensors")
    outcome = bench(*backbone, "--model.weights", "r160_in1k")
    assert outcome.status == 0, outcome.stderr


@pytest.fixture(scope="module")
def folded(tmp_path_factory) -> Path:
    """Weights of MobileNetV2 whose BatchNorm does nothing, as that of a fresh network."""
    from torchvision.models import get_model

    path = tmp_path_factory.mktemp("weights") / "folded.safetensors"
    save_file(get_model("mobilenet_v2").state_dict(), path)
    return path


FINE_TUNED = [
    "fit",
    "mobilenet_v2",
    "screw",
    "--fold",
    "0",
    "--folds",
    "2",
    "--image-size",
    "32",
    "--crop",
    "null",
    "--epochs",
    "1",
    "--device",
    "cpu",
]


def test_weights_with_folded_batchnorm_are_refused_before_any_image_is_read(bench, data_root, folded, monkeypatch):
    def read(*_: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr("bench.data.datamodule.DefectData.prepare_data", read)
    torch.save({"state_dict": load_file(folded)}, "folded.pth")
    for path in (folded, "folded.pth"):  # the second is read with torch alone
        outcome = bench(*FINE_TUNED, "--root", data_root, "--weights", path)
        assert outcome.status == 2
        assert "has its BatchNorm folded into the convolutions" in outcome.stderr
        assert outcome.stderr.count("\n") == 1


def test_a_network_that_is_fine_tuned_without_normalisation_is_remarked(bench, data_root, folded):
    words = (*FINE_TUNED, "--root", data_root, "--weights", folded, "--freeze-batchnorm", "true")
    outcome = bench(*words)
    assert outcome.status == 0, outcome.stderr
    assert outcome.stderr.count(f"the BatchNorm of {folded} does nothing, and a network without normalisation") == 1
    assert "does nothing" not in bench(*words, "--freeze-backbone", "true").stderr
