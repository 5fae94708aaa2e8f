import json
import pickle
import subprocess
import sys
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer
from torch.nn import functional

from bench.collectives import average_gradients
from bench.config.presets import conf_folder
from bench.data.datamodule import DataSpec, DefectData
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.f_anogan import FAnoGAN, Noise, gradient_penalty, in_generators_range
from bench.models.parts.f_anogan_network import EnlargedConvolution, PooledConvolution
from bench.runs.callbacks import EpochSeed

SPEC = DataSpec(16, 3, 12)
SMALL = {"latent_dim": 8, "width": 2}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def data(data_root) -> DefectData:
    """9 training images in batches of 3, so that an epoch has three updates."""
    settings = {"image_size": 16, "validation_share": 0.25, "batch_size": 3}
    data = MVTecAD("screw", 0, "model", root=str(data_root), **settings)
    data.prepare_data()
    return data


def make(**settings) -> FAnoGAN:
    return FAnoGAN(SPEC, **SMALL | {"pretrain_epochs": 1, "critic_steps": 2} | settings)


def images(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def train(model: FAnoGAN, data: DefectData, epochs: int, *callbacks: Callback, **settings) -> Trainer:
    """Train as a run does."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    own = [EpochSeed(0), *callbacks]
    trainer = Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=own, enable_model_summary=False, **quiet | settings
    )
    trainer.fit(model, datamodule=data)
    return trainer


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Weights and buffers as they are now."""
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


class States(Callback):
    """What each network was like after each update, and in which mode it was."""

    def __init__(self) -> None:
        self.states: list[dict[str, dict[str, torch.Tensor]]] = []
        self.modes: list[dict[str, set[bool]]] = []

    def on_train_batch_start(self, trainer, model, batch, index):
        if not self.states:
            self._look(model)

    def on_train_batch_end(self, trainer, model, outputs, batch, index):
        self._look(model)

    def _look(self, model):
        networks = {name: getattr(model, name) for name in ("generator", "critic", "encoder")}
        self.states.append({name: state(network) for name, network in networks.items()})
        self.modes.append({name: {part.training for part in each.modules()} for name, each in networks.items()})

    def changed(self, network: str) -> list[bool]:
        """Whether each update changed a network's weights or buffers."""
        return [not same(before[network], after[network]) for before, after in pairwise(self.states)]


# The gradient penalty


def test_the_penalty_of_a_linear_critic_is_that_of_its_slope_wherever_it_looks():
    slope = torch.randn(3, 16, 16)
    penalty = gradient_penalty(
        lambda image: (image * slope).sum(dim=(1, 2, 3)), images(), -images(), torch.rand(4, 1, 1, 1)
    )
    assert penalty.item() == pytest.approx((float(slope.norm()) - 1) ** 2, rel=1e-5)


def test_a_critic_of_slope_one_costs_nothing():
    slope = functional.normalize(torch.randn(3 * 16 * 16), dim=0).view(3, 16, 16)
    penalty = gradient_penalty(
        lambda image: (image * slope).sum(dim=(1, 2, 3)), images(), -images(), torch.rand(4, 1, 1, 1)
    )
    assert penalty.item() == pytest.approx(0, abs=1e-10)


def test_the_penalty_looks_at_its_share_of_the_way_from_real_images_to_drawings():
    seen = []

    def spy(image: torch.Tensor) -> torch.Tensor:
        seen.append(image.detach())
        return image.square().sum(dim=(1, 2, 3))

    share = torch.tensor([0.0, 0.25, 0.5, 1.0]).view(4, 1, 1, 1)
    real, drawn = images(), -images()
    penalty = gradient_penalty(spy, real, drawn, share)
    torch.testing.assert_close(seen[0], (1 - share) * real + share * drawn)
    slopes = 2 * seen[0].flatten(1).norm(dim=1)  # of a sum of squares
    assert penalty.item() == pytest.approx(float(((slopes - 1) ** 2).mean()), rel=1e-5)


def test_the_penalty_of_the_critic_is_that_of_finite_differences():
    critic = make().critic.double()
    real, drawn, share = images(2).double(), -images(2).double(), torch.rand(2, 1, 1, 1).double()
    between = real + share * (drawn - real)
    slopes = torch.empty(2, 3 * 16 * 16, dtype=torch.float64)
    step = 1e-6
    with torch.no_grad():
        # No image's number depends on the others, so that one batch holds a change of each value.
        for number, image in enumerate(between):
            changes = step * torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape)
            slopes[number] = (critic(image + changes) - critic(image - changes)) / (2 * step)
        expected = float(((slopes.norm(dim=1) - 1) ** 2).mean())
    # In double precision throughout; the penalty itself asks for no other.
    assert gradient_penalty(critic, real, drawn, share).item() == pytest.approx(expected, rel=1e-5)


