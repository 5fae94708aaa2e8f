"""STFPM: map and loss against plain loops, and a student that alone learns, from whole batches."""

import numpy as np
import pytest
import timm
import torch
from lightning import Trainer
from torch import Tensor
from torch.nn.functional import interpolate

from bench.data.datamodule import DataSpec
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.stfpm import STFPM
from bench.runs.callbacks import EpochSeed

SPEC = DataSpec(64, 3, 12)
SMALL = {"backbone": "mobilenetv2_100", "weights": "none", "levels": [1, 2, 3]}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(**settings) -> STFPM:
    return STFPM(SPEC, **SMALL | settings)


def images(count: int = 3) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def batch_of(count: int = 3) -> Batch:
    return Batch(images(count), torch.arange(count))


def squared_distances(teacher: Tensor, student: Tensor) -> np.ndarray:
    """The squared distance (B, h, w) of unit vectors, position by position, in double precision."""
    one, other = (each.detach().double().numpy() for each in (teacher, student))
    count, _, rows, columns = one.shape
    found = np.empty((count, rows, columns))
    for place in np.ndindex(count, rows, columns):
        image, row, column = place
        a, b = one[image, :, row, column], other[image, :, row, column]
        found[place] = ((a / np.linalg.norm(a) - b / np.linalg.norm(b)) ** 2).sum()
    return found


# Map, score and loss


@torch.no_grad()
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_100", "tf_efficientnet_lite0", "test_resnet"])
def test_a_teacher_copied_into_its_student_gives_a_map_of_zero(backbone):
    model = make(backbone=backbone).eval()
    assert model(images()).map.any()
    model.student.network.load_state_dict(model.backbone.network.state_dict())
    score, anomaly_map, _ = model(images())
    assert not score.any()
    assert not anomaly_map.any()


@torch.no_grad()
def test_the_map_is_the_product_of_the_levels_halved_squared_distances_and_the_score_its_maximum():
    model, expected = make().eval(), torch.ones(3, 1, 64, 64, dtype=torch.float64)
    for teacher, student in zip(model.backbone(images()), model.student(images()), strict=True):
        level = torch.from_numpy(squared_distances(teacher, student) / 2)[:, None]
        expected *= interpolate(level, 64, mode="bilinear", align_corners=False)
    score, anomaly_map, _ = model(images())
    torch.testing.assert_close(anomaly_map, expected[:, 0].float(), rtol=1e-4, atol=1e-7)
    assert torch.equal(score, anomaly_map.amax(dim=(1, 2)))


@torch.no_grad()
def test_the_loss_is_the_squared_distance_averaged_over_positions_and_images_and_summed_over_levels():
    model = make().eval()
    pairs = zip(model.backbone(images()), model.student(images()), strict=True)
    expected = sum(squared_distances(teacher, student).mean() for teacher, student in pairs)
    assert float(model.loss(batch_of())["loss"]) == pytest.approx(expected, rel=1e-5)


@torch.no_grad()
def test_a_batch_of_twice_the_images_has_no_larger_loss():
    model = make().eval()
    twice = Batch(torch.cat([images(), images()]), torch.arange(6))
    torch.testing.assert_close(model.loss(twice)["loss"], model.loss(batch_of())["loss"])


# The student


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2_100"])
def test_the_student_is_the_teachers_architecture_with_random_values(backbone):
    model = make(backbone=backbone)
    teacher, student = (dict(each.network.named_parameters()) for each in (model.backbone, model.student))
    assert {name: each.shape for name, each in teacher.items()} == {name: each.shape for name, each in student.items()}
    convolutions = [name for name, value in teacher.items() if value.ndim == 4]
    assert convolutions
    assert not any(torch.equal(teacher[name], student[name]) for name in convolutions)


def test_no_residual_branch_of_a_fresh_student_is_silent():
    """timm begins each with a scale of 0 in its last BatchNorm, torchvision, which the paper used, with 1."""
    assert not timm.create_model("resnet18").layer1[0].bn2.weight.any()
    student = make(backbone="resnet18").student.network
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            assert torch.equal(module.weight, torch.ones_like(module.weight))


def test_the_student_normalises_images_as_the_teacher_does():
    model = STFPM(SPEC, backbone="tf_efficientnet_lite0", weights="none", levels=[1])
    assert model.student.mean.flatten().tolist() == model.backbone.mean.flatten().tolist() == [0.5] * 3
    assert torch.equal(model.student.std, model.backbone.std)


def test_in_training_the_student_sees_the_whole_batch_at_once():
    """BatchNorm of pairs, as images pass in evaluation, would be another network."""
    model = make(backbone="resnet18", levels=[1]).train()
    network = timm.create_model("resnet18").train()
    network.load_state_dict(model.student.network.state_dict(), strict=False)
    kept: list[Tensor] = []
    network.layer1.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    network((images() - model.student.mean) / model.student.std)
    torch.testing.assert_close(model.student(images())[0], kept[0], rtol=1e-4, atol=1e-4)
    mean = dict(model.student.network.named_buffers())["bn1.running_mean"]
    torch.testing.assert_close(mean, network.bn1.running_mean)


@torch.no_grad()
def test_in_evaluation_an_image_is_scored_to_the_bit_whatever_stands_beside_it():
    model = make().eval()
    together = model(images(5)).map
    for start, end in ((0, 1), (1, 4), (2, 5)):
        assert torch.equal(model(images(5)[start:end]).map, together[start:end])


def test_every_parameter_that_is_trained_gets_a_gradient_and_no_other_is_there():
    model = make().train()
    model.loss(batch_of())["loss"].backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == name.startswith("student."), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
    (group,) = model.configure_optimizers().param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.4, 0.9, 1e-4)
    assert len(group["params"]) == sum(parameter.requires_grad for parameter in model.parameters())


def train(model: STFPM, root, epochs: int) -> None:
    data = MVTecAD("screw", 0, "model", root=str(root), image_size=64, validation_share=0.25, batch_size=4)
    data.prepare_data()
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    callbacks = [EpochSeed(0)]
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, callbacks=callbacks, enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=data)


def test_training_moves_the_student_and_its_statistics_and_leaves_the_teacher_to_the_bit(data_root):
    model = make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    train(model, data_root, 1)
    assert not any(module.training for module in model.backbone.modules())
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == {name for name in before if name.startswith("backbone.")}, "threshold aside, which is no number yet"


def test_remembered_teachers_features_train_the_same_student_to_the_bit(data_root):
    found = []
    for remembers in (True, False):
        torch.manual_seed(0)
        model = make(levels=[1, 2])
        if not remembers:
            model.remembered._most_bytes = 0
        train(model, data_root, 2)
        found.append(model.student.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_a_student_learns_the_features_of_a_few_images():
    model = make(backbone="test_resnet", levels=[1, 2], learning_rate=0.4).train()
    optimizer, losses = model.configure_optimizers(), []
    for _ in range(80):
        loss = model.loss(batch_of())["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.25 * losses[0]


# Refusals


def test_patches_of_textures_are_refused():
    with pytest.raises(UsageError, match=r"--data\.texture_patch null"):
        STFPM(DataSpec(64, 3, 12, patch=32), **SMALL)


def test_a_transformer_is_no_student():
    with pytest.raises(UsageError, match="deit_tiny_patch16_224 is a transformer"):
        make(backbone="deit_tiny_patch16_224", levels=[1])
