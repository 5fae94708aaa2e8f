"""Each method written for ONNX gives, in torch, what the method gives: padded images, several windows, any number."""

import pytest
import torch
from torch import nn

from bench.config.settings import resolve
from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Content
from bench.export.formulations import AsItIs, formulate
from bench.models.base import Detector
from bench.models.parts.novelty import OneClass
from bench.runs.fitting import build_model

SIDE = 64
PATCHES = {"data.texture_patch": "32"}
TINY = {"model.library": "timm", "model.backbone": "test_resnet"}
SMALL_VIT = {"model.backbone": "test_vit", "model.levels": "[0,1]", "model.depth": "2", "data.crop": "null"}
METHODS = {
    "padim": {"model.channels": "8"},
    "padim_mobilenetv2": {"model.reduction": "pca", "model.channels": "8", "model.interpolation": "bilinear"},
    "patchcore_r18": {"model.level_features": "100", "model.features": "70"},
    "patchcore_mobilenetv2": {"model.reweighting": "3"},
    "patchcore": {"model.squared": "true", "model.level_features": "100", "model.features": "70"},
    "anomaly_dino": {
        "model.backbone": "test_vit", "model.level": "1", "model.foreground": "never", "model.top_share": "0.2",
    },
    "knn": {"model.neighbours": "3"},
    "gaussian": {},
    "ocsvm": {},
    "ocsvm_linear": {},
    "autoencoder": {},
    "autoencoder_l2": PATCHES,
    "vae": {},
    "vae_likelihood": PATCHES,
    "cutpaste": {},
    "cutpaste_patch": {"model.stride": "8", "model.density": "per_location"},
    "fastflow": {},
    "stfpm": {},
    "reverse_distillation_mobilenetv2": {},
    "efficient_ad_cpu": {},
    "draem_cpu": {"model.width": "2"},
    "dinomaly_s": SMALL_VIT | {"model.top_share": "0.1"},
    "dinomaly": SMALL_VIT | {"model.recentre": "true", "model.reduced": "null"},
    "deep_svdd": {},
    "deep_svdd_soft": {},
    "f_anogan": {"model.width": "8"},
    "trivial": {},
    "trivial_contrast": {},
    "trivial_thumbnail": {"model.side": "7"},
    "classifier": TINY | {"model.views": "3"},
    "reslt": TINY,
    "weight_balancing": TINY,
}  # fmt: skip
PADDED = (
    *("padim", "patchcore_r18", "anomaly_dino", "autoencoder", "vae", "fastflow", "cutpaste_patch"),
    *("stfpm", "reverse_distillation_mobilenetv2", "efficient_ad_cpu", "draem_cpu", "dinomaly_s"),
)
WINDOWED = {"f_anogan": PATCHES | {"model.width": "8"}}


def build(name: str, options: dict[str, str]) -> Detector:
    """A method as if it had learned something."""
    torch.manual_seed(0)
    category = "carpet" if "data.texture_patch" in options else "screw"
    options = {"data.image_size": str(SIDE), **options}
    config = resolve(model=name, data="synthetic", category=category, files=[], options=options)
    patch = config.settings["data"]["texture_patch"] if category == "carpet" else None
    classes = ("good", "a", "b") if config.section("data").get("fold") is not None else ()
    spec = DataSpec(SIDE, 3, 6, patch=patch, classes=classes, class_counts=(4, 1, 1)[: len(classes)])
    model = build_model(config, spec, weights="none").eval()
    for key, buffer in model.named_buffers():
        last = key.rpartition(".")[2]
        if last in ("bank", "features", "mean", "whitening", "directions", "coefficients", "centre", "deviation"):
            if "backbone" not in key and "network" not in key:
                buffer.copy_(torch.rand(buffer.shape))
        elif last == "count":
            buffer.fill_(len(model.bank) if hasattr(model, "bank") else 6)
        elif last in ("gamma", "offset", "radius"):
            buffer.fill_(0.01)
    return model


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(3, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def assert_same(found, expected) -> None:
    for own, other in zip(found, expected, strict=True):
        assert (own is None) == (other is None)
        if own is not None:
            torch.testing.assert_close(own, other, rtol=2e-5, atol=1e-5 * float(other.abs().max()))


@torch.no_grad()
@pytest.mark.parametrize("name", METHODS)
def test_a_method_gives_the_same_numbers_in_the_operations_of_onnx(name, image):
    model = build(name, METHODS[name])
    formulation = formulate(model)
    assert_same(formulation(image), model.predict(image))
    if not formulation.reads_box:
        content = [Content(Box(0, 20, SIDE, 41))] * len(image)
        assert_same(model.predict(image, content), model.predict(image))


@torch.no_grad()
@pytest.mark.parametrize("name", [*PADDED, *WINDOWED])
def test_padding_counts_as_little_as_in_the_method(name, image):
    model = build(name, WINDOWED.get(name) or METHODS[name])
    formulation, changed = formulate(model), 0
    assert formulation.reads_box
    for boxes in ([Box(0, 0, SIDE, 9), Box(0, 0, 8, SIDE), Box(57, 0, SIDE, SIDE)], [Box(0, 30, SIDE, 35)] * 3):
        found = formulation(image, torch.tensor(boxes))
        assert_same(found, model.predict(image, [Content(box) for box in boxes]))
        changed += int((found.score != formulation(image).score).sum())
    assert changed > 0, "the boxes make a difference here"


def test_a_method_of_one_s_own_is_taken_as_it_is():
    class Own(Detector):
        pass

    assert isinstance(formulate(Own(DataSpec(SIDE, 3, 4))), AsItIs)


def test_the_svm_has_support_vectors_in_these_tests():
    scorer = build("ocsvm", {}).scorer
    assert isinstance(scorer, OneClass)
    assert scorer.coefficients.abs().min() > 0


def test_grad_cam_of_the_exported_head_is_not_zero_everywhere(image):
    model = build("cutpaste", {})
    with torch.no_grad():
        found = formulate(model)(image)
    assert found.map.max() > 0
    assert any(isinstance(layer, nn.BatchNorm1d) for layer in model.network.head)
