"""The examples of the interface run as they stand in docstrings and docs."""

import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


@pytest.mark.parametrize("module", ["bench.interface.run"])
def test_the_examples_of_docstrings_give_what_they_say(module):
    failed, tried = doctest.testmod(import_module(module))
    assert (failed, tried > 0) == (0, True)


def test_the_notebook_runs_and_has_under_fifteen_lines_of_code():
    text = (EXAMPLES / "notebook.py").read_text(encoding="utf-8")
    code = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    assert len(code) < 15
    scope: dict[str, object] = {}
    exec(compile(text, "notebook.py", "exec"), scope)
    assert list(scope["table"].model) == ["knn_mobilenetv2", "padim_mobilenetv2"] * 2 or len(scope["table"]) >= 2
    assert re.search(r"padim\.score\(images\)", text)
