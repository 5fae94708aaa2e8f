"""In a notebook a bar needs ipywidgets: without them a run tells by lines."""

import sys
from types import ModuleType

import pytest

from bench.progress import RunBar
from bench.progress_lines import ProgressLines
from bench.runs.telling import _watcher


@pytest.mark.parametrize(("widgets", "expected"), [(ModuleType("ipywidgets"), RunBar), (None, ProgressLines)])
def test_a_notebook_has_a_bar_where_its_widgets_are_installed(monkeypatch, widgets, expected):
    if widgets is not None:
        widgets.__spec__ = __spec__
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "ipywidgets", widgets)
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert isinstance(_watcher(), expected)
