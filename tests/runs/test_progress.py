"""What a run tells while it lasts: lines in a pipe, a bar on a terminal, never more than a person reads."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import phases
from bench.phases import Scene, State, in_fold, phase, watched, within
from bench.progress import RunBar
from bench.progress_lines import ProgressLines

GAP = 30.0  # seconds: a line comes every ten, and a busy machine may take its time


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Lines(ProgressLines):
    """Lines without a thread: the test looks."""

    def __init__(self, clock: Clock) -> None:
        self.told: list[str] = []
        super().__init__(self.told.append, clock)

    def begin(self, scene: Scene) -> None:
        self.scene = scene

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with a look twice a second."""
        for _ in range(round(2 * seconds)):
            self.clock.now += 0.5  # type: ignore[attr-defined]
            self.tick()


@pytest.fixture
def lines() -> Any:
    clock = Clock()
    watcher = Lines(clock)
    with watched(watcher, "padim on screw", clock):
        yield watcher


def test_a_phase_that_is_over_at_once_gets_no_line(lines):
    for name in "abcdefgh":
        with phase(name):
            lines.pass_time(0.1)
    assert lines.told == []


def test_a_phase_that_lasts_gets_a_line_when_a_second_has_passed_and_one_every_ten(lines):
    with phase("statistics: Gaussians", 320) as counted:
        lines.pass_time(1)
        counted.advance(20)
        lines.pass_time(19)
    assert lines.told[0] == "statistics: Gaussians: 320 images"
    assert len(lines.told) == 3
    assert re.fullmatch(r"statistics: Gaussians: 20 of 320 images(, .* left)?", lines.told[1])


def test_what_only_waits_is_said_to_last_still(lines):
    with phase("measuring cost"):
        lines.pass_time(25)
    assert lines.told == ["measuring cost", "measuring cost, still", "measuring cost, still"]


def test_a_reader_that_has_gone_ends_no_run():
    def closed(_: str) -> None:
        raise BrokenPipeError

    clock = Clock()
    watcher = Lines(clock)
    watcher._write = closed
    with watched(watcher, "", clock), phase("test", 3):
        watcher.pass_time(30)


def test_nothing_is_said_between_two_phases(lines):
    lines.pass_time(60)
    assert lines.told == []


def train(lines: Lines, seconds: float, epochs: int, steps: int = 10) -> None:
    with phase("training", epochs * steps, "steps") as training:
        training.epochs = epochs
        for epoch in range(1, epochs + 1):
            training.epoch, training.about = epoch, ""
            for _ in range(steps):
                lines.pass_time(seconds / steps)
                training.advance()
            training.about = f"loss {1 / epoch:.4g}"
            phases.changed()


def test_each_epoch_that_takes_its_time_gets_a_line_with_its_loss_and_the_time_that_remains(lines):
    train(lines, 5.0, 4)
    assert [line for line in lines.told if "loss" in line] == [
        "training: epoch 1 of 4, loss 1, 15 s left",
        "training: epoch 2 of 4, loss 0.5, 10 s left",
        "training: epoch 3 of 4, loss 0.3333, 5 s left",
        "training: epoch 4 of 4, loss 0.25, 0 s left",
    ]


def test_quick_epochs_get_a_line_a_second_and_the_last_one_its_own(lines):
    with phase("training", 60, "steps") as training:
        for epoch in range(1, 61):
            training.epoch, training.epochs, training.about = epoch, 60, f"loss {epoch}"
            lines.clock.now += 0.1
            training.advance()
            phases.changed()
    with phase("test", 59):
        pass
    assert 5 <= len(lines.told) <= 8
    assert lines.told[-1].startswith("training: epoch 60 of 60, loss 60")


def test_an_epoch_that_waits_for_its_line_is_told_as_it_ended(lines):
    with phase("training", 20, "steps") as training:
        training.epoch, training.about = 1, "loss 5"
        lines.clock.now += 0.5
        phases.changed()
        training.epoch, training.about = 2, "loss 5 after epoch 1"
        lines.pass_time(1)
    assert lines.told == ["training: epoch 1, loss 5"]


