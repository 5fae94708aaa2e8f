import json
import pickle
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback, Trainer

from bench.data.datamodule import DataSpec, DefectData
from bench.data.datasets.mvtec_ad import MVTecAD
from bench.data.loading import Batch
from bench.errors import UsageError
from bench.models.base import as_floats
from bench.models.deep_svdd import DeepSVDD
from bench.models.parts.deep_svdd_network import normalise_contrast
from bench.runs.callbacks import EpochSeed, StatisticsPasses
from learning import learn

SPEC = DataSpec(32, 3, 12)
SMALL = {"latent_dim": 16, "width": 4}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def data(data_root) -> DefectData:
    """12 training images in batches of 4, augmented."""
    settings = {"image_size": 32, "validation_share": 0.25, "batch_size": 4, "augmentation": "translation_and_colour"}
    data = MVTecAD("screw", 0, "model", root=str(data_root), **settings)
    data.prepare_data()
    return data


def make(**settings) -> DeepSVDD:
    return DeepSVDD(SPEC, **SMALL | {"pretrain_epochs": 0} | settings)


def images(count: int = 6) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def batch(count: int = 6) -> Batch:
    return Batch(images(count), torch.arange(count))


def train(model: DeepSVDD, data: DefectData, epochs: int, *callbacks: Callback) -> Trainer:
    """Train as a run does."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    own = [EpochSeed(0), StatisticsPasses(), *callbacks]
    trainer = Trainer(accelerator="cpu", max_epochs=epochs, callbacks=own, enable_model_summary=False, **quiet)
    trainer.fit(model, datamodule=data)
    return trainer


def training_images(data: DefectData) -> torch.Tensor:
    """As they are: not augmented, in order."""
    return torch.cat([as_floats(batch.image) for batch in data.ordered_train_loader(data.training_indices)])


class Watch(Callback):
    """What each epoch of a training was like."""

    def __init__(self) -> None:
        self.steps: list[float] = []  # of the optimiser's state, before the first batch of an epoch
        self.rates: list[tuple[float, ...]] = []
        self.losses: list[float] = []
        self.centres: list[torch.Tensor] = []
        self.radii: list[float] = []
        self.variances: list[float] = []

    def on_train_batch_start(self, trainer, model, batch, index):
        if index == 0:
            (optimizer,) = trainer.optimizers
            self.steps.append(max((float(state["step"]) for state in optimizer.state.values()), default=0.0))
            self.rates.append(tuple(group["lr"] for group in optimizer.param_groups))
            self.centres.append(model.centre.clone())
            assert model.training
            assert all(module.training for module in model.encoder.modules())

    def on_train_epoch_end(self, trainer, model):
        self.losses.append(float(trainer.callback_metrics["train/loss"]))
        self.radii.append(float(model.radius))

    def on_train_end(self, trainer, model):
        self.variances.append(float(trainer.callback_metrics["train/embedding_variance"]))


# The network


@pytest.mark.parametrize("size", [16, 64, 128, 256])
def test_the_encoder_has_no_bias_and_no_affine_parameter(size):
    encoder = DeepSVDD(DataSpec(size, 1, 10), **SMALL).encoder
    assert {name.rpartition(".")[2] for name, _ in encoder.named_parameters()} == {"weight"}
    for module in encoder.modules():
        assert getattr(module, "bias", None) is None
        if isinstance(module, torch.nn.BatchNorm2d):
            assert (module.affine, module.eps) == (False, 1e-4)
    assert all(parameter.dim() > 1 for parameter in encoder.parameters())


@pytest.mark.parametrize("size", [16, 32, 64, 128])
def test_the_last_map_is_4_by_4_and_the_decoder_gives_the_image_its_size_back(size):
    model = DeepSVDD(DataSpec(size, 3, 10), **SMALL).eval()
    image = torch.rand(2, 3, size, size)
    assert torch.nn.Sequential(*list(model.encoder)[:-2])(image).shape[2:] == (4, 4)
    assert model.decoder(model.encoder(image)).shape == image.shape


def test_at_32_pixels_the_network_is_the_papers_for_cifar_10():
    shapes = [tuple(parameter.shape) for parameter in DeepSVDD(SPEC).encoder.parameters()]
    assert shapes == [(32, 3, 5, 5), (64, 32, 5, 5), (128, 64, 5, 5), (128, 128 * 4 * 4)]


@pytest.mark.parametrize(
    ("spec", "settings", "named"),
    [
        (DataSpec(96, 3, 10), {}, "96 pixels"),
        (DataSpec(32, 3, 10, patch=16), {}, "texture_patch"),
        (SPEC, {"latent_dim": 100}, "latent_dim 100"),
        (SPEC, {"nu": 0.0}, "nu 0.0"),
        (SPEC, {"pretrain_epochs": -1}, "pretrain_epochs"),
    ],
)
def test_what_cannot_be_built_is_named(spec, settings, named):
    with pytest.raises(UsageError, match=named):
        DeepSVDD(spec, **settings)


def test_contrast_normalisation_removes_brightness_and_contrast_of_an_image():
    image = images(2)
    torch.testing.assert_close(normalise_contrast(0.1 + 0.5 * image), normalise_contrast(image))
    normalised = (normalise_contrast(image) - 0.5) * 20
    torch.testing.assert_close(normalised.mean(dim=(1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.abs().mean(dim=(1, 2, 3)), torch.ones(2))


def test_an_image_without_contrast_has_a_finite_score():
    assert make().eval()(torch.full((1, 3, 32, 32), 0.5)).score.isfinite().all()


def test_contrast_normalisation_can_be_left_out():
    model = make(contrast_normalisation=False).eval()
    torch.testing.assert_close(model.embed(images()), model.encoder(images()))


# The objectives


def embeddings(model: DeepSVDD) -> np.ndarray:
    """Of the batch, in training mode, in double precision."""
    return model.embed(images()).detach().double().numpy()


def test_the_one_class_loss_is_the_mean_squared_distance_from_the_centre():
    model = make()
    model.centre.copy_(torch.linspace(-1, 1, 16))
    expected = ((embeddings(model) - np.linspace(-1, 1, 16)) ** 2).sum(axis=1).mean()
    assert model.loss(batch())["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_soft_boundary_loss_is_that_of_the_paper():
    model = make(objective="soft_boundary", nu=0.2)
    distances = ((embeddings(model) - 0.0) ** 2).sum(axis=1)
    radius = np.sqrt(np.median(distances))
    model.radius.fill_(radius)
    expected = radius**2 + np.maximum(0, distances - radius**2).mean() / 0.2
    assert model.loss(batch())["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("objective", "radius"), [("one_class", 0.0), ("soft_boundary", 0.7)])
def test_the_score_is_the_squared_distance_minus_the_squared_radius_and_there_is_no_map(objective, radius):
    model = make(objective=objective).eval()
    model.centre.fill_(0.3)
    model.radius.fill_(0.7)
    prediction = model(images())
    expected = ((embeddings(model) - 0.3) ** 2).sum(axis=1) - radius**2
    np.testing.assert_allclose(prediction.score.detach(), expected, rtol=1e-4)
    assert prediction.map is None


def test_every_parameter_has_a_gradient_in_both_phases_as_several_processes_need():
    for epochs in (0, 1):
        model = make(pretrain_epochs=epochs)
        model.loss(batch())["loss"].backward()
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_after_each_step_the_radius_is_the_quantile_of_the_batchs_distances(data):
    class Steps(Callback):
        def on_train_batch_end(self, trainer, model, outputs, batch, index):
            expected.append(float(np.quantile(np.sqrt(seen.pop()), 1 - 0.3)))
            found.append(float(model.radius))

    class Spy(DeepSVDD):
        def _squared_distance(self, embedding):
            squared = super()._squared_distance(embedding)
            if self.training:
                seen[:] = [squared.detach().numpy()]
            return squared

    expected: list[float] = []
    found: list[float] = []
    seen: list[np.ndarray] = []
    model = Spy(SPEC, **SMALL, pretrain_epochs=0, objective="soft_boundary", nu=0.3, warm_up_epochs=0)
    train(model, data, 2, Steps())
    # Callbacks come before the model: at the end of one step they see the radius of the step before.
    assert found[1:] == pytest.approx(expected[:-1], rel=1e-6)
    assert found[0] == 0
    assert float(model.radius) == pytest.approx(expected[-1], rel=1e-6)


def test_the_radius_stays_as_it_is_while_deep_svdd_warms_up(data):
    watch = Watch()
    train(make(objective="soft_boundary", pretrain_epochs=1, warm_up_epochs=2), data, 4, watch)
    assert watch.radii[:3] == [0, 0, 0]
    assert watch.radii[3] > 0


# The centre


def test_the_centre_is_the_mean_embedding_pushed_away_from_zero():
    model = make(latent_dim=16)
    mean = torch.tensor(
        [0.0, -0.0, 0.05, -0.05, 0.0999, -0.0999, 0.1, -0.1, 0.5, -0.5, 2.0, -2.0, 1e-9, -1e-9, 0.2, -3]
    )
    model.embed = lambda image: mean * torch.tensor([[0.5], [1.5]])
    learn(model, [images(2)])
    expected = [0.1, 0.1, 0.1, -0.1, 0.1, -0.1, 0.1, -0.1, 0.5, -0.5, 2.0, -2.0, 0.1, -0.1, 0.2, -3]
    np.testing.assert_allclose(model.centre, expected, rtol=1e-6)
    assert float(model.first_variance) == pytest.approx(float(mean.square().mean()) / 4)


def test_the_centre_is_that_of_evaluation_mode_on_images_that_are_not_augmented(data):
    model = make()
    expected = model.eval().embed(training_images(data)).mean(dim=0).detach()
    model.train()
    train(model, data, 1)
    far = expected.abs() >= 0.1
    assert far.any()
    torch.testing.assert_close(model.centre[far], expected[far])
    assert (model.centre.abs() >= 0.1 - 1e-7).all()


def test_the_centre_is_fixed_once_and_lies_in_the_checkpoint(data):
    watch, model = Watch(), make(pretrain_epochs=2)
    trainer = train(model, data, 4, watch)
    assert not watch.centres[1].any()
    assert watch.centres[2].all()
    assert torch.equal(watch.centres[2], watch.centres[3])
    assert torch.equal(watch.centres[2], model.centre)
    trainer.save_checkpoint("model.ckpt")
    again = make(pretrain_epochs=2)
    again.load_state_dict(torch.load("model.ckpt", weights_only=True)["state_dict"])
    assert torch.equal(again.eval()(images()).score, model.eval()(images()).score)


# The two phases


def test_pre_training_lowers_the_reconstruction_error(data):
    watch = Watch()
    model = make(pretrain_epochs=8, learning_rate=1e-2)
    train(model, data, 9, watch)
    assert watch.losses[7] < 0.5 * watch.losses[0]


def test_the_phases_switch_at_their_epoch_with_a_fresh_optimiser_and_a_decoder_that_rests(data):
    watch, model = Watch(), make(pretrain_epochs=3, pretrain_milestone=2, milestone=1)
    steps = len(data.train_dataloader())
    train(model, data, 6, watch)
    assert watch.steps == [0, steps, 2 * steps, 0, steps, 2 * steps]
    assert [rate for rate, _ in watch.rates] == pytest.approx([1e-4, 1e-4, 1e-5, 1e-4, 1e-5, 1e-5])
    assert [rate for _, rate in watch.rates] == pytest.approx([1e-4, 1e-4, 1e-5, 0, 0, 0])


def test_deep_svdd_leaves_the_decoder_as_pre_training_made_it(data):
    model = make(weight_decay=0.1)
    before = [parameter.detach().clone() for parameter in model.decoder.parameters()]
    train(model, data, 2)
    assert all(torch.equal(*pair) for pair in zip(before, model.decoder.parameters(), strict=True))


def test_a_last_batch_of_one_image_can_be_reconstructed():
    assert make(pretrain_epochs=1).loss(batch(1))["loss"].isfinite()


def test_too_few_epochs_to_reach_deep_svdd_are_refused(refuse, quick):
    line = refuse("fit", *quick, "--model", "deep_svdd", "--model.pretrain_epochs", "1")
    assert "pretrain_epochs" in line


def test_patience_is_refused_as_the_phases_have_different_losses(refuse, quick):
    arguments = ("--model", "deep_svdd", "--model.pretrain_epochs", "1", "--trainer.max_epochs", "3")
    assert "--patience" in refuse("fit", *quick, *arguments, "--data.validation_share", "0.25", "--patience", "2")


# Collapse


def test_the_variance_of_the_embeddings_is_that_of_all_training_images_of_the_epoch(data):
    model, watch = make(), Watch()
    seen: list[torch.Tensor] = []
    embed = model.embed

    def spy(image: torch.Tensor) -> torch.Tensor:
        if model.training:
            seen.append(embed(image))
            return seen[-1]
        return embed(image)

    model.embed = spy
    train(model, data, 1, watch)
    expected = torch.cat(seen).detach().double().var(dim=0, correction=0).mean()
    assert watch.variances == [pytest.approx(float(expected), rel=1e-5)]


def test_a_collapse_is_told_once(data, capsys):
    model = make()
    embed = model.embed
    # An embedding that has become the same for all images, but for what gradients need.
    model.embed = lambda image: embed(image) * (0 if model.training else 1)
    train(model, data, 3)
    assert capsys.readouterr().err.count("collapse") == 1


def test_embeddings_that_were_all_the_same_from_the_start_are_told_as_well(data, capsys):
    model = make()
    embed = model.embed
    model.embed = lambda image: embed(image) * 0
    train(model, data, 1)
    assert "collapse" in capsys.readouterr().err


def test_training_that_goes_well_is_not_called_a_collapse(data, capsys):
    train(make(pretrain_epochs=2), data, 6)
    assert capsys.readouterr().err == ""


# Several processes and runs that are stopped


def centre_on(rank: int, folder: Path) -> torch.Tensor:
    """The centre that this one of two processes has after each collected its share, of different sizes."""
    meeting = {"init_method": f"file://{folder}/meeting", "timeout": timedelta(minutes=2)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2, **meeting)
    try:
        torch.manual_seed(0)
        return learn(make().eval(), images(7)[rank::2].split(2), images=7).centre
    finally:
        torch.distributed.destroy_process_group()


def second_process(_: int, folder: Path) -> None:
    (folder / "centre.pickle").write_bytes(pickle.dumps(centre_on(1, folder).numpy()))


@pytest.mark.slow
def test_two_processes_have_the_centre_of_one(tmp_path):
    second = torch.multiprocessing.spawn(second_process, args=(tmp_path,), nprocs=1, join=False)
    together = centre_on(0, tmp_path)
    assert second.join(timeout=60)
    torch.manual_seed(0)
    alone = learn(make().eval(), [images(7)])
    torch.testing.assert_close(together, alone.centre, atol=1e-6, rtol=0)
    np.testing.assert_array_equal(pickle.loads((tmp_path / "centre.pickle").read_bytes()), together)


@pytest.fixture
def cell(quick) -> tuple[str, ...]:
    """A run of three epochs of pre-training and three of Deep SVDD, soft boundary."""
    model = ("--model", "deep_svdd_soft", "--model.latent_dim", "16", "--model.width", "4")
    phases = ("--model.pretrain_epochs", "3", "--trainer.max_epochs", "6", "--model.warm_up_epochs", "1")
    return (*quick, *model, *phases, "--data.batch_size", "4", "--data.validation_share", "0.25")


def checkpoint(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = folder.rglob("model.ckpt")
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def run_processes(cell: tuple[str, ...], devices: int) -> tuple[dict, dict[str, torch.Tensor]]:
    """The record and the checkpoint of a run on several processes."""
    command = [sys.executable, "-m", "bench", "fit", *cell, "--runs", f"on {devices}", "--json"]
    command += ["--trainer.devices", str(devices)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stderr.count("collapse")) == (0, 0), done.stderr
    return json.loads(done.stdout), checkpoint(Path(f"on {devices}"))


@pytest.mark.slow
def test_two_processes_fix_the_centre_of_one_within_training(cell):
    arguments = (*cell, "--model.pretrain_epochs", "0")
    (_, alone), (record, together) = run_processes(arguments, 1), run_processes(arguments, 2)
    assert record["cost"]["processes"] == 2
    torch.testing.assert_close(together["centre"], alone["centre"], atol=1e-6, rtol=0)


@pytest.mark.slow
def test_two_processes_go_through_both_phases(cell):
    record, together = run_processes(cell, 2)
    assert (record["status"], record["cost"]["processes"]) == ("finished", 2)
    assert together["centre"].all()
    assert together["radius"] > 0


@pytest.mark.parametrize("epoch", [1, 3, 4, 5])
def test_a_run_stopped_in_any_phase_is_resumed_to_the_same_bits(bench, cell, monkeypatch, epoch):
    def interrupt(self, trainer, _):
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt
        seed_epoch(self, trainer, _)

    seed_epoch = EpochSeed.on_train_epoch_start
    undisturbed = bench("fit", *cell, "--runs", "undisturbed", "--json")
    assert undisturbed.status == 0, undisturbed.stderr
    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.callbacks.EpochSeed.on_train_epoch_start", interrupt)
        assert bench("fit", *cell, "--runs", "stopped").status == 130
    (run,) = Path("stopped").glob("*/*/*")
    resumed = bench("fit", "--resume", run, "--json")
    assert (resumed.status, resumed.stderr) == (0, "")
    expect_same(undisturbed, resumed)


@pytest.mark.slow
def test_a_run_that_is_killed_is_resumed_to_the_same_bits(bench, cell):
    undisturbed = bench("fit", *cell, "--runs", "undisturbed", "--json")
    process = subprocess.Popen([sys.executable, "-m", "bench", "fit", *cell, "--runs", "stopped"])
    try:
        while not (saved := list(Path("stopped").rglob("last.ckpt"))):
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
    finally:
        process.kill()
    resumed = bench("fit", "--resume", saved[0].parent, "--json")
    assert (resumed.status, resumed.stderr) == (0, "")
    expect_same(undisturbed, resumed)


def expect_same(undisturbed, resumed) -> None:
    first, second = (json.loads(outcome.stdout) for outcome in (undisturbed, resumed))
    assert second["metrics"] == first["metrics"]
    assert second["data"]["predictions_sha256"] == first["data"]["predictions_sha256"]
    before, after = checkpoint(Path("undisturbed")), checkpoint(Path("stopped"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before if name != "threshold")
    assert before["centre"].all()
