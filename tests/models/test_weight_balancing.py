import copy
import math

import pytest
import torch
from lightning import Callback, Trainer
from torch import nn
from torch.utils.data import DataLoader

from bench.data.datamodule import DataSpec
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.classifier import Classifier
from bench.models.parts.classifier_loss import ClassificationLoss
from bench.models.weight_balancing import WeightBalancing

SPEC = DataSpec(32, 3, 20, classes=("good", "a", "b"), class_counts=(12, 5, 3))
NETWORK = {"library": "timm", "backbone": "test_resnet", "weights": "none"}
FIRST = {"learning_rate": 0.05, "weight_decay": 0.02, "optimizer": "sgd"}
SECOND = {"balancing_epochs": 2, "balancing_rate": 0.5, "balancing_decay": 0.1}
STEPS = 3


class Watched(WeightBalancing):
    """Keeps what the weights are after each step, and before the second stage."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        self.steps: list[dict[str, torch.Tensor]] = []
        self.before: dict[str, torch.Tensor] = {}

    def on_train_epoch_start(self) -> None:
        if self.trainer.current_epoch == self.first_balancing_epoch:
            self.before = copy.deepcopy(self.state_dict())
        super().on_train_epoch_start()

    def on_train_batch_end(self, *arguments) -> None:
        super().on_train_batch_end(*arguments)
        self.steps.append(copy.deepcopy(self.state_dict()))


class Groups(Callback):
    """Rates and decays of all groups in each step."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.decays: list[list[float]] = []

    def on_train_batch_start(self, trainer, *_):
        self.rates.append([group["lr"] for group in trainer.optimizers[0].param_groups])
        self.decays.append([group["weight_decay"] for group in trainer.optimizers[0].param_groups])


class SaveEpochs(Callback):
    """What a run that is stopped after an epoch goes on from."""

    def on_train_epoch_end(self, trainer, *_):
        trainer.save_checkpoint(f"{trainer.current_epoch}.ckpt")


def make(**settings) -> Watched:
    torch.manual_seed(0)
    return Watched(SPEC, **NETWORK | FIRST | SECOND | settings)


def batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    image = torch.randint(256, (6, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Batch(image, torch.arange(6), torch.arange(6) % 3)


def train(model: Watched, *callbacks: Callback, epochs: int = 4, resume: str | None = None) -> Watched:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader([batch()] * STEPS, batch_size=None)
    trainer.fit(model, loader, ckpt_path=resume, weights_only=True if resume else None)
    return model


@pytest.fixture(scope="module")
def usual() -> tuple[Watched, Groups]:
    """A training of two epochs in each stage, and what its groups were; only to be read."""
    groups = Groups()
    return train(make(), groups), groups


def differing(mine: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> set[str]:
    """Names of what is not the same bit by bit; the operating threshold is not known yet."""
    return {name for name, value in mine.items() if name != "threshold" and not torch.equal(value, theirs[name])}


def row_norms(state: dict[str, torch.Tensor]) -> torch.Tensor:
    return state["head.1.weight"].norm(dim=1)


def plain(state: dict[str, torch.Tensor]) -> Classifier:
    """A classifier in the same state."""
    model = Classifier(SPEC, **NETWORK | FIRST)
    model.load_state_dict({name: value for name, value in state.items() if name != "max_norm"})
    return model


@pytest.mark.parametrize("share", [0.0, 0.1, 1.0])
def test_the_threshold_lies_between_the_norms_of_rows_when_the_second_stage_begins(share):
    model = train(make(max_norm_share=share))
    norms = row_norms(model.before)
    expected = norms.min() + share * (norms.max() - norms.min())
    torch.testing.assert_close(model.max_norm, expected, rtol=1e-6, atol=0)


def test_no_row_is_above_the_threshold_after_any_step_of_the_second_stage():
    # Without decay and at a large rate rows would grow.
    model = train(make(balancing_rate=5.0, balancing_decay=0.0))
    second = model.steps[2 * STEPS :]
    assert len(second) == 2 * STEPS
    assert all((row_norms(state) <= model.max_norm).all() for state in second)
    unbounded = make(balancing_rate=5.0, balancing_decay=0.0)
    unbounded.max_norm_share = 1e6
    free = train(unbounded)
    assert (row_norms(free.steps[-1]) > model.max_norm).any()


def test_rows_may_be_scaled_back_after_each_epoch_alone():
    model = train(make(balancing_rate=5.0, balancing_decay=0.0, max_norm_after="epoch"))
    within = [bool((row_norms(state) <= model.max_norm).all()) for state in model.steps[2 * STEPS :]]
    assert not all(within[:STEPS]), "no step of the epoch is bounded"
    assert (row_norms(model.state_dict()) <= model.max_norm).all()


def test_rows_of_the_first_stage_are_free(usual):
    model, _ = usual
    assert len({round(norm, 4) for norm in row_norms(model.steps[2 * STEPS - 1]).tolist()}) == 3
    assert all(torch.isinf(state["max_norm"]) for state in model.steps[: 2 * STEPS])


def test_a_row_below_the_threshold_is_not_stretched_to_it():
    model = train(make(max_norm_share=1.0, balancing_rate=1e-6))
    torch.testing.assert_close(row_norms(model.steps[-1]), row_norms(model.before), rtol=1e-4, atol=0)


@pytest.mark.parametrize(("head", "last"), [("linear", "head.1"), ("mlp", "head.3")])
def test_the_second_stage_changes_the_last_layer_alone_and_no_batch_statistics(head, last):
    model = train(make(head=head, hidden=8))
    assert differing(model.before, model.state_dict()) == {f"{last}.weight", f"{last}.bias", "max_norm"}


def test_the_first_stage_learns_everything(usual):
    model, _ = usual
    expected = {"backbone.network.conv1.0.weight", "backbone.network.bn1.running_mean", "head.1.weight"}
    assert expected <= differing(model.steps[0], model.before)


def test_the_first_step_is_that_of_sgd_with_decayed_weights():
    model = make(schedule="constant")
    reference = plain(copy.deepcopy(model.state_dict())).train()
    train(model)
    image = batch().image.float() / 255
    nn.functional.cross_entropy(reference.logits(image), batch().defect_type).backward()
    for name, parameter in reference.named_parameters():
        rate = FIRST["learning_rate"] * (0.1 if name.startswith("backbone.") else 1.0)
        decay = FIRST["weight_decay"] if parameter.ndim > 1 else 0.0
        expected = parameter.detach() - rate * (parameter.grad + decay * parameter.detach())
        torch.testing.assert_close(model.steps[0][name], expected, rtol=1e-4, atol=1e-6, msg=name)


def test_the_second_stages_first_step_has_the_balanced_loss_its_own_decay_and_no_momentum_of_the_first():
    model = train(make(max_norm_share=0.3))
    reference = plain(model.before).eval()
    logits = reference.logits(batch().image.float() / 255)
    balanced = ClassificationLoss(SPEC.class_counts, effective_number_beta=0.9999)
    balanced(logits, batch().defect_type).backward()
    weight, bias = reference.head[1].weight, reference.head[1].bias
    moved = weight.detach() - 0.5 * (weight.grad + 0.1 * weight.detach())
    norms = moved.norm(dim=1, keepdim=True)
    expected = torch.where(norms > model.max_norm, moved * model.max_norm / norms, moved)
    assert (norms > model.max_norm).any()
    step = model.steps[2 * STEPS]
    torch.testing.assert_close(step["head.1.weight"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        step["head.1.bias"], bias.detach() - 0.5 * (bias.grad + 0.1 * bias.detach()), rtol=1e-4, atol=1e-6
    )


def test_each_stage_has_a_cosine_of_its_own(usual):
    _, groups = usual
    half_wave = [(1 + math.cos(math.pi * t / (2 * STEPS))) / 2 for t in range(2 * STEPS)]
    head = [rates[-1] for rates in groups.rates]
    assert head == pytest.approx([*(0.05 * share for share in half_wave), *(0.5 * share for share in half_wave)])


def test_the_first_stages_schedule_may_be_another():
    groups = Groups()
    train(make(schedule="step", step_epochs=1), groups)
    assert [rates[-1] for rates in groups.rates[: 2 * STEPS]] == pytest.approx([0.05] * STEPS + [0.005] * STEPS)


def test_only_the_last_layer_decays_more_in_the_second_stage(usual):
    model, groups = usual
    last = {id(parameter) for parameter in model.head[1].parameters()}
    held = [bool(last & {id(p) for p in group["params"]}) for group in model.optimizers().optimizer.param_groups]
    for before, after, own in zip(groups.decays[0], groups.decays[-1], held, strict=True):
        assert after == (0.1 if own else before)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_run_resumed_at_or_inside_the_second_stage_ends_with_the_bits_of_one_that_was_not_stopped(epoch):
    undisturbed = train(make(), SaveEpochs())
    resumed = train(make(), resume=f"{epoch}.ckpt")
    assert not differing(resumed.state_dict(), undisturbed.state_dict())


def test_a_trained_model_predicts_without_a_trainer(usual):
    trained, _ = usual
    fresh = make().eval()
    fresh.load_state_dict(trained.state_dict())
    image = batch().image.float() / 255
    with torch.inference_mode():
        assert torch.equal(fresh(image).logits, trained.eval()(image).logits)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_another_optimizer_than_sgd_is_refused(optimizer):
    with pytest.raises(UsageError, match=r"set --model\.optimizer sgd"):
        make(optimizer=optimizer)


def test_a_frozen_backbone_is_refused_by_the_name_of_its_setting():
    with pytest.raises(UsageError, match="freeze_backbone"):
        make(freeze_backbone=True)


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_plan_without_a_first_stage_is_refused(epochs):
    with pytest.raises(UsageError, match=rf"max_epochs {epochs} leaves none before --model.balancing_epochs 2"):
        train(make(), epochs=epochs)