def test_the_penalty_teaches_the_critic_its_slope():
    critic = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 1, bias=False), torch.nn.Flatten(0))
    gradient_penalty(critic, images(), -images(), torch.rand(4, 1, 1, 1)).backward()
    weight = critic[1].weight.detach()
    expected = 2 * (weight.norm() - 1) * weight / weight.norm()  # of (|w| - 1)^2
    torch.testing.assert_close(critic[1].weight.grad, expected)


# The networks


@pytest.mark.parametrize("size", [16, 32, 64])
def test_generator_and_encoder_fit_each_other(size):
    model = FAnoGAN(DataSpec(size, 1, 10), **SMALL)
    drawn = model.generator(torch.randn(2, 8))
    assert drawn.shape == (2, 1, size, size)
    assert drawn.abs().max() <= 1
    assert model.encoder(drawn).shape == (2, 8)
    assert model.critic(drawn).shape == (2,)


def test_at_64_pixels_the_widths_are_the_authors():
    model = FAnoGAN(DataSpec(64, 1, 10))
    assert [block.shortcut.weight.shape[:2] for block in model.generator.blocks] == [
        (512, 512), (256, 512), (128, 256), (64, 128)
    ]  # fmt: skip
    down = [(128, 64), (256, 128), (512, 256), (512, 512)]
    for network in (model.critic, model.encoder):
        assert [block.shortcut.weight.shape[:2] for block in list(network.body)[1:-1]] == down
    assert model.critic.last.weight.shape == (1, 512 * 4 * 4)


def test_the_critic_judges_each_image_alone():
    critic = make().critic.train()
    torch.testing.assert_close(critic(images(4))[:1], critic(images(4)[:1]))
    assert not any(isinstance(module, torch.nn.BatchNorm2d | torch.nn.Dropout) for module in critic.modules())


