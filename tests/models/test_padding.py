"""Scores that are the largest value of a map or grid: over the image alone, where it is padded."""

import pytest
import torch

from bench.config.settings import resolve
from bench.data.datamodule import DataSpec
from bench.data.geometry import Box, Content
from bench.models.base import Detector
from bench.runs.fitting import build_model

SIDE = 64
METHODS = {
    "autoencoder_l2": {},
    "vae": {},
    "padim": {"model.channels": "8"},
    "fastflow": {},
    "stfpm": {},
    "reverse_distillation_mobilenetv2": {},
    "efficient_ad_cpu": {},
    "draem_cpu": {"model.width": "2"},
    "patchcore_r18": {},
    "simplenet": {"model.backbone": "resnet18", "model.patch_features": "24"},
}
TOP, BOTTOM = Content(Box(0, 0, SIDE, SIDE // 2)), Content(Box(0, SIDE // 2, SIDE, SIDE))


@pytest.fixture(params=METHODS)
def model(request) -> Detector:
    options = {"data.image_size": str(SIDE), **METHODS[request.param]}
    config = resolve(model=request.param, data=None, category="screw", files=[], options=options)
    spec = DataSpec(size=SIDE, channels=3, train_images=4)
    built = build_model(config, spec, weights="none").eval()
    for name, buffer in built.named_buffers():  # as if it had learned something
        if name == "bank" or name.startswith("gaussians."):
            buffer.copy_(torch.rand(buffer.shape))
        if name == "count":
            buffer.fill_(len(built.bank))
    return built


WINDOWS = {
    "cutpaste_patch": {"model.patch": "16", "model.stride": "8"},
    "f_anogan": {"data.texture_patch": "32"},
}


@pytest.fixture(params=WINDOWS)
def windowed(request) -> Detector:
    """A method that scores an image by its most anomalous window."""
    options = {"data.image_size": str(SIDE), **WINDOWS[request.param]}
    config = resolve(model=request.param, data=None, category="carpet", files=[], options=options)
    patch = config.settings["data"]["texture_patch"]
    built = build_model(config, DataSpec(size=SIDE, channels=3, train_images=4, patch=patch), weights="none").eval()
    for name, buffer in built.named_buffers():
        if name.startswith("gaussians."):
            buffer.copy_(torch.rand(buffer.shape))
    return built


@pytest.fixture
def image() -> torch.Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def test_the_score_is_the_largest_within_the_image(model, image):
    whole = model.predict(image).score
    top, bottom = (model.predict(image, [box, box]).score for box in (TOP, BOTTOM))
    assert torch.equal(torch.maximum(top, bottom), whole)
    assert not torch.equal(top, bottom)


def test_of_a_region_the_score_is_the_largest_inside(model, image):
    """A region of the upper half is the box of it."""
    top = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    top[: SIDE // 2] = True
    whole = Box(0, 0, SIDE, SIDE)
    for region, box in ((top, TOP), (~top, BOTTOM)):
        found = model.predict(image, [Content(whole, region)] * 2).score
        assert torch.equal(found, model.predict(image, [box] * 2).score)


def test_the_map_is_the_same_with_padding_and_without(model, image):
    assert torch.equal(model.predict(image, [TOP, BOTTOM]).map, model.predict(image).map)


def test_what_is_not_padded_is_scored_to_the_bit_as_before(model, image):
    box = Content(Box(0, 0, SIDE, SIDE))
    assert torch.equal(model.predict(image, [box, box]).score, model.predict(image).score)
    assert model._content is None


def test_a_window_in_the_padding_alone_does_not_decide_the_score(windowed, image):
    strange = image.clone()
    strange[:, :, SIDE // 2 :] *= 50
    whole, top, bottom = (windowed.predict(strange, content).score for content in (None, [TOP] * 2, [BOTTOM] * 2))
    assert torch.equal(torch.maximum(top, bottom), whole)
    assert not torch.equal(top, bottom)
    assert torch.equal(windowed.predict(strange, [Content(Box(0, 0, SIDE, SIDE))] * 2).score, whole)
    assert torch.equal(windowed.predict(strange, [TOP] * 2).map, windowed.predict(strange).map)
