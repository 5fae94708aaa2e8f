import copy
import pickle

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader
from torchvision.models import get_model

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.classifier import Classifier, turn

SPEC = DataSpec(32, 3, 20, classes=("good", "a", "b"), class_counts=(12, 5, 3))
TINY = {"library": "timm", "backbone": "test_resnet", "weights": "none"}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def make(spec: DataSpec = SPEC, **settings) -> Classifier:
    return Classifier(spec, **TINY | settings)


def batch(count: int = 6, size: int = 32, channels: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(count, channels, size, size, generator=generator)
    return Batch(image, torch.arange(count), torch.arange(count) % 3)


def train(model: Classifier, epochs: int, data: list[Batch], **settings) -> Classifier:
    """Train as bench's Trainer does."""
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, **quiet | settings)
    trainer.fit(model, DataLoader(data, batch_size=None))
    return model


def test_the_score_is_the_log_odds_of_any_defect():
    model = make().eval()
    with torch.inference_mode():
        prediction = model(batch().image)
    good = prediction.logits.softmax(dim=1)[:, 0]
    torch.testing.assert_close(prediction.score, ((1 - good) / good).log(), rtol=1e-4, atol=1e-5)
    assert prediction.map is None


def test_the_loss_is_that_of_the_logits_and_accuracy_the_share_of_right_classes():
    model = make().eval()
    terms = model.loss(batch())
    logits = model.logits(batch().image)
    torch.testing.assert_close(terms["loss"], nn.functional.cross_entropy(logits, batch().defect_type))
    right = sum(int(row.argmax()) == int(t) for row, t in zip(logits, batch().defect_type, strict=True))
    assert terms["accuracy"].item() == pytest.approx(right / 6)


def test_logit_adjustment_leaves_the_logits_of_a_test_as_they_are():
    plain, adjusted = make().eval(), make(logit_adjustment=1.0).eval()
    adjusted.load_state_dict(plain.state_dict())
    assert torch.equal(adjusted(batch().image).logits, plain(batch().image).logits)
    assert adjusted.loss(batch())["loss"] != plain.loss(batch())["loss"]


@pytest.mark.parametrize(("setting", "value"), [("effective_number_beta", 0.9), ("focal_gamma", 2.0)])
def test_remedies_of_the_loss_reach_it(setting, value):
    plain, remedied = make().eval(), make(**{setting: value}).eval()
    remedied.load_state_dict(plain.state_dict())
    assert remedied.loss(batch())["loss"] != plain.loss(batch())["loss"]


def test_a_batch_of_one_image_trains():
    model = make().train()
    single = batch(1)
    assert torch.isfinite(model.loss(single)["loss"])


def test_grey_images_are_seen_in_three_equal_channels():
    model = make(SPEC._replace(channels=1)).eval()
    grey = batch(channels=1).image
    torch.testing.assert_close(model(grey).logits, model(grey.expand(-1, 3, -1, -1)).logits)


def test_a_hidden_layer_lies_before_the_last_one():
    model = make(head="mlp", hidden=7).eval()
    first, last = (module for module in model.head if isinstance(module, nn.Linear))
    assert (first.out_features, last.out_features) == (7, 3)
    features = model.backbone(batch().image)
    torch.testing.assert_close(model.logits(batch().image), last(first(features).relu()))


def test_features_are_dropped_while_learning_only():
    model = make(dropout=0.5)
    features = torch.ones(1, 96)
    assert not torch.equal(model.train().classify(features, None), model.classify(features, None))
    assert torch.equal(model.eval().classify(features, None), model.classify(features, None))


def test_training_tells_colours_apart():
    colours = torch.eye(3)[:, :, None, None].expand(3, 3, 32, 32).repeat(4, 1, 1, 1)
    target = torch.arange(3).repeat(4)
    data = [Batch((colours * 255).byte(), torch.arange(12), target)] * 4
    model = train(make(learning_rate=0.01), 5, data).eval()
    with torch.inference_mode():
        assert torch.equal(model(colours).logits.argmax(dim=1), target)


