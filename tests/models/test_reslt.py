import math

import pytest
import torch
from lightning import Trainer
from torch import nn
from torch.utils.data import DataLoader

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.reslt import ResidualBranches, ResLT, branch_loss, branch_masks

SPEC = DataSpec(64, 3, 20, classes=("good", "a", "b"), class_counts=(12, 5, 3))
NETWORK = {"library": "timm", "backbone": "test_resnet", "weights": "none"}

# Probabilities of two branches for two images of the classes 0 (good) and 1.
BRANCHES = torch.tensor([[[0.50, 0.25, 0.25], [0.25, 0.50, 0.25]], [[0.25, 0.50, 0.25], [0.25, 0.25, 0.50]]]).log()
TARGET = torch.tensor([0, 1])
# Of the sums of logits: products .125, .125, .0625, and .0625, .125, .125, over their sum, .3125: both times .4.
FUSION = -math.log(0.4)
# Branch 1 sees both images (ln 2, ln 2), branch 2 the second alone (ln 4): three pairs.
BRANCH = (math.log(2) + math.log(2) + math.log(4)) / 3


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Fixed(nn.Module):
    """Branches that always say the same."""

    def forward(self, _last: torch.Tensor) -> torch.Tensor:
        return BRANCHES


def make(**settings) -> ResLT:
    return ResLT(SPEC, **NETWORK | settings)


def batch(count: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(count, 3, 64, 64, generator=generator)
    return Batch(image, torch.arange(count), torch.arange(count) % 3)


def test_good_images_are_the_head_and_all_defects_the_tail():
    assert make().masks.tolist() == [[True, True, True], [False, True, True]]


def test_bounds_make_a_branch_each_for_classes_of_fewer_images():
    masks = make(tail_below=[10, 4]).masks
    assert masks.tolist() == [[True, True, True], [False, True, True], [False, False, True]]


def test_a_class_with_as_many_images_as_the_bound_is_not_below_it():
    assert branch_masks((12, 5, 3), [5]).tolist() == [[True, True, True], [False, False, True]]


def test_the_branch_loss_is_the_mean_over_pairs_of_a_branch_and_an_image_that_it_sees():
    masks = torch.tensor([[True, True, True], [False, True, True]])
    assert branch_loss(BRANCHES, TARGET, masks).item() == pytest.approx(BRANCH, rel=1e-6)


def test_what_a_branch_does_not_see_leaves_its_loss_alone():
    masks = torch.tensor([[True, True, True], [False, True, True]])
    other = BRANCHES.clone()
    other[1, 0] = torch.tensor([9.0, -9.0, 3.0])
    assert branch_loss(other, TARGET, masks) == branch_loss(BRANCHES, TARGET, masks)


@pytest.mark.parametrize("beta", [0.0, 0.3, 0.9, 1.0])
def test_the_loss_mixes_fusion_and_branches_by_beta(beta):
    model = make(beta=beta).eval()
    model.head = Fixed()
    terms = model.loss(batch(2))
    assert terms["fusion"].item() == pytest.approx(FUSION, rel=1e-6)
    assert terms["branch"].item() == pytest.approx(BRANCH, rel=1e-6)
    assert terms["loss"].item() == pytest.approx((1 - beta) * FUSION + beta * BRANCH, rel=1e-6)


def test_accuracy_is_that_of_the_sum():
    model = make().eval()
    model.head = Fixed()
    model.head.forward = lambda _last: torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 3.0, 0], [0, 1, 0]]])
    assert model.loss(batch(2))["accuracy"].item() == 0.5


def test_logits_of_a_test_are_the_sum_of_the_branches():
    model = make(tail_below=[10, 4]).eval()
    with torch.inference_mode():
        branches = model.head(model.backbone.with_map(batch().image)[1])
        prediction = model(batch().image)
    assert branches.shape == (3, 6, 3)
    torch.testing.assert_close(prediction.logits, branches[0] + branches[1] + branches[2])
    score = prediction.logits[:, 1:].logsumexp(dim=1) - prediction.logits[:, 0]
    torch.testing.assert_close(prediction.score, score)


