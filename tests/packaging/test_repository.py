"""What lies in the repository: text only, in files whose names say what is in them."""

import subprocess
from pathlib import Path

import pytest

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
