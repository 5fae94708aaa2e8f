import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from bench.errors import UsageError
from bench.models.parts.classifier_loss import ClassificationLoss, class_weights

COUNTS = (12, 5, 3)


def draw() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and classes; of unlike shares, or a mean over images would be one over weights."""
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 1, 0, 2])


def test_without_remedies_the_loss_is_cross_entropy():
    logits, target = draw()
    torch.testing.assert_close(ClassificationLoss(COUNTS)(logits, target), cross_entropy(logits, target))


def test_class_balanced_weights_are_those_of_the_formula():
    # (1 - .9) / (1 - .9^n) for 12, 5 and 3 images: .1 / .717570, .1 / .409510, .1 / .271; then times 3 / their sum.
    expected = torch.tensor([0.139359, 0.244194, 0.369004]) * 3 / 0.752557
    torch.testing.assert_close(class_weights(COUNTS, 0.9), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize("counts", [COUNTS, (391, 8), (7, 0, 3, 12)])
def test_class_balanced_weights_sum_to_the_number_of_classes(counts, beta):
    assert class_weights(counts, beta).sum().item() == pytest.approx(len(counts), rel=1e-6)


def test_beta_0_weighs_all_classes_alike():
    assert class_weights(COUNTS, 0.0).tolist() == [1.0, 1.0, 1.0]


def test_a_class_without_images_weighs_nothing():
    assert class_weights((7, 0, 3), 0.999).tolist()[1] == 0.0


def test_beta_of_9999_and_few_images_is_nearly_inverse_frequency():
    inverse = 1 / torch.tensor(COUNTS, dtype=torch.float32)
    torch.testing.assert_close(class_weights(COUNTS, 0.9999), inverse * 3 / inverse.sum(), rtol=1e-3, atol=0)


def test_the_class_balanced_loss_is_the_mean_over_images_of_their_weighted_cross_entropy():
    logits, target = draw()
    weights = class_weights(COUNTS, 0.99)
    each = [weights[t] * cross_entropy(row[None], t[None]) for row, t in zip(logits, target, strict=True)]
    loss = ClassificationLoss(COUNTS, effective_number_beta=0.99)(logits, target)
    torch.testing.assert_close(loss, torch.stack(each).mean())


def test_the_focal_loss_is_its_definition():
    # Probabilities of the true classes .7 and .2: (1 - .7)^2 * -ln .7 and (1 - .2)^2 * -ln .2.
    logits = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.2, 0.3]]).log()
    loss = ClassificationLoss(COUNTS, focal_gamma=2.0)(logits, torch.tensor([0, 1]))
    assert loss.item() == pytest.approx((0.3**2 * 0.356675 + 0.8**2 * 1.609438) / 2, rel=1e-5)


def test_the_focal_loss_looks_away_from_what_is_nearly_right():
    logits = torch.tensor([[4.0, 0.0, 0.0]])
    plain, focal = (ClassificationLoss(COUNTS, focal_gamma=g)(logits, torch.tensor([0])) for g in (0.0, 2.0))
    assert 0 < focal < plain / 500


@pytest.mark.parametrize(
    "gamma",
    [0.5, 1.0, 2.0],
)
def test_the_focal_loss_of_a_surely_right_image_has_a_finite_gradient(gamma):
    logits = torch.tensor([[40.0, 0.0, 0.0]], requires_grad=True)  # its probability rounds to 1
    ClassificationLoss(COUNTS, focal_gamma=gamma)(logits, torch.tensor([0])).backward()
    assert torch.isfinite(logits.grad).all()


def test_logit_adjustment_adds_tau_times_the_log_prior_while_learning():
    logits, target = draw()
    # The logarithms of 12, 5 and 3 images of 20.
    prior = torch.tensor([-0.5108256, -1.3862944, -1.8971200])
    loss = ClassificationLoss(COUNTS, logit_adjustment=1.5)(logits, target)
    torch.testing.assert_close(loss, cross_entropy(logits + 1.5 * prior, target))


def test_logit_adjustment_asks_a_larger_margin_of_rarer_classes():
    objective = ClassificationLoss(COUNTS, logit_adjustment=1.0)
    losses = [objective(torch.zeros(1, 3), torch.tensor([k])).item() for k in range(3)]
    # At equal logits what is left is the prior: -ln .6, -ln .25, -ln .15.
    assert losses == pytest.approx([-math.log(0.6), -math.log(0.25), -math.log(0.15)], rel=1e-5)


def test_logit_adjustment_counts_a_class_without_images_as_one():
    losses = ClassificationLoss((15, 0, 4), logit_adjustment=1.0).offsets.exp()
    torch.testing.assert_close(losses, torch.tensor([15.0, 1.0, 4.0]) / 20)


def test_label_smoothing_is_torchs():
    logits, target = draw()
    loss = ClassificationLoss(COUNTS, label_smoothing=0.1)(logits, target)
    torch.testing.assert_close(loss, cross_entropy(logits, target, label_smoothing=0.1))


def test_remedies_go_together():
    logits, target = draw()
    settings = {"effective_number_beta": 0.9, "focal_gamma": 1.5, "logit_adjustment": 0.5}
    adjusted = logits + 0.5 * torch.log(torch.tensor([0.6, 0.25, 0.15]))
    right = adjusted.softmax(dim=1)[torch.arange(6), target]
    each = class_weights(COUNTS, 0.9)[target] * (1 - right) ** 1.5 * -right.log()
    torch.testing.assert_close(ClassificationLoss(COUNTS, **settings)(logits, target), each.mean())


def test_the_loss_of_half_precision_logits_is_computed_in_float():
    logits, target = draw()
    loss = ClassificationLoss(COUNTS)(logits.bfloat16(), target)
    torch.testing.assert_close(loss, cross_entropy(logits.bfloat16().float(), target), rtol=0, atol=0)


@pytest.mark.parametrize("beta", [1.0, 1.5, -0.1])
def test_a_beta_outside_of_0_to_1_is_refused(beta):
    with pytest.raises(UsageError, match="effective_number_beta"):
        ClassificationLoss(COUNTS, effective_number_beta=beta)


def test_settings_are_no_part_of_a_checkpoint():
    assert not ClassificationLoss(COUNTS, effective_number_beta=0.9, logit_adjustment=1.0).state_dict()