def test_each_branch_has_its_own_part_of_the_convolution_and_all_share_one_classifier():
    branches = ResidualBranches(channels=4, branches=2, classes=3)
    convolution, norm, _ = branches.split
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.running_mean)
    last = torch.randn(5, 4, 3, 3)
    found = branches.eval()(last)
    for i, own in enumerate((slice(0, 4), slice(4, 8))):
        mixed = torch.einsum("oi,bihw->bohw", convolution.weight[own, :, 0, 0], last)
        shape = (1, 4, 1, 1)
        normed = (mixed - norm.running_mean[own].view(shape)) / (norm.running_var[own].view(shape) + norm.eps).sqrt()
        active = (normed * norm.weight[own].view(shape) + norm.bias[own].view(shape)).relu()
        expected = active.mean(dim=(2, 3)) @ branches.classifier.weight.T + branches.classifier.bias
        torch.testing.assert_close(found[i], expected)


def test_all_of_the_network_learns():
    model = make().train()
    model.loss(batch())["loss"].backward()
    silent = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not silent


@pytest.mark.parametrize("settings", [{}, {"freeze_backbone": True}])
def test_it_trains(settings):
    model = make(learning_rate=0.01, **settings)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=8,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = batch()._replace(image=(batch().image * 255).byte())
    first = model.train().loss(batch())["loss"].item()
    trainer.fit(model, DataLoader([data] * 2, batch_size=None))
    after = model.state_dict()
    assert model.train().loss(batch())["loss"].item() < first
    assert not torch.equal(after["head.split.0.weight"], before["head.split.0.weight"])
    frozen = torch.equal(after["backbone.network.conv1.0.weight"], before["backbone.network.conv1.0.weight"])
    assert frozen == bool(settings)


def test_a_batch_of_one_image_trains_where_the_map_has_one_place():
    model = make().train()
    single = batch(1)._replace(image=batch(1).image[:, :, :32, :32])
    assert torch.isfinite(model.loss(single)["loss"])


def test_grad_cam_is_that_of_the_sum_of_branches():
    model = make().eval()
    image, classes = batch().image, batch().defect_type
    last = model.backbone.with_map(image)[1].detach().requires_grad_()
    chosen = model.head(last).sum(dim=0)[torch.arange(6), classes].sum()
    (gradient,) = torch.autograd.grad(chosen, last)
    expected = (gradient.mean(dim=(2, 3), keepdim=True) * last).sum(dim=1).relu().detach()
    torch.testing.assert_close(model.explain(image, classes), expected, rtol=1e-4, atol=1e-7)


def test_a_transformer_is_refused():
    with pytest.raises(UsageError, match=r"branches off the last map .* name another"):
        make(backbone="test_vit")


@pytest.mark.parametrize("bounds", [[10, 2], [3]])
def test_bounds_that_leave_a_branch_without_classes_are_refused(bounds):
    with pytest.raises(UsageError, match="no class has so few"):
        make(tail_below=bounds)


@pytest.mark.parametrize("bounds", [[], [4, 10], [10, 10]])
def test_bounds_that_do_not_fall_are_refused(bounds):
    with pytest.raises(UsageError, match="does not fall"):
        make(tail_below=bounds)


@pytest.mark.parametrize("beta", [-0.1, 1.1])
def test_a_beta_that_is_no_share_is_refused(beta):
    with pytest.raises(UsageError, match=r"--model\.beta"):
        make(beta=beta)


@pytest.mark.parametrize(
    ("network", "beyond"),
    [
        ({"library": "torchvision", "backbone": "vgg11"}, {"classifier.0", "classifier.3"}),
        ({"library": "torchvision", "backbone": "mobilenet_v3_small"}, {"classifier.0"}),
        ({"library": "torchvision", "backbone": "resnet18"}, set()),
    ],
)
def test_what_a_backbone_computes_after_its_last_map_is_frozen_and_all_else_learns(network, beyond):
    model = make(**network)
    model.loss(batch(2))["loss"].backward()
    parameters = dict(model.named_parameters())
    frozen = {name for name, parameter in parameters.items() if not parameter.requires_grad}
    assert {name.removeprefix("backbone.network.").rpartition(".")[0] for name in frozen} == beyond
    without = {name for name, parameter in parameters.items() if parameter.grad is None}
    assert without == frozen, "DDP waits for the gradient of each parameter that learns"


def test_freezing_what_lies_beyond_the_last_map_moves_no_random_draw(monkeypatch):
    frozen = dict(make(backbone="vgg11", library="torchvision").named_parameters())
    draw = torch.rand(1)
    torch.manual_seed(0)
    monkeypatch.setattr("bench.models.reslt.freeze_beyond_map", lambda *_: None)
    free = dict(make(backbone="vgg11", library="torchvision").named_parameters())
    assert draw == torch.rand(1)
    assert all(torch.equal(value, free[name]) for name, value in frozen.items())
