"""Every method's class, README's example and one that its author wrote without a thought of processes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback
from sklearn.metrics import roc_auc_score

from bench.config.presets import read_preset
from bench.errors import RunError
from bench.models.base import Detector
from bench.runs.fitting import build_model, fold_trainer, start_machine
from bench.runs.run import FoldFit, prepare
from bench.runs.threshold import learn as learn_in_a_run
from fake_data import write_category
from learning import learn
from runs.contract import Bench, Found, on_processes, read_config
from runs.test_seeds import FIRST_OF_CLASS, arguments_of
from test_readme import code_block

# A method by somebody who never heard of processes, batches, refits or precision.
NAIVE = """
import torch
from bench.models.accumulators import Pass, Rows, Sum
from bench.models.base import Detector, Prediction


class Naive(Detector):
    def __init__(self, spec):
        super().__init__(spec)
        self.register_buffer("mean", torch.zeros(spec.channels))
        self.register_buffer("directions", torch.zeros(spec.channels, spec.channels))
        self.register_buffer("first", torch.zeros(spec.channels))

    def passes(self):
        channels = len(self.mean)
        colours = {"total": Sum(channels), "pixels": Sum(), "rows": Rows(channels)}
        return [
            Pass("mean colour", colours, self.add, self.end),
            Pass("products", {"scatter": Sum(channels, channels), "pixels": Sum()}, self.add_scatter, self.end_scatter),
        ]

    def add(self, state, image):
        state.total += image.sum(dim=(0, 2, 3))
        state.pixels += image[:, 0].numel()
        state.rows[state.indices] = image.mean(dim=(2, 3))

    def end(self, state):
        self.mean = (state.total / state.pixels).float()
        self.first = state.rows[0]

    def add_scatter(self, state, image):
        colours = (image.permute(0, 2, 3, 1).reshape(-1, len(self.mean)) - self.mean).double()
        state.scatter += colours.T @ colours
        state.pixels += len(colours)

    def end_scatter(self, state):
        self.directions = torch.linalg.inv(state.scatter / state.pixels + 1e-4 * torch.eye(len(self.mean))).float()

    def forward(self, image):
        colours = image.permute(0, 2, 3, 1) - self.mean
        distance = ((colours @ self.directions) * colours).sum(dim=-1) + (self.first - self.mean).abs().sum()
        return Prediction(distance.amax(dim=(1, 2)), distance)
"""
PRESETS = sorted(FIRST_OF_CLASS.values())
STRANGERS = {"mean_image": "MeanImage", "naive": "Naive"}
METHODS = [*PRESETS, *STRANGERS]
ROOTS = {23: "data23", 17: "data17"}


def trains(method: str) -> bool:
    """Whether it learns by gradient, so that several processes give other figures."""
    if method in STRANGERS:
        return False
    cls = read_preset("model", method).load_class()
    return cls.loss is not Detector.loss or cls.training_step is not Detector.training_step


STATISTICAL = [method for method in METHODS if not trains(method)]
TRAINED = [method for method in METHODS if trains(method)]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with two categories, of 23 and of 17 training images, and the strangers' methods."""
    folder = tmp_path_factory.mktemp("contract")
    for train, name in ROOTS.items():
        write_category(folder / name, train=train)
    write_category(folder / "many", train=23, good=100, defects={"blob": 50, "scratch": 50}, contrast=0.25)
    for name, source in (("mean_image", code_block("python", "class MeanImage")), ("naive", NAIVE)):
        (folder / f"{name}.py").write_text(source)
        (folder / f"{name}.yaml").write_text(f"class_path: {name}.{STRANGERS[name]}\ndata:\n  validation_share: 0\n")
    return folder


