"""What a person sees while a sweep runs: a live table on a terminal, lines anywhere else."""

from itertools import pairwise
from multiprocessing import Pipe
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from bench.phases import State, duration, phase, watched
from bench.sweep.launchers.worker_handle import Worker
from bench.sweep.progress_table import ProgressTable
from bench.sweep.reports import Reports
from bench.sweep.tasks import Outcome, Progressed, Started


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
        "3 of 5 done, 2 min left: cell 0: image AUROC 0.9",
        "3 of 5 done, 1 failed, 2 min left: cell 1: failed: no reason",
    ]


def test_without_any_earlier_record_no_time_is_promised():
    assert ProgressTable(entries(None, None), 0).headline() == "0 of 2 done"


def test_cells_that_run_at_once_share_the_time_that_remains():
    table = ProgressTable(entries(100.0, 100.0, 100.0, 100.0), 0)
    for number in (0, 1):
        table.show(Started(number))
    assert table.seconds_left() == pytest.approx(200.0, abs=1)


def test_the_time_that_remains_never_jumps_up_when_a_cell_ends():
    now = [0.0]
    table = ProgressTable(entries(*[None] * 8), 0, clock=lambda: now[0])
    seconds, running, left = [60.0, 80.0, 70.0, 50.0] * 2, {}, []
    for number in range(8):
        if number < 2:
            table.show(Started(number))
            running[number] = 0.0
    following = 2
    while running:
        now[0] += 5
        for number, since in list(running.items()):
            spent = now[0] - since
            if spent < seconds[number]:
                state = State(phase="training", epoch=1, left=seconds[number] - spent)
                table.show(Progressed(number, state))
                continue
            del running[number]
            before = table.seconds_left()
            table.show(Outcome(number, "finished", seconds=seconds[number]), "done")
            after = table.seconds_left()
            assert after <= before + 1, (number, before, after)
            if following < 8:
                table.show(Started(following))
                running[following] = now[0]
                following += 1
        left.append(table.seconds_left() or 0.0)
    ended = now[0]
    truth = [ended - 5 * (step + 1) for step in range(len(left))]
    assert max(abs(a - b) for a, b in zip(left, truth, strict=True)) < 60
    assert max(b - a for a, b in pairwise(left)) <= 10


def test_a_cell_that_another_sweep_runs_is_not_counted_yet():
    table = ProgressTable(entries(1.0, 1.0), 0)
    table.show(Started(0))
    table.show(Outcome(0, "elsewhere"))
    assert table.headline().startswith("0 of 2 done")


def test_on_a_terminal_the_running_cells_stand_in_a_table(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("BENCH_QUIET")
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


class Clock:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def training(epoch: int, left: float | None, **values: Any) -> State:
    return State("", phase="training", epoch=epoch, epochs=20, left=left, **values)


def test_the_time_that_remains_follows_what_the_running_cells_report_and_counts_down():
    clock = Clock()
    table = ProgressTable(entries(1000.0), 0, clock)
    table.show(Started(0))
    clock.now = 10
    assert table.seconds_left() == 990
    table.show(Progressed(0, training(1, 190.0)))  # much quicker than the record said
    assert table.seconds_left() == 190
    clock.now = 70
    assert table.seconds_left() == 130


def test_a_report_tells_how_long_a_cell_takes_that_no_record_knows():
    clock = Clock()
    table = ProgressTable(entries(None, None), 0, clock)
    table.show(Started(0))
    clock.now = 10
    assert table.seconds_left() is None
    table.show(Progressed(0, training(2, 90.0)))
    assert table.seconds_left() == 190  # 90 of this one, 100 of the next


def test_folds_that_are_to_come_take_as_long_as_those_before():
    clock = Clock()
    table = ProgressTable(entries(None), 0, clock)
    table.show(Started(0))
    clock.now = 150
    table.show(Progressed(0, training(10, 50.0, fold=2, folds=5)))
    assert table.seconds_left() == 350  # 100 a fold: 500, less 150


def test_no_cell_ends_before_its_slowest_part_does():
    clock = Clock()
    table = ProgressTable(entries(10.0, 500.0), 0, clock)
    table.show(Started(0))
    table.show(Started(1))
    assert table.seconds_left() == 500


def test_without_a_terminal_a_line_within_thirty_seconds_tells_what_runs(capsys, monkeypatch):
    monkeypatch.delenv("BENCH_QUIET")
    clock = Clock()
    table = ProgressTable(entries(None, None), 0, clock)
    table.show(Started(0))
    table.show(Progressed(0, training(3, 60.0, fold=2, folds=5)))
    for _ in range(120):
        clock.now += 0.5
        table.show(None)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("0 of 2 done, ")
    assert lines[0].endswith("; cell 0, fold 2 of 5, training: epoch 3 of 20, for 29 s")


def test_on_a_terminal_the_table_names_fold_and_epoch(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("BENCH_QUIET")
    table = ProgressTable(entries(100.0, 100.0), 0)
    console = Console(force_terminal=True, width=100)
    table._console, table._live.console = console, console
    with table:
        table.show(Started(1))
        table.show(Progressed(1, training(3, 60.0, fold=2, folds=5)))
        shown = capsys.readouterr().out
    assert "fold 2 of 5, training: epoch 3 of 20" in shown


def test_a_worker_reports_its_cell_and_loses_no_outcome():
    sent: list[Progressed] = []
    reports = Reports(7, sent.append)
    with watched(reports, "cell"), phase("test", 3) as counted:
        reports.tick()
        reports.tick()
        counted.advance()
        reports.tick()
    assert [(each.number, each.state.done) for each in sent] == [(7, 0), (7, 1)]
    assert reports._thread is not None and not reports._thread.is_alive(), "no report follows the outcome"


def test_a_report_to_a_sweep_that_has_ended_harms_no_run():
    def fail(_: Progressed) -> None:
        raise BrokenPipeError

    reports = Reports(7, fail)
    with watched(reports, "cell"), phase("test", 3):
        reports.tick()


def test_the_handle_of_a_worker_keeps_the_last_report_and_every_outcome():
    ours, theirs = Pipe()
    worker = Worker({}, 1)
    worker._cells, worker.task = ours, SimpleNamespace(number=7)  # type: ignore[assignment]
    worker._process = SimpleNamespace(is_alive=lambda: True)
    for done in range(300):
        theirs.send(Progressed(7, State(done=done)))
        if done % 50 == 0:
            assert worker.answer() == (None, None)
    theirs.send(Outcome(7, "finished"))
    _, outcome = worker.answer()
    assert outcome == Outcome(7, "finished")
    assert [report.state.done for report in worker.report()] == [299]
    assert list(worker.report()) == []
