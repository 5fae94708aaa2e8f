"""How a process ends: its status, its last words, and nothing that was left to the end undone."""

import subprocess
import sys
from pathlib import Path

BENCH = (sys.executable, "-m", "bench")
CLASS = '''
import atexit
import os
import sys
from pathlib import Path

from bench.models.base import Detector, Prediction

atexit.register(Path("handler").write_text, "called")


class Remains:
    def __del__(self, create=os.open, flags=os.O_CREAT):
        create("taken-apart", flags)


sys.remains = Remains()  # a module that Python takes apart whatever else still holds


class Brightest(Detector):
    """The brighter, the more anomalous."""

    def forward(self, image):
        brightness = image.mean(dim=1)
        return Prediction(brightness.amax(dim=(1, 2)), brightness)
'''
YAML = """
class_path: mine.Brightest
about: brightness alone
track: one-class
data: {image_size: 32, validation_share: 0.25}
"""


def test_a_run_calls_what_asked_to_be_called_and_does_not_take_its_modules_apart(data_root):
    Path("mine.py").write_text(CLASS)
    Path("mine.yaml").write_text(YAML)
    words = ("--model", "mine.yaml", "--category", "screw", "--data.root", data_root, "--trainer.accelerator", "cpu")
    done = subprocess.run([*BENCH, "fit", *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "image AUROC" in done.stdout
    assert Path("handler").read_text() == "called"
    assert not Path("taken-apart").exists()


def test_a_mistake_ends_with_its_status_and_its_line():
    done = subprocess.run([*BENCH, "fit"], capture_output=True, text=True)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_output_that_finds_no_room_is_told_in_one_line():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*BENCH, "models", "--json"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "bench: No space left on device; free some space on the disk that is written to\n"


def test_a_failure_stays_one_where_its_output_finds_no_room_or_no_reader():
    with Path("/dev/full").open("w") as full:
        assert subprocess.run([*BENCH], stdout=full, stderr=subprocess.PIPE).returncode == 2
    with subprocess.Popen([*BENCH], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        said = process.stderr.read()
    assert said.startswith(b"bench: no command")
    assert said.count(b"\n") == 1
    assert process.returncode == 2


def test_a_reader_who_leaves_early_is_no_mistake():
    with subprocess.Popen([*BENCH, "models", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_command_without_a_stdout_does_its_work():
    assert subprocess.run(["sh", "-c", f"{sys.executable} -m bench models --json >&-"]).returncode == 0
