"""What lies in the repository: text only, in files and functions that can be read in one go."""

import ast
import subprocess
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
LONGEST_FILE = 350
LONGEST_FUNCTION = 55
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


@pytest.fixture(scope="module")
def sources(files: list[Path]) -> list[Path]:
    return [path for path in files if path.suffix == ".py" and (CHECKOUT / "src") in path.parents]


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


def test_no_source_file_is_long(sources):
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in sources}
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


def test_no_function_is_long(sources):
    functions = (
        (f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}", (node.end_lineno or 0) - node.lineno + 1)
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert {name: lines for name, lines in functions if lines > LONGEST_FUNCTION} == {}


def test_every_file_says_by_its_name_what_is_in_it(files):
    assert [path for path in files if path.name in {"utils.py", "helpers.py", "misc.py", "common.py"}] == []