def words(method: str, place: Path, root: str, *more: str) -> tuple[str, ...]:
    """The command line of a small run of the method."""
    if method in STRANGERS:
        data = ("--category", "screw", "--data.root", str(place / root), "--data.image_size", "32")
        return ("--model", str(place / f"{method}.yaml"), *data, "--trainer.accelerator", "cpu", *more)
    batch = ("--data.batch_size", "6")  # divides by one, two and three processes
    if method in TRAINED:
        batch += ("--data.validation_share", "0.2")  # a held-out image for each of three
        # On CPUs, where torch cannot synchronise it, BatchNorm sees each process's few images alone.
        frozen = "freeze_batchnorm" in read_preset("model", method).settings["model"]
        batch += ("--model.freeze_batchnorm", "true") if frozen else ()
    return (*arguments_of(method, place / root)[1:], *batch, *more)


@pytest.fixture(scope="module")
def alone(place, tmp_path_factory):
    """Fits in this process, kept: `alone(method, root)`."""
    kept: dict[tuple[str, ...], tuple[Detector, Found]] = {}

    def fit(method: str, root: str, *more: str) -> tuple[Detector, Found]:
        own = words(method, place, root, *more)
        if own not in kept:
            torch.set_num_threads(1)
            model, found = Bench(own, tmp_path_factory.mktemp("alone")).fit()
            assert found is not None
            kept[own] = model, found
        return kept[own]

    return fit


@pytest.fixture(scope="module", params=[1, 2, 3])
def together(request, place, monkeypatch_module) -> tuple[int, dict[str, Found]]:
    """All methods on both categories, in one group of processes."""
    jobs = {f"{m} {n}": words(m, place, r) for m in METHODS for n, r in ROOTS.items() if n == 23 or m in STATISTICAL}
    return request.param, on_processes(request.param, jobs)


@pytest.fixture(scope="module")
def monkeypatch_module(tmp_path_factory):
    """The processes' own environment: a cache beside this module's data, no W&B."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("WANDB_MODE", "disabled")
        yield patch


def auroc(found: Found) -> float:
    return float(roc_auc_score(found.defective, found.scores))


@pytest.mark.slow
def test_statistics_and_scores_on_several_processes_are_those_of_one(together, alone):
    processes, found = together
    for method in STATISTICAL:
        for images, root in ROOTS.items():
            one, own = alone(method, root)[1], found[f"{method} {images}"]
            where = f"{method}, {images} images, {processes} processes"
            np.testing.assert_allclose(own.scores, one.scores, rtol=1e-6, atol=1e-6, err_msg=where)
            assert own.threshold == pytest.approx(one.threshold, rel=1e-6), where
            assert own.metrics == pytest.approx(one.metrics, abs=1e-6), where


@pytest.mark.slow
def test_what_is_trained_on_several_processes_lies_within_the_spread_over_seeds(together, alone):
    processes, found = together
    for method in TRAINED:
        own, seeds = found[f"{method} 23"], [alone(method, ROOTS[23], "--seed", str(seed))[1] for seed in range(3)]
        assert np.isfinite(own.scores).all()
        levels = np.array([np.median(each.scores) for each in seeds])
        spread = max(4 * levels.std(), 0.05 * abs(levels.mean()))
        assert abs(np.median(own.scores) - levels.mean()) <= spread, (method, processes, levels, np.median(own.scores))


@pytest.mark.parametrize("method", METHODS)
def test_a_second_fit_in_one_process_is_the_first(method, alone, place, tmp_path):
    first, second = alone(method, ROOTS[23])[1], Bench(words(method, place, ROOTS[23]), tmp_path).fit()[1]
    np.testing.assert_array_equal(second.scores, first.scores)
    assert second.threshold == first.threshold


@pytest.mark.parametrize("method", STATISTICAL)
def test_a_model_that_has_learned_before_learns_the_same_again(method, alone, place, tmp_path):
    model, found = alone(method, ROOTS[17])
    data, cell = prepare(read_config(words(method, place, ROOTS[17])))
    machine = start_machine(fold_trainer(FoldFit(data, tmp_path, ""), cell, None))
    learn_in_a_run(model, data, data.training_indices[: max(model.fewest_images, 12)], machine)
    learn_in_a_run(model, data, data.training_indices, machine)
    for name, value in model.named_buffers():
        if value.is_floating_point() and name != "threshold":
            np.testing.assert_array_equal(value.numpy(), found.buffers[name], err_msg=name)


@pytest.mark.parametrize("method", STATISTICAL)
def test_without_held_out_images_the_threshold_comes_from_scores_by_models_that_never_saw_them(method, alone, place):
    """Against refits by hand: each image's score by statistics of the others, or of the other folds."""
    more = ("--data.validation_share", "0", "--threshold_quantile", "1")
    model, found = alone(method, ROOTS[17], *more)
    config = read_config(words(method, place, ROOTS[17], *more))
    data, _ = prepare(config)
    indices = data.training_indices
    if model.supports_leave_one_out:
        held_out = [[index] for index in indices]
    else:
        held_out = np.array_split(np.random.default_rng(data.seed).permutation(indices), 5)
    expected = []
    for out in held_out:
        refit = build_model(config, data.spec).eval()
        learn(refit, images_of(data, sorted(set(indices) - {int(i) for i in out})))
        expected += [
            float(score)
            for batch in images_of(data, sorted(int(i) for i in out))
            for score in refit.predict(batch).score
        ]
    # PaDiM's closed form shrinks the regularisation, (n - 1) / (n - 2); an SVM keeps the nu of all images.
    # Trivial's numbers are in single precision, and the mean of these images varies by a tenth of a grey level.
    tolerance = {"PaDiM": 0.08, "DeepFeatures": 0.08, "Trivial": 1e-4}.get(type(model).__name__, 1e-5)
    assert found.threshold == pytest.approx(max(expected), rel=tolerance)


