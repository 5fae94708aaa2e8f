"""What all tests share: a folder of their own, tiny data, and the command line in this process."""

import os

# Before torch is loaded: on tiny images threads cost more than they bring.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import io
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fake_data import write_category

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Shells let what they start in the background ignore Ctrl-C, and all that the tests start would ignore it as well.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What a test's machine may have set, and what would lead out of the test's folder.
_SETTINGS = ("BENCH_DATA", "BENCH_WEIGHTS", "WANDB_API_KEY", "WANDB_PROJECT", "XDG_CACHE_HOME")


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit status and what it printed."""

    status: int
    stdout: str
    stderr: str


def run_bench(*arguments: object) -> Outcome:
    """`bench` with these arguments, in this process: starting another one costs torch's import each time."""
    from bench.cli.main import main

    stdout, stderr = io.StringIO(), io.StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr), warnings.catch_warnings(record=True) as caught:
            _show_warnings_as_python_does()
            status = main([str(argument) for argument in arguments])
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    lines = [warnings.formatwarning(w.message, w.category, w.filename, w.lineno) for w in caught]
    return Outcome(status, stdout.getvalue(), stderr.getvalue() + "".join(lines))


def _show_warnings_as_python_does() -> None:
    """Undo pytest's own filters: what a person would see counts, and what Python hides does not."""
    warnings.resetwarnings()
    for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", category)


def files_below(folder: Path) -> set[Path]:
    """All files below a folder, by their paths relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, a cache of its own, no W&B, no settings of the machine."""
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv(
        "BENCH_QUIET", "1"
    )  # what is left on stderr is a mistake or a remark; progress has its own tests
    monkeypatch.setattr(sys, "path", list(sys.path))  # a model file's folder is put there
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the category `screw`; only to be read."""
    root = tmp_path_factory.mktemp("data")
    write_category(root)
    return root


@pytest.fixture
def own_category(tmp_path: Path) -> Path:
    """The folder of a category that the test may damage; its root is the parent."""
    return write_category(tmp_path / "data")


@pytest.fixture(scope="session")
def bench() -> Callable[..., Outcome]:
    """The real command line: `bench("fit", "--model", ...)`."""
    return run_bench


@pytest.fixture(scope="session")
def quick(data_root: Path) -> tuple[str, ...]:
    """Options of the quickest run there is; what follows them on the command line wins."""
    model = ("--model", "autoencoder_l2", "--trainer.max_epochs", "1", "--trainer.accelerator", "cpu")
    draws = ("--data.samples_per_epoch", "null", "--data.batch_size", "16")
    return (*model, *draws, "--category", "screw", "--data.root", str(data_root), "--data.image_size", "32")


@pytest.fixture(scope="session")
def quick_padim(data_root: Path) -> tuple[str, ...]:
    """The same for a method with a backbone, whose weights are random."""
    model = ("--model", "padim", "--model.weights", "none", "--model.channels", "8", "--trainer.accelerator", "cpu")
    return (*model, "--category", "screw", "--data.root", str(data_root), "--data.image_size", "32")


@pytest.fixture(scope="session")
def finished(quick: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run; only to be read."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str(folder / "cache"))
        patch.setenv("WANDB_MODE", "disabled")
        outcome = run_bench("fit", *quick, "--runs", folder / "runs")
    assert outcome.status == 0, outcome.stderr
    return next((folder / "runs").rglob("record.json")).parent


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[..., str]:
    """Run a command that must be refused by one line, with status 2 and nothing written; that line."""

    def run(*arguments: object) -> str:
        runs = tmp_path / "runs"
        before = files_below(runs)
        outcome = run_bench(*arguments)
        assert outcome.status == 2, outcome
        assert outcome.stdout == ""
        assert outcome.stderr.startswith("bench: ")
        assert outcome.stderr.count("\n") == 1, f"more than one line:\n{outcome.stderr}"
        assert files_below(runs) == before, "a refused command wrote into the folder of runs"
        assert not list(tmp_path.rglob("*.partial"))
        return outcome.stderr.strip()

    return run


@pytest.fixture
def mount_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of its own with little room: `mount_disk("64k")` is its folder."""
    folder = tmp_path / "disk"

    def mount(size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            folder.rmdir()
            pytest.skip("only who may mount a small file system can fill one")
        return folder

    yield mount
    if folder.exists():
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """The Chromium that is installed, without a window; playwright's own download is never used."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium):
    """Open an address; at the end nothing must have been logged, asked of a network, or alerted."""
    pages, noise = [], []

    def open_(address: str, **options):
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        context.set_default_timeout(120_000)  # a busy machine is no fault of the page
        page = context.new_page()
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: noise.append(f"dialog {dialog.message}"))
        page.on("request", lambda request: noise.append(request.url) if request.url != address else None)
        page.goto(address)
        pages.append(context)
        return page

    yield open_
    for context in pages:
        context.close()
    assert [line for line in noise if not line.startswith("data:")] == []


@pytest.fixture
def all_threads():
    """All cores that other tests leave, for the tests that train in earnest."""
    import torch

    before = torch.get_num_threads()
    at_once = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // at_once))
    yield
    torch.set_num_threads(before)