def test_the_joined_convolutions_are_the_two_steps_that_they_stand_for():
    maps = torch.randn(2, 3, 8, 8)
    pooled = PooledConvolution(3, 5, 3)
    expected = functional.avg_pool2d(functional.conv2d(maps, pooled.weight, pooled.bias, padding=1), 2)
    torch.testing.assert_close(pooled(maps), expected)
    enlarged = EnlargedConvolution(3, 5, 3)
    doubled = maps.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    torch.testing.assert_close(enlarged(maps), functional.conv2d(doubled, enlarged.weight, enlarged.bias, padding=1))


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(48, 3, 10), {}, "48 pixels"),
        (DataSpec(4, 3, 10), {}, "4 pixels"),
        (SPEC, {"critic_steps": 0}, "critic_steps"),
        (SPEC, {"pretrain_epochs": -1}, "pretrain_epochs"),
    ],
)
def test_what_cannot_be_built_is_named(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        FAnoGAN(spec, **settings)


# Losses and score


def test_the_critics_loss_is_the_penalty_minus_the_distance_of_real_images_from_drawings():
    model = make(penalty=3.0)
    image, noise = in_generators_range(images()), Noise(torch.randn(4, 8), torch.rand(4, 1, 1, 1))
    terms = model.critic_loss(image, noise)
    drawn = model.generator(noise.code).detach()
    expected = model.critic(drawn).mean() - model.critic(image).mean()
    expected = expected + 3 * gradient_penalty(model.critic, image, drawn, noise.share)
    torch.testing.assert_close(terms["loss"], expected)
    torch.testing.assert_close(model.generator_loss(noise)["generator_loss"], -model.critic(drawn).mean())


def score_by_hand(model: FAnoGAN, image: torch.Tensor, kappa: float) -> np.ndarray:
    """The paper's score, from the networks alone."""
    scaled = image * 2 - 1
    drawn = model.generator(model.encoder(scaled))
    pixels, features = (each.detach().double().numpy() for each in (scaled - drawn, scaled))
    features = [model.critic.body(each).detach().double().numpy() for each in (scaled, drawn)]
    return (pixels**2).mean(axis=(1, 2, 3)) + kappa * ((features[0] - features[1]) ** 2).mean(axis=1)


@pytest.mark.parametrize("kappa", [0.0, 1.0, 2.5])
def test_kappa_weighs_the_residual_of_features_in_score_and_loss(kappa):
    model = make(kappa=kappa).eval()
    expected = score_by_hand(model, images(), kappa)
    np.testing.assert_allclose(model(images()).score.detach(), expected, rtol=1e-4)
    loss = model.loss(Batch(images(), torch.arange(4)))["loss"]
    assert loss.item() == pytest.approx(expected.mean(), rel=1e-4)


def test_the_map_is_the_absolute_residual_of_each_pixel_averaged_over_channels():
    model = make().eval()
    scaled = in_generators_range(images())
    drawn = model.generator(model.encoder(scaled))
    torch.testing.assert_close(model(images()).map, (scaled - drawn).abs().mean(dim=1))


def test_a_texture_learned_in_patches_has_the_score_of_its_most_anomalous_window():
    model = FAnoGAN(DataSpec(32, 3, 12, patch=16), **SMALL, stride=16).eval()
    image = torch.rand(2, 3, 32, 32)
    prediction = model(image)
    quarters = [score_by_hand(model, image[:, :, y : y + 16, x : x + 16], 1.0) for y in (0, 16) for x in (0, 16)]
    np.testing.assert_allclose(prediction.score.detach(), np.max(quarters, axis=0), rtol=1e-4)
    assert prediction.map.shape == (2, 32, 32)
    whole, tiles = Batch(image, torch.arange(2)), Batch(model.windows.tiles(image), torch.arange(8))
    torch.testing.assert_close(model.loss(whole)["loss"], model.loss(tiles)["loss"])  # as validation sees them


def test_half_precision_leaves_scores_and_maps_in_full():
    model = make().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        prediction = model(images())
    assert (prediction.score.dtype, prediction.map.dtype) == (torch.float32, torch.float32)


# AnoGAN's search


def test_the_search_lowers_the_score_and_trains_nothing():
    before, after = (make(inversion="search", search_steps=steps).eval() for steps in (1, 60))
    after.load_state_dict(before.state_dict())
    kept = [state(network) for network in (after.generator, after.critic)]
    with torch.inference_mode():  # as in a test
        first, last = before(images()).score, after(images()).score
    assert (last < first).all()
    assert all(map(same, kept, [state(network) for network in (after.generator, after.critic)]))
    assert all(parameter.grad is None for parameter in after.parameters())


def test_the_search_of_an_image_knows_nothing_of_the_others_and_always_ends_alike():
    model = make(inversion="search", search_steps=20).eval()
    with torch.inference_mode():
        together = model(images()).score
        torch.testing.assert_close(model(images()).score, together, rtol=0, atol=0)
        torch.testing.assert_close(model(images()[2:3]).score, together[2:3], rtol=1e-4, atol=0)


def test_a_search_has_no_encoder_and_all_epochs_train_generator_and_critic(data):
    model = make(inversion="search", pretrain_epochs=1)
    before = state(model.critic)
    trainer = train(model, data, 3)
    assert model.encoder is None
    assert len(trainer.optimizers) == 2
    assert {float(each["step"]) for each in trainer.optimizers[0].state.values()} == {9.0}
    assert not same(before, state(model.critic))


# The two phases


def test_the_generator_learns_after_every_few_updates_of_the_critic_across_epochs(data):
    watch = States()
    train(make(pretrain_epochs=2, critic_steps=2), data, 3, watch)
    weights = [each["generator"]["first.weight"] for each in watch.states]
    learned = [not torch.equal(*pair) for pair in pairwise(weights)]
    assert learned == [False, True, False, True, False, True, False, False, False]
    assert watch.changed("critic") == [True] * 6 + [False] * 3


def test_generator_and_critic_are_frozen_and_in_evaluation_mode_while_the_encoder_learns(data):
    watch = States()
    train(make(pretrain_epochs=1), data, 4, watch)
    assert watch.changed("encoder") == [False] * 3 + [True] * 9
    for network in ("generator", "critic"):
        assert watch.changed(network)[3:] == [False] * 9, network
        # Of batch statistics as well: an evaluation between two epochs must not bring them back.
        assert [modes[network] for modes in watch.modes[1:]] == [{True}] * 3 + [{False}] * 9
    assert all(modes["encoder"] == {True} for modes in watch.modes)


def test_each_optimiser_holds_the_parameters_of_one_network(data):
    model = make()
    for optimizer, network in zip(
        model.configure_optimizers(), (model.critic, model.generator, model.encoder), strict=True
    ):
        held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
        assert held == {id(parameter) for parameter in network.parameters()}
    adam = model.configure_optimizers()[0].defaults
    assert (adam["lr"], adam["betas"]) == (1e-4, (0.0, 0.9))


def test_the_encoder_learns_to_invert_the_generator(data):
    class Losses(Callback):
        def on_train_epoch_end(self, trainer, model):
            losses.append(float(trainer.callback_metrics["train/loss"]))

    losses: list[float] = []
    train(make(pretrain_epochs=0, encoder_rate=1e-2), data, 12, Losses())
    assert losses[-1] < 0.7 * losses[0]


def test_training_in_half_precision_gives_finite_losses(data):
    trainer = train(make(), data, 2, precision="bf16-mixed")
    named = ("train/loss", "train/distance", "train/gradient_penalty", "train/generator_loss", "train/pixel_residual")
    assert all(trainer.callback_metrics[name].isfinite() for name in named)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--trainer.max_epochs", "1", "--model.pretrain_epochs", "1"), "pretrain_epochs"),
        (("--patience", "2"), "--patience"),
        (("--patience", "2", "--model.inversion", "search"), "--patience"),
        (("--trainer.gradient_clip_val", "1.0"), "gradient_clip_val"),
        (("--trainer.accumulate_grad_batches", "2"), "accumulate_grad_batches"),
        (("--trainer.max_steps", "10"), "max_steps"),
    ],
)
def test_plans_that_its_own_steps_cannot_follow_are_refused(options, named, refuse, cell):
    assert named in refuse("fit", *cell, *options)