def images_of(data, indices: list[int]) -> list[torch.Tensor]:
    return [batch.image.float() / 255 for batch in data.ordered_train_loader(indices)]


class StopError(Exception):
    """A run that ends in the midst."""


@pytest.mark.parametrize("method", TRAINED)
def test_a_resumed_run_ends_with_the_bits_of_one_that_was_not_stopped(method, place, tmp_path):
    class StopBeforeEpoch(Callback):
        def on_train_epoch_start(self, trainer, pl_module) -> None:
            if trainer.current_epoch == 1:
                raise StopError

    more = ("--trainer.max_epochs", "3")
    if "pretrain_epochs" in read_preset("model", method).settings["model"]:
        more += ("--model.pretrain_epochs", "1")
    whole = Bench(words(method, place, ROOTS[23], *more), tmp_path / "whole").fit()[1]
    stopped = Bench(words(method, place, ROOTS[23], *more), tmp_path / "stopped")
    with pytest.raises(StopError):
        stopped.fit(lambda trainer: trainer.callbacks.append(StopBeforeEpoch()))
    assert (tmp_path / "stopped" / "last.ckpt").is_file()
    np.testing.assert_array_equal(stopped.fit(resume=True)[1].scores, whole.scores)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_under_autocast_scores_and_maps_are_as_good_as_in_full_precision(method, alone, place, tmp_path):
    # After fewer steps DRAEM's probabilities are the same for all images but for their last digits.
    longer = ("--model.learning_rate", "0.01", "--trainer.max_epochs", "8") if method == "draem_cpu" else ()
    own = words(method, place, "many", *longer)
    bench = Bench(own, tmp_path)
    model, full = bench.fit()
    image = prepare(bench.config)[0].test_batch(list(range(20))).image.float() / 255
    exact = model.predict(image)
    if method in STATISTICAL:
        model, half = Bench((*own, "--trainer.precision", "bf16-mixed"), tmp_path / "mixed").fit()
    else:
        model.autocast = torch.bfloat16
        half = bench.test(model)
    assert model.autocast is torch.bfloat16
    assert np.isfinite(half.scores).all()
    assert auroc(half) == pytest.approx(auroc(full), abs=0.01)
    for part, whole in zip(model.predict(image), exact, strict=True):
        assert (part is None) == (whole is None)
        if part is not None:
            assert part.dtype is torch.float32
            assert torch.isfinite(part).all()
            assert len(part.unique()) > min(1000, 0.5 * len(whole.unique()))  # in half precision 101 of 98,029


