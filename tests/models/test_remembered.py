"""Features that are computed once: the same bits as computed each time, and for unchanging images alone."""

import copy

import pytest
import torch
from lightning import Trainer

from bench.data.datamodule import DataSpec
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import Batch
from bench.models.fastflow import FastFlow
from bench.models.parts.backbones import Backbone
from bench.models.parts.remembered import RememberedFeatures
from bench.runs.callbacks import EpochSeed

SETTINGS = {"backbone": "test_resnet", "weights": "none", "levels": [1, 2], "steps": 2}


class Counted(Backbone):
    """Counts the images that pass."""

    def __init__(self) -> None:
        self.images = 0
        super().__init__("test_resnet", [1, 2], "none", 32)
        self.images = 0

    def forward(self, image):
        self.images += len(image)
        return super().forward(image)


@pytest.fixture
def backbone() -> Counted:
    torch.manual_seed(0)
    return Counted()


def batch(*places: int, unchanging: bool = True) -> Batch:
    everything = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    rows = list(places)
    return Batch(everything[rows], torch.tensor(rows), unchanging=rows if unchanging else None)


def test_an_image_passes_once_however_batches_are_made_up_and_features_are_those_of_the_backbone(backbone):
    remembered = RememberedFeatures(backbone)
    for each in (batch(3), batch(0, 3, 5), batch(5, 5, 1), batch(1, 0)):
        found = remembered(each)
        for ours, expected in zip(found, Backbone.forward(backbone, each.image), strict=True):
            assert torch.equal(ours, expected)
            assert ours.stride() == expected.stride(), "else a convolution may compute in another way"
    assert backbone.images == 4
    remembered.forget()
    remembered(batch(0))
    assert backbone.images == 5


def test_images_that_augmentation_changes_pass_each_time(backbone):
    remembered = RememberedFeatures(backbone)
    for _ in range(3):
        remembered(batch(0, 1, unchanging=False))
    assert backbone.images == 6


def test_no_more_is_kept_than_fits(backbone):
    size = sum(level.nbytes for level in backbone(batch(0).image))
    backbone.images, remembered = 0, RememberedFeatures(backbone, most_bytes=2 * size)
    for _ in range(3):
        expected = Backbone.forward(backbone, batch(0, 1, 2).image)
        assert all(torch.equal(*pair) for pair in zip(remembered(batch(0, 1, 2)), expected, strict=True))
    assert backbone.images == 5, "three, and then the third each time"
    kept = [level for levels in remembered._kept.values() for level in levels]
    assert sum(level.untyped_storage().nbytes() for level in kept) == 2 * size


def test_features_that_validation_computed_can_be_learned_from(backbone):
    remembered, layer = RememberedFeatures(backbone), torch.nn.LazyConv2d(1, 1)
    with torch.inference_mode():
        remembered(batch(0, 1)._replace(image=batch(0, 1).image.clone()))
    layer(remembered(batch(0, 1))[0]).sum().backward()
    assert layer.weight.grad.any()


def test_loaders_name_the_images_that_no_augmentation_changes(data_root):
    settings = {"root": str(data_root), "image_size": 32, "validation_share": 0.25, "batch_size": 4}
    plain = MVTecAD("screw", 0, "model", **settings)
    loaders = [plain.train_dataloader(), plain.val_dataloader(), plain.ordered_train_loader([2, 0])]
    for each in (one for loader in loaders for one in loader):
        assert each.unchanging == each.indices.tolist()
    augmented = MVTecAD("screw", 0, "model", **settings, augmentation="translation_and_colour")
    assert {each.unchanging is None for each in augmented.train_dataloader()} == {True}
    assert {each.unchanging is None for each in augmented.val_dataloader()} == {False}
    assert {each.unchanging is None for each in plain.test_dataloader()} == {True}


def trained(root, *, precision: str, remember: bool) -> tuple[FastFlow, dict[str, float]]:
    torch.manual_seed(0)
    data = MVTecAD("screw", 0, "model", root=str(root), image_size=32, validation_share=0.25, batch_size=2)
    data.prepare_data()
    model = FastFlow(DataSpec(32, 3, 9), **SETTINGS)
    if not remember:
        model.remembered = RememberedFeatures(model.backbone, most_bytes=0)
    trainer = Trainer(
        accelerator="cpu", max_epochs=2, precision=precision, callbacks=[EpochSeed(0)], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    return model, {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_training_on_remembered_features_ends_in_the_same_bits(data_root, precision):
    (model, losses), (other, expected) = (trained(data_root, precision=precision, remember=r) for r in (True, False))
    assert losses == expected
    state = other.state_dict()
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items() if name != "threshold")
    assert not model.remembered._kept, "forgotten when training has ended"


def test_a_copy_of_a_method_remembers_by_its_own_backbone():
    model = copy.deepcopy(FastFlow(DataSpec(32, 3, 9), **SETTINGS))
    assert model.remembered._backbone is model.backbone