# Several processes and runs that are stopped


@pytest.fixture(scope="module")
def cell(quick) -> tuple[str, ...]:
    """A run of three epochs of generator and critic and three of the encoder."""
    model = ("--model", "f_anogan_cpu", "--model.latent_dim", "8", "--model.width", "2", "--data.image_size", "16")
    phases = ("--model.pretrain_epochs", "3", "--trainer.max_epochs", "6", "--model.critic_steps", "2")
    return (*quick, *model, *phases, "--data.batch_size", "4", "--data.validation_share", "0.25")


def gradient_on(rank: int, folder: Path) -> torch.Tensor:
    """The critic's gradient that this one of two processes steps along, having seen half of the batch."""
    meeting = {"init_method": f"file://{folder}/meeting", "timeout": timedelta(minutes=2)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, **meeting)
    try:
        return critic_gradient(slice(rank, None, 2))
    finally:
        torch.distributed.destroy_process_group()


def critic_gradient(part: slice) -> torch.Tensor:
    """Of a part of the same images and the same noise."""
    torch.manual_seed(0)
    model = make()
    model.generator.eval()  # on CPUs batch statistics are each process's own
    noise = Noise(torch.randn(6, 8)[part], torch.rand(6, 1, 1, 1)[part])
    model.critic_loss(in_generators_range(images(6))[part], noise)["loss"].backward()
    average_gradients(model.critic.parameters())
    return torch.cat([parameter.grad.flatten() for parameter in model.critic.parameters()])


def second_process(_: int, folder: Path) -> None:
    (folder / "gradient.pickle").write_bytes(pickle.dumps(gradient_on(1, folder).numpy()))


