import subprocess
import sys

import numpy as np
import pytest

from bench.memory import forget_peak, peak_bytes

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
