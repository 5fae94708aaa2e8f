"""What lies in the repository: text only, in files whose names say what is in them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
IMAGES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"}
WEIGHTS = {".ckpt", ".pt", ".pth", ".bin", ".onnx", ".safetensors", ".npy", ".npz", ".pkl"}


@pytest.fixture(scope="module")
def files() -> list[Path]:
    """All files that git holds or would add."""
    if not (CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout")
    # A checkout may belong to another user, as in a container; git only lists names here.
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    found = [CHECKOUT / name for name in names.split("\0") if name]
    return [path for path in found if path.is_file()]


def test_no_image_and_no_weights_lie_in_git(files):
    assert [path for path in files if path.suffix.lower() in IMAGES | WEIGHTS] == []


def test_every_file_in_git_is_text(files):
    """An image or weights under another name are still no text."""
    binary = []
    for path in files:
        try:
            path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            binary.append(path)
    assert binary == []


def test_every_file_says_by_its_name_what_is_in_it(files):
    assert [path for path in files if path.name in {"utils.py", "helpers.py", "misc.py", "common.py"}] == []


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        (
            "import runpy; runpy.run_module('bench', run_name='__main__')",
            2,
            "bench: does not run on Windows itself; ",
        ),
        ("import bench; bench.fit", 1, "ImportError: bench does not run on Windows itself; use it in WSL 2"),
    ],
)
def test_windows_is_refused_in_one_line(code, status, words):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.platform = 'win32'; {code}"], capture_output=True, text=True
    )
    assert done.returncode == status
    assert done.stderr.splitlines()[-1].startswith(words)


def test_the_workflow_runs_what_ci_runs_on_every_python_that_is_supported():
    workflow = yaml.safe_load((CHECKOUT / ".github/workflows/checks.yml").read_text())
    ran = {step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step}
    script = (CHECKOUT / ".ci/run").read_text()
    assert {"ruff check .", "ruff format --check .", "lint-imports", "mypy"} <= ran
    assert all(command in script for command in ("ruff check .", "ruff format --check .", "lint-imports", "mypy"))
    versions = set(workflow["jobs"]["tests"]["strategy"]["matrix"]["python-version"])
    classifiers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert {name.rpartition(" ")[2] for name in classifiers if re.search(r":: 3\.\d+$", name)} <= versions
