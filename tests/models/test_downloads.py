import hashlib
import io
import urllib.error
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models import get_model

from bench.errors import UsageError
from bench.models.parts.classifier_network import ClassifierBackbone
from bench.models.parts.downloads import timm_file, torchvision_file

FILE = "mobilenet_v2-7ebf99e0.pth"  # torchvision's IMAGENET1K_V2
URL = f"https://download.pytorch.org/models/{FILE}"


@pytest.fixture(autouse=True)
def network(tmp_path, monkeypatch) -> list[str]:
    """A machine without network and with empty caches; the addresses that were asked for."""
    asked: list[str] = []

    def fail(request, *_, **__):
        asked.append(getattr(request, "full_url", request))
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", fail)
    monkeypatch.setattr("torch.hub.urlopen", fail)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return asked


def place(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_a_tag_of_torchvisions_without_network_is_refused_by_one_line_with_address_and_place(network, tmp_path):
    with pytest.raises(UsageError) as raised:
        torchvision_file("mobilenet_v2", "IMAGENET1K_V2")
    line = str(raised.value)
    assert network == [URL]
    assert "\n" not in line
    assert "mobilenet_v2.IMAGENET1K_V2" in line
    assert f"get {URL} on another machine" in line
    assert f"save it as {tmp_path / 'cache' / 'weights' / FILE}" in line


def test_a_tag_of_timms_without_network_is_refused_by_one_line_with_address_and_place(network, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path / "mine"))
    with pytest.raises(UsageError) as raised:
        timm_file("mobilenetv2_100", "ra_in1k")
    line, url = str(raised.value), "https://huggingface.co/timm/mobilenetv2_100.ra_in1k/resolve/main/model.safetensors"
    assert network == [url]
    assert "\n" not in line
    assert f"get {url} on another machine" in line
    assert f"save it as {tmp_path / 'mine' / 'mobilenetv2_100.ra_in1k.safetensors'}" in line


def test_a_classifier_says_the_same():
    with pytest.raises(UsageError, match=f"get {URL} on another machine"):
        ClassifierBackbone("torchvision", "mobilenet_v2", "IMAGENET1K_V2", 64)


@pytest.mark.parametrize(
    ("find", "architecture", "tag", "name"),
    [
        (torchvision_file, "mobilenet_v2", "IMAGENET1K_V2", FILE),
        (timm_file, "mobilenetv2_100", "ra_in1k", "mobilenetv2_100.ra_in1k.safetensors"),
    ],
)
@pytest.mark.parametrize("variable", [True, False])
def test_a_placed_file_is_used_and_the_network_left_alone(
    find, architecture, tag, name, variable, network, tmp_path, monkeypatch
):
    folder = tmp_path / "mine" if variable else tmp_path / "cache" / "weights"
    if variable:
        monkeypatch.setenv("BENCH_WEIGHTS", str(folder))
    placed = place(folder / name)
    assert find(architecture, tag) == placed
    assert not network


@pytest.mark.parametrize(
    ("find", "architecture", "tag"),
    [(torchvision_file, "resnet18", "IMAGENET1K_V1"), (timm_file, "resnet18", "tv_in1k")],
)
def test_the_place_that_the_refusal_names_is_where_a_file_is_found(find, architecture, tag):
    with pytest.raises(UsageError) as raised:
        find(architecture, tag)
    named = Path(str(raised.value).partition("save it as ")[2].partition(", or")[0])
    placed = place(named)
    assert find(architecture, tag) == placed


@pytest.mark.parametrize(
    ("library", "name", "tag", "file"),
    [
        ("torchvision", "mobilenet_v2", "IMAGENET1K_V2", FILE),
        ("timm", "mobilenetv2_100", "ra_in1k", "mobilenetv2_100.ra_in1k.safetensors"),
    ],
)
def test_a_classifier_by_a_tag_has_the_placed_files_weights(library, name, tag, file, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    state = get_model("mobilenet_v2", weights=None).state_dict()
    torch.save(state, tmp_path / file) if file.endswith(".pth") else save_file(state, tmp_path / file)
    backbone = ClassifierBackbone(library, name, tag, 64, freeze_batchnorm=True)
    first = next(p for p in backbone.network.parameters() if p.ndim == 4)
    assert torch.equal(first, state["features.0.0.weight"])


def test_what_torchvision_downloaded_before_is_used(network, tmp_path):
    cached = place(tmp_path / "torch" / "hub" / "checkpoints" / FILE)
    assert torchvision_file("mobilenet_v2", "IMAGENET1K_V2") == cached
    assert not network


def test_a_placed_file_comes_before_what_was_downloaded(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    place(tmp_path / "torch" / "hub" / "checkpoints" / FILE)
    placed = place(tmp_path / FILE)
    assert torchvision_file("mobilenet_v2", "IMAGENET1K_V2") == placed


def serve(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that answers every request with `content`."""

    class Answer(io.BytesIO):
        def info(self):
            return SimpleNamespace(get_all=lambda _: None)

    for module in ("urllib.request", "torch.hub"):
        monkeypatch.setattr(f"{module}.urlopen", lambda *_, **__: Answer(content))


def test_a_download_is_kept_where_torchvision_looks(tmp_path, monkeypatch):
    digest = hashlib.sha256(b"weights").hexdigest()
    tags = {"V1": SimpleNamespace(url=f"https://somewhere/tiny-{digest[:8]}.pth")}
    monkeypatch.setattr("torchvision.models.get_model_weights", lambda _: SimpleNamespace(__members__=tags))
    serve(b"weights", monkeypatch)
    path = torchvision_file("tiny", "V1")
    assert path == tmp_path / "torch" / "hub" / "checkpoints" / f"tiny-{digest[:8]}.pth"
    assert path.read_bytes() == b"weights"


def test_a_download_of_another_content_is_refused_and_not_kept(tmp_path, monkeypatch):
    serve(b"a login page", monkeypatch)
    with pytest.raises(UsageError, match=f"get {URL} on another machine"):
        torchvision_file("mobilenet_v2", "IMAGENET1K_V2")
    assert not [path for path in (tmp_path / "torch").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("find", "architecture", "typed", "nearest"),
    [
        (torchvision_file, "resnet18", "IMAGENET1K_V2", "IMAGENET1K_V1"),
        (timm_file, "resnet18", "tv_in1", "tv_in1k"),
    ],
)
def test_an_unknown_tag_is_refused_by_the_name_of_the_nearest(find, architecture, typed, nearest, network):
    with pytest.raises(UsageError, match=f"unknown weights of {architecture} '{typed}'; did you mean '{nearest}'"):
        find(architecture, typed)
    assert not network
