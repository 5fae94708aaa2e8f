import subprocess
import sys

import numpy as np
import pytest

from bench import memory
from bench.memory import available_bytes, forget_peak, machine_bytes, peak_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")


def test_the_peak_of_an_earlier_cell_is_not_that_of_the_next():
    forget_peak()
    before = peak_bytes()
    block = np.ones(400 * 2**20, dtype=np.uint8)
    assert peak_bytes() > before + 300 * 2**20
    del block
    forget_peak()
    assert peak_bytes() < before + 100 * 2**20


def test_the_peak_of_a_process_is_not_that_of_the_one_that_started_it():
    block = np.ones(2 * 2**30, dtype=np.uint8)
    code = "from bench.memory import peak_bytes; print(peak_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < block.nbytes / 2


def test_what_is_available_is_what_linux_reports(tmp_path, monkeypatch):
    assert 0 < available_bytes() <= machine_bytes()
    report = tmp_path / "meminfo"
    report.write_text("MemTotal:       24683840 kB\nMemFree:          299520 kB\nMemAvailable:       2000 kB\n")
    monkeypatch.setattr(memory, "_OF_MACHINE", report)
    assert available_bytes() == 2_048_000
    monkeypatch.setattr(memory, "_OF_MACHINE", tmp_path / "none")
    monkeypatch.setattr(memory, "_OF_GROUP", tmp_path)
    assert available_bytes() == machine_bytes()


@pytest.mark.parametrize(
    ("limit", "used", "expected"), [("1000", "400", 600), ("1000", "1200", 0), ("max", "400", None)]
)
def test_a_container_has_no_more_than_its_limit(limit, used, expected, tmp_path, monkeypatch):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    (tmp_path / "memory.current").write_text(f"{used}\n")
    monkeypatch.setattr(memory, "_OF_GROUP", tmp_path)
    assert available_bytes() == expected if expected is not None else available_bytes() > 10**6