@pytest.mark.slow
def test_two_processes_step_along_the_gradient_of_one(tmp_path):
    second = torch.multiprocessing.spawn(second_process, args=(tmp_path,), nprocs=1, join=False)
    together = gradient_on(0, tmp_path)
    assert second.join(timeout=60)
    torch.testing.assert_close(together, critic_gradient(slice(None)), atol=1e-5, rtol=1e-5)
    np.testing.assert_array_equal(pickle.loads((tmp_path / "gradient.pickle").read_bytes()), together)


# A class outside the package that writes down what each process holds at the end of each epoch.
WATCHED = """
import torch
from pathlib import Path
from bench.models.f_anogan import FAnoGAN

class Watched(FAnoGAN):
    def on_train_epoch_end(self):
        held = [*self.parameters(), *self.generator.buffers()]
        vector = torch.cat([value.detach().double().flatten() for value in held])
        torch.save(vector, f"epoch-{self.current_epoch}-process-{self.global_rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_hold_the_same_networks_in_both_phases(cell):
    Path("watched.py").write_text(WATCHED)
    preset = (conf_folder() / "model" / "f_anogan_cpu.yaml").read_text(encoding="utf-8")
    Path("mine.yaml").write_text(preset.replace("bench.models.f_anogan.FAnoGAN", "watched.Watched"))
    command = [
        sys.executable,
        "-m",
        "bench",
        "fit",
        *cell,
        "--model",
        "./mine.yaml",
        "--trainer.devices",
        "2",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cost"]["processes"] == 2
    held = [[torch.load(f"epoch-{epoch}-process-{rank}.pt") for rank in (0, 1)] for epoch in range(6)]
    parameters = sum(parameter.numel() for parameter in make().parameters())
    for first, second in held[:3]:  # on CPUs the generator's batch statistics are each process's own until it is frozen
        assert torch.equal(first[:parameters], second[:parameters])
    assert all(torch.equal(*pair) for pair in held[3:])
    assert all(not torch.equal(before[0], after[0]) for before, after in pairwise(held))


def run(bench, cell: tuple[str, ...], runs: Path, seed: int = 0) -> tuple[dict, dict[str, torch.Tensor]]:
    """The record and the checkpoint of a run."""
    outcome = bench("fit", *cell, "--seed", seed, "--runs", runs, "--json")
    assert outcome.status == 0, outcome.stderr
    return json.loads(outcome.stdout), checkpoint(runs)


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("model.ckpt")
    content: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return content


@pytest.fixture(scope="module")
def undisturbed(bench, cell, tmp_path_factory) -> tuple[dict, dict[str, torch.Tensor]]:
    """What a run ends with that nobody stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        return run(bench, cell, folder)


def expect_same(undisturbed, other) -> None:
    (first, before), (second, after) = undisturbed, other
    assert second["metrics"] == first["metrics"]
    assert second["data"]["predictions_sha256"] == first["data"]["predictions_sha256"]
    assert before.keys() == after.keys()
    assert same(before, after)


# While generator and critic learn, in the encoder's first epoch, and later.
@pytest.mark.parametrize(
    "epoch", [1, pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow)]
)
def test_a_run_stopped_in_any_phase_is_resumed_to_the_same_bits(bench, cell, undisturbed, monkeypatch, epoch):
    def interrupt(self, trainer, model, batch, index):
        if (trainer.current_epoch, index) == (epoch, 1):
            raise KeyboardInterrupt
        seed_epoch(self, trainer, model, batch, index)

    seed_epoch = EpochSeed.on_train_batch_start
    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.callbacks.EpochSeed.on_train_batch_start", interrupt)
        assert bench("fit", *cell, "--runs", "stopped").status == 130
    (folder,) = Path("stopped").glob("*/*/*")
    resumed = bench("fit", "--resume", folder, "--json")
    assert (resumed.status, resumed.stderr) == (0, "")
    expect_same(undisturbed, (json.loads(resumed.stdout), checkpoint(folder)))


@pytest.mark.slow
def test_a_seed_decides_all_bits_of_both_phases(bench, cell, undisturbed):
    expect_same(undisturbed, run(bench, cell, Path("again")))
    other = run(bench, cell, Path("other"), seed=1)[0]
    assert other["data"]["predictions_sha256"] != undisturbed[0]["data"]["predictions_sha256"]