@pytest.mark.parametrize("frozen", [False, True])
def test_grad_cam_is_autograds_by_hand_even_in_inference_mode(frozen):
    network = get_model("shufflenet_v2_x0_5", weights=None)
    model = make(library="torchvision", backbone="shufflenet_v2_x0_5", freeze_backbone=frozen).eval()
    model.backbone.network.load_state_dict({k: v for k, v in network.state_dict().items() if "fc." not in k})
    network.eval()
    image, classes = batch(size=64).image, batch().defect_type
    normal = (image - model.backbone.mean) / model.backbone.std
    last = network.conv5(network.stage4(network.stage3(network.stage2(network.maxpool(network.conv1(normal))))))
    last = last.detach().requires_grad_()
    logits = last.mean(dim=(2, 3)) @ model.head[1].weight.T + model.head[1].bias
    (gradient,) = torch.autograd.grad(sum(logits[i, int(k)] for i, k in enumerate(classes)), last)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * last).sum(dim=1).clamp_min(0).detach()
    with torch.inference_mode():
        found = model.explain(image.clone(), classes)
    assert found.shape == (6, 2, 2)
    assert 0 < (expected > 0).float().mean() < 1
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_grad_cam_explains_the_classes_of_a_prediction_made_in_inference_mode():
    model = make().eval()
    with torch.inference_mode():
        image = batch(size=64).image
        predicted = model(image).logits.argmax(dim=1)
        found = model.explain(image, predicted)
    torch.testing.assert_close(found, model.explain(batch(size=64).image, torch.tensor(predicted.tolist())))


def test_a_transformer_has_no_grad_cam():
    model = make(DataSpec(160, 3, 20, classes=SPEC.classes, class_counts=SPEC.class_counts), backbone="test_vit").eval()
    assert model.explain(torch.rand(2, 3, 160, 160), torch.tensor([0, 1])) is None


@pytest.mark.slow
def test_two_processes_train_it():
    model = make()
    before = copy.deepcopy(model.state_dict())
    data = [batch()._replace(image=(batch().image * 255).byte())] * 2
    train(model, 1, data, devices=2, strategy="ddp_spawn", use_distributed_sampler=False)
    for name in ("backbone.network.conv1.0.weight", "head.1.weight"):
        assert not torch.equal(model.state_dict()[name], before[name]), name


def test_a_checkpoint_brings_how_its_weights_were_normalised():
    assert {"backbone.mean", "backbone.std"} <= make().state_dict().keys()


def test_a_copy_finds_its_own_last_map():
    model = make().eval()
    twin = copy.deepcopy(model)
    last = twin.backbone.with_map(batch().image)[1]
    assert last is not None
    torch.testing.assert_close(last, model.backbone.with_map(batch().image)[1])


def test_a_model_can_be_sent_to_another_process():
    twin = pickle.loads(pickle.dumps(make().eval()))
    assert twin.backbone.with_map(batch().image)[1] is not None


@pytest.mark.parametrize("classes", [(), ("good",)])
def test_data_without_defects_are_refused(classes):
    with pytest.raises(UsageError, match=r"set --data\.fold"):
        make(DataSpec(32, 3, 12, classes=classes, class_counts=(12,) * len(classes)))


@pytest.mark.parametrize("settings", [{"step_epochs": 0}, {"warmup_epochs": -1}])
def test_epochs_that_make_no_schedule_are_refused(settings):
    with pytest.raises(UsageError, match=next(iter(settings))):
        make(**settings)


def picture() -> torch.Tensor:
    """A bright bar off the middle of a dark image (1, 1, 33, 33)."""
    image = torch.zeros(1, 1, 33, 33)
    image[..., 8:12, 10:24] = 1
    return image


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_quarter_turn_is_exact(quarters):
    torch.testing.assert_close(turn(picture(), 90 * quarters), picture().rot90(quarters, (2, 3)), atol=1e-4, rtol=0)


def test_a_turned_image_is_albumentations_safe_rotation():
    import albumentations as A

    smooth = torch.nn.functional.interpolate(picture(), size=(128, 128), mode="bilinear")
    rotation = A.SafeRotate((30, 30), border_mode=1, p=1.0)
    expected = rotation(image=smooth[0, 0].numpy())["image"]
    assert abs(turn(smooth, 30)[0, 0].numpy() - expected).mean() < 0.01


def test_views_average_the_log_probabilities_of_all_turns():
    model = make(views=4).eval()
    image = torch.rand(2, 3, 32, 32)
    each = [model.logits(image.rot90(quarters, (2, 3))).log_softmax(dim=1) for quarters in range(4)]
    torch.testing.assert_close(model(image).logits, torch.stack(each).mean(dim=0), atol=1e-3, rtol=1e-3)


def test_the_score_of_turned_views_is_the_same_whichever_way_the_image_lies():
    model = make(views=4).eval()
    image = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(model(image.rot90(1, (2, 3))).score, model(image).score, atol=1e-3, rtol=1e-3)


def test_a_normalised_head_sees_features_of_mean_0_and_deviation_1():
    model = make(head="normalised").train()
    seen = []
    model.head[-1].register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0]))
    model.logits(torch.rand(16, 3, 32, 32))
    assert seen[0].mean(dim=0).abs().max() < 1e-4
    assert (seen[0].std(dim=0, unbiased=False)[seen[0].std(dim=0) > 1e-2] - 1).abs().max() < 0.1