# How classes remember batches by themselves: what the constructor gets, and what `add` does with it.
REMEMBERED = {
    "a buffer": ("", "self.first += 1"),
    "a buffer's data": ("", "self.first.data += 1"),
    "a number": ("self.seen = 0", "self.seen += len(image)"),
    "a list that grows": ("self.seen = []", "self.seen.append(1)"),
    "a list of tensors": ("self.seen = [torch.zeros(())]", "self.seen[0] += 1"),
    "a dictionary": ("self.seen = {'n': 0}", "self.seen['n'] += 1"),
    "an array": ("self.seen = np.zeros(1)", "self.seen += 1"),
    "a parameter": ("self.seen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)", "self.seen += 1"),
    "an object": ("self.seen = StandardScaler()", "self.seen.partial_fit(image.mean(dim=(2, 3)).numpy())"),
    "from the second batch on": ("", "self.first += int(state.batches == 2)"),
}


def changed(tmp_path, place, monkeypatch, name: str, source: str) -> Bench:
    """A run of the naive class, with another source."""
    monkeypatch.syspath_prepend(str(tmp_path))
    source = "import numpy as np\nfrom sklearn.preprocessing import StandardScaler\n" + source
    (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / f"{name}.yaml").write_text(f"class_path: {name}.Naive\ndata:\n  validation_share: 0\n")
    own = ("--model", str(tmp_path / f"{name}.yaml"), *words("naive", place, ROOTS[17])[2:], "--data.batch_size", "4")
    return Bench(own, tmp_path / "run")


@pytest.mark.parametrize("how", REMEMBERED)
def test_a_class_that_remembers_a_batch_by_itself_is_refused(how, place, tmp_path, monkeypatch):
    begins, adds = REMEMBERED[how]
    source = NAIVE.replace("super().__init__(spec)", f"super().__init__(spec)\n        {begins}")
    source = source.replace("state.total +=", f"{adds}\n        state.total +=")
    run = changed(tmp_path, place, monkeypatch, f"remembering{list(REMEMBERED).index(how)}", source)
    with pytest.raises(RunError, match=r"Naive changes its '(first|seen)' while it sees the training images"):
        run.fit()


def test_a_class_that_keeps_what_it_learned_outside_its_buffers_is_refused(place, tmp_path, monkeypatch):
    source = NAIVE.replace('self.register_buffer("first", torch.zeros(spec.channels))', "self.first = torch.zeros(3)")
    with pytest.raises(RunError, match="keeps what it has learned in 'first', which no checkpoint holds"):
        changed(tmp_path, place, monkeypatch, "forgetful", source).fit()


def test_a_left_out_score_that_is_none_is_refused(place, tmp_path, monkeypatch):
    score = "def leave_one_out_score(self, image):\n        return self(image).map\n"
    source = f"{NAIVE}\n    supports_leave_one_out = True\n\n    {score}"
    with pytest.raises(RunError, match=r"leave_one_out_score gave a score of shape \(\d+, 32, 32\)"):
        changed(tmp_path, place, monkeypatch, "maps_for_scores", source).fit()


def test_training_that_ends_before_a_pass_was_due_is_no_run(place, tmp_path):
    more = ("--trainer.max_epochs", "3", "--trainer.max_steps", "1", "--model.pretrain_epochs", "2")
    with pytest.raises(RunError, match="training ended before epoch 2, when 'centre' is learned"):
        Bench(words("deep_svdd_cpu", place, ROOTS[17], *more), tmp_path).fit()