def test_the_last_epoch_is_told_where_nothing_follows():
    clock = Clock()
    watcher = Lines(clock)
    with watched(watcher, "", clock), phase("training", 1, "steps") as training:
        training.epoch, training.about = 1, "loss 2"
        phases.changed()
    assert watcher.told == ["training: epoch 1, loss 2"]


def test_the_time_that_remains_follows_the_rate_and_goes_down_while_a_step_lasts():
    clock = Clock()
    with watched(None, "", clock) as scene, phase("test", 10) as counted:
        assert scene.state().left is None
        for _ in range(4):
            clock.now += 2
            counted.advance()
        assert scene.state().left == 12
        clock.now += 5
        assert scene.state().left == 7
        clock.now += 50
        assert scene.state().left == 0


def test_steps_of_an_earlier_run_do_not_count_for_the_rate():
    clock = Clock()
    with watched(None, "", clock) as scene, phase("training", 100, "steps") as counted:
        counted.skip(90)
        clock.now += 10
        counted.advance(5)
        assert scene.state().left == 10


def test_a_phase_bears_its_fold_and_what_it_is_part_of():
    with watched(None, "padim on screw") as scene:
        with in_fold(2, 5), within("threshold, refit 3 of 5"), phase("statistics", 8) as counted:
            counted.advance(3)
            assert scene.state().line == "fold 2 of 5, threshold, refit 3 of 5, statistics: 3 of 8 images"
        with in_fold(1, 1), phase("test", 8):
            assert scene.state().line == "test: 8 images"
        assert scene.state() is None


def test_the_time_that_remains_is_that_of_the_fold_where_there_are_several():
    clock = Clock()
    with watched(None, "", clock) as scene:
        for folds, expected in ((5, "2 s left of this fold"), (1, "2 s left")):
            with in_fold(2, folds), phase("test", 8) as counted:
                clock.now += 6
                counted.advance(6)
                assert scene.state().line.endswith(f", {expected}")


def test_a_phase_within_another_is_shown_until_it_ends():
    with watched(None, "") as scene, phase("training"):
        with phase("statistics"):
            assert scene.state().phase == "statistics"
        assert scene.state().phase == "training"


def test_the_bar_names_method_category_fold_phase_epoch_device_and_what_remains():
    bar, clock = RunBar(), Clock()
    with watched(None, "vae on screw", clock) as scene, in_fold(2, 5), phase("training", 20, "steps") as training:
        bar._scene, scene.device = scene, "cpu"
        training.epoch, training.epochs = 3, 20
        clock.now += 4
        training.advance(10)
        console = Console(file=io.StringIO(), width=120)
        console.print(bar.drawn())
    shown = console.file.getvalue()
    assert "vae on screw: fold 2 of 5, training: epoch 3 of 20, cpu" in shown
    assert "4 s left" in shown


def test_a_state_survives_the_way_to_another_process():
    import pickle

    state = State("a", phase="test", done=1, total=2, unit="images")
    assert pickle.loads(pickle.dumps(state)) == state


def test_progress_changes_no_figure(bench, quick, monkeypatch):
    quiet = bench("fit", *quick, "--runs", "quiet")
    monkeypatch.setenv("BENCH_QUIET", "0")
    told = bench("fit", *quick, "--runs", "told")
    assert (quiet.status, told.status) == (0, 0)
    assert quiet.stderr == ""
    files = [next(Path(runs).rglob("predictions.csv")).read_bytes() for runs in ("quiet", "told")]
    assert files[0] == files[1]


def test_a_short_run_says_what_it_is_and_what_it_reads_and_little_else(bench, quick, monkeypatch):
    monkeypatch.delenv("BENCH_QUIET")
    outcome = bench("fit", *quick, "--json")
    said = outcome.stderr.splitlines()
    assert said[0] == "bench: autoencoder_l2 on screw (mvtec_ad), seed 0"
    (run,) = Path("runs").glob("*/*/*")
    read = next(line for line in said if line.startswith("autoencoder_l2 on screw: "))
    assert re.fullmatch(rf"autoencoder_l2 on screw: \d+ training, \d+ validation, \d+ test images, cpu, {run}", read)
    assert len(said) < 15
    assert outcome.stdout.startswith("{")


