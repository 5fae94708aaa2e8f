import resource
import sys

import numpy as np
import pytest

from bench.memory import forget_peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_the_peak_of_an_earlier_cell_is_not_that_of_the_next():
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    forget_peak()
    before = peak()
    block = np.ones(400 * 2**20, dtype=np.uint8)
    assert peak() > before + 300 * 2**10
    del block
    forget_peak()
    assert peak() < before + 100 * 2**10
