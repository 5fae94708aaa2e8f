"""What a person sees while a sweep runs: a live table on a terminal, lines anywhere else."""

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench.sweep.progress_table import ProgressTable, duration
from bench.sweep.tasks import Outcome, Started


def entries(*expected: float | None) -> Any:
    return {
        number: SimpleNamespace(planned=SimpleNamespace(title=f"cell {number}"), expected=seconds)
        for number, seconds in enumerate(expected)
    }


def test_counts_failures_and_the_time_that_remains_are_told_in_a_line(capsys):
    table = ProgressTable(entries(100.0, 100.0, None), finished_before=2)
    table.show(Started(0))
    table.show(Started(1))
    table.show(Outcome(0, "finished", seconds=100.0), "cell 0: image AUROC 0.9")
    table.show(Outcome(1, "failed", "no reason", seconds=100.0), "cell 1: failed: no reason")
    assert capsys.readouterr().err.splitlines() == [
        "3 of 5 done, 3 min left: cell 0: image AUROC 0.9",
        "3 of 5 done, 1 failed, 2 min left: cell 1: failed: no reason",
    ]


def test_without_any_earlier_record_no_time_is_promised():
    assert ProgressTable(entries(None, None), 0).headline() == "0 of 2 done"


def test_cells_that_run_at_once_share_the_time_that_remains():
    table = ProgressTable(entries(100.0, 100.0, 100.0, 100.0), 0)
    for number in (0, 1):
        table.show(Started(number))
    assert table.seconds_left() == pytest.approx(200.0, abs=1)


def test_a_cell_that_another_sweep_runs_is_not_counted_yet():
    table = ProgressTable(entries(1.0, 1.0), 0)
    table.show(Started(0))
    table.show(Outcome(0, "elsewhere"))
    assert table.headline().startswith("0 of 2 done")


def test_on_a_terminal_the_running_cells_stand_in_a_table(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    table = ProgressTable(entries(100.0, 100.0), 0)
    console = Console(force_terminal=True, width=80)
    table._console, table._live.console = console, console
    with table:
        table.show(Started(1))
        shown = capsys.readouterr().out
    assert "running" in shown
    assert "cell 1" in shown
    assert "0 of 2 done" in shown


@pytest.mark.parametrize(("seconds", "words"), [(3.2, "3 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations_are_said_as_a_person_says_them(seconds, words):
    assert duration(seconds) == words