def test_a_mistake_in_a_name_is_still_the_only_line(bench, quick, monkeypatch):
    monkeypatch.delenv("BENCH_QUIET")
    outcome = bench("fit", *quick, "--model", "vea")
    assert (outcome.status, outcome.stderr.count("\n")) == (2, 1)


def test_another_process_than_the_first_says_nothing(bench, quick, monkeypatch):
    from bench.config.settings import read_layers
    from bench.runs.telling import announced

    monkeypatch.delenv("BENCH_QUIET")
    monkeypatch.setenv("NODE_RANK", "1")
    with announced(read_layers(model="padim", data=None, category="screw", files=[]), {}):
        assert not phases.is_watched()


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "BENCH_QUIET"}


def test_the_first_line_is_there_before_torch_is_imported(quick):
    code = """
import builtins, sys
from bench.cli.main import main
write = sys.stderr.write
def heard(text):
    print(text.strip(), "torch" in sys.modules, flush=True)
    sys.exit(0)
sys.stderr.write = heard
main(sys.argv[1:])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, "fit", *quick], capture_output=True, text=True, env=_environment(), timeout=120
    )
    assert done.stdout.splitlines()[0] == "bench: autoencoder_l2 on screw (mvtec_ad), seed 0 False", done


def _read_all(descriptor: int, process: subprocess.Popen[bytes]) -> tuple[str, float]:
    """What comes out until the end, and the longest silence between two pieces."""
    heard, last, longest = b"", time.monotonic(), 0.0
    while True:
        ready, _, _ = select.select([descriptor], [], [], 1)
        if ready:
            try:
                piece = os.read(descriptor, 2**16)
            except OSError:  # a terminal whose other end is closed
                piece = b""
            if not piece:
                break
            longest = max(longest, time.monotonic() - last) if heard else 0.0
            heard, last = heard + piece, time.monotonic()
    process.wait(timeout=60)
    return heard.decode(), longest


@pytest.mark.slow
def test_a_run_in_a_pipe_is_never_silent_for_long(quick):
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "fit", *quick, "--trainer.max_epochs", "40"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment(),
    )  # fmt: skip
    assert process.stderr is not None
    with process.stderr:
        heard, longest = _read_all(process.stderr.fileno(), process)
    assert process.returncode == 0, heard
    assert longest < GAP
    assert "\x1b" not in heard, "no terminal, no escape codes"
    assert "epoch 40 of 40, loss " in heard
    assert heard.count("\n") < 60


@pytest.mark.slow
def test_a_run_on_a_terminal_shows_a_bar_and_removes_it(quick):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "fit", *quick, "--trainer.max_epochs", "40"],
        stdout=subprocess.DEVNULL, stderr=theirs, env=_environment() | {"TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    heard, _ = _read_all(ours, process)
    os.close(ours)
    assert process.returncode == 0, heard
    assert "bench: autoencoder_l2 on screw (mvtec_ad), seed 0" in heard
    assert "autoencoder_l2 on screw: training: epoch" in heard
    assert heard.rstrip().endswith(("\x1b[?25h", "\x1b[2K")), "the cursor is shown again"


@pytest.mark.slow
def test_ctrl_c_removes_the_bar_and_the_last_line_says_so(quick):
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench", "fit", *quick, "--trainer.max_epochs", "4000"],
        stdout=subprocess.DEVNULL, stderr=theirs, env=_environment() | {"TERM": "xterm", "COLUMNS": "120"},
    )  # fmt: skip
    os.close(theirs)
    try:
        heard = b""
        while b"training: epoch 2" not in heard:
            heard += os.read(ours, 2**16)
        process.send_signal(signal.SIGINT)
        rest, _ = _read_all(ours, process)
    finally:
        process.kill()
        os.close(ours)
    assert process.returncode == 130
    assert rest.rstrip().endswith("bench: interrupted")
    (run,) = Path("runs").glob("*/*/*")
    assert f"bench: go on with it: bench fit --resume {run}" in rest
    assert "\x1b[?25h" in rest, "the cursor is shown again"


@pytest.mark.slow
def test_only_the_first_of_two_processes_tells(quick):
    two = ("--trainer.devices", "2", "--trainer.max_epochs", "3", "--data.validation_share", "0.25")
    process = subprocess.run(
        [sys.executable, "-m", "bench", "fit", *quick, *two],
        capture_output=True, text=True, env=_environment(), timeout=400,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    said = process.stderr.splitlines()
    assert said[0] == "bench: autoencoder_l2 on screw (mvtec_ad), seed 0"
    assert sum(line.startswith("autoencoder_l2 on screw: ") for line in said) == 1
    assert "2 processes on cpu" in process.stderr
    assert sum("epoch 3 of 3, done" in line for line in said) == 1


def _stop_at(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: Any, trainer: Any, _: Any) -> None:
        if trainer.current_epoch == epoch:
            raise KeyboardInterrupt

    monkeypatch.setattr("bench.runs.callbacks.EpochSeed.on_train_epoch_start", interrupt)
    monkeypatch.setattr("bench.runs.checkpoint._LOST_AT_MOST", 0.0)  # each epoch is saved


def _resumed(bench: Any, run: Path) -> list[str]:
    outcome = bench("fit", "--resume", run)
    assert outcome.status == 0, outcome.stderr
    return outcome.stderr.splitlines()


@pytest.mark.parametrize(
    ("epoch", "where"), [(2, "after epoch 2 of 3"), (0, "from its first epoch, for none was saved")]
)
def test_a_run_that_is_resumed_says_after_which_epoch_it_goes_on(bench, quick, monkeypatch, epoch, where):
    monkeypatch.delenv("BENCH_QUIET")
    with monkeypatch.context() as patch:
        _stop_at(epoch, patch)
        stopped = bench("fit", *quick, "--trainer.max_epochs", "3")
    (run,) = Path("runs").glob("*/*/*")
    assert (f"go on with it: bench fit --resume {run}" in stopped.stderr) == bool(epoch)
    assert f"autoencoder_l2 on screw goes on {where}" in _resumed(bench, run)


def test_a_run_of_folds_says_in_which_it_goes_on_and_what_is_kept(bench, data_root, monkeypatch):
    from bench.runs import run as running

    monkeypatch.delenv("BENCH_QUIET")
    words = ("fit", "resnet18", "screw", "--root", data_root, "--weights", "none", "--fold", "all", "--folds", "2")
    words = (*words, "--epochs", "1", "--image-size", "32", "--crop", "null", "--device", "cpu")
    fit_fold = running.fit_fold

    def first_only(model: Any, fold: Any, *rest: Any, **options: Any) -> Any:
        if fold.name == "fold 1":
            raise KeyboardInterrupt
        return fit_fold(model, fold, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(running, "fit_fold", first_only)
        stopped = bench(*words)
        assert stopped.status == 130, stopped
    (run,) = Path("runs").glob("*/*/*")
    where = "goes on with fold 1, from its first epoch, for none was saved; fold 0 is kept as learned, and tested again"
    assert f"resnet18 on screw {where}" in _resumed(bench, run)


def test_a_method_without_training_says_that_its_statistics_are_computed_again(bench, quick_padim, monkeypatch):
    monkeypatch.delenv("BENCH_QUIET")
    with monkeypatch.context() as patch:
        patch.setattr("bench.runs.fitting.learn_and_choose_threshold", _interrupt)
        assert bench("fit", *quick_padim).status == 130
    (run,) = Path("runs").glob("*/*/*")
    assert "padim on screw begins anew: statistics and threshold are computed again" in _resumed(bench, run)


def _interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
