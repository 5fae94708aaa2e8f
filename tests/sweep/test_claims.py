"""A cell is held by one living process; a dead one loses it at once on its machine, elsewhere after its lease."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.sweep import claims
from bench.sweep.claims import claim, forget_dead_claims, is_claimed, process_start
from sweep_processes import wait_for

LEASE = 30.0


@pytest.fixture
def run(tmp_path) -> Path:
    return tmp_path / "model" / "screw" / "0123456789abcdef"


def leave_claim(run: Path, *, host: str | None = None, age: float = 0.0, **changes: object) -> Path:
    """The claim of a process that has died, on this machine or another one."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = claims._self(LEASE).__dict__ | {"pid": process.pid, "started": process_start(process.pid)}
    process.communicate()
    path = run.with_name(f"{run.name}.0.claim") / "of another"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(owner | ({"host": host} if host else {}) | changes))
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_cell_is_held_by_one_and_free_afterwards(run):
    with claim(run, LEASE) as first, claim(run, LEASE) as second:
        assert (first, second) == (True, False)
        assert is_claimed(run)
    assert not is_claimed(run)
    assert list(run.parent.iterdir()) == []


def test_the_claim_names_its_process_and_ends_with_an_error_as_well(run):
    with pytest.raises(ValueError, match="in the cell"), claim(run, LEASE):
        (path,) = run.parent.glob("*.claim/*")
        owner = json.loads(path.read_text())
        raise ValueError("in the cell")
    assert (owner["pid"], owner["started"], owner["lease"]) == (os.getpid(), process_start(os.getpid()), LEASE)
    assert not is_claimed(run)


def test_what_a_dead_process_of_this_machine_held_is_taken_over_at_once(run):
    leave_claim(run)
    assert not is_claimed(run)
    with claim(run, LEASE) as taken:
        assert taken
    assert list(run.parent.iterdir()) == []


def test_a_later_process_with_the_same_number_is_not_the_owner(run):
    leave_claim(run, pid=os.getpid(), started=(process_start(os.getpid()) or 0) - 1)
    assert not is_claimed(run)


def test_a_process_that_has_ended_but_was_not_waited_for_is_dead(run):
    child = subprocess.Popen([sys.executable, "-c", ""])
    wait_for(lambda: process_start(child.pid) is None, seconds=10)
    child.wait()


@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"system": "another boot, or container"}])
def test_what_a_process_elsewhere_holds_is_taken_over_after_its_lease_only(run, elsewhere):
    path = leave_claim(run, age=LEASE - 5, **elsewhere)
    with claim(run, lease=0.1) as taken:
        assert not taken, "the lease that counts is the owner's"
    os.utime(path, (time.time() - LEASE - 5,) * 2)
    with claim(run, LEASE) as taken:
        assert taken


def test_a_claim_is_renewed_while_its_process_lives(run, monkeypatch):
    lease = 0.4
    with claim(run, lease):
        (path,) = run.parent.glob("*.claim/*")
        first = path.stat().st_mtime_ns
        monkeypatch.setattr(claims.platform, "node", lambda: "another")  # as seen from there
        for _ in range(8):
            time.sleep(lease / 4)
            assert is_claimed(run)
        assert path.stat().st_mtime_ns > first


def test_a_claim_without_content_is_one_that_is_being_written_for_a_moment(run):
    path = leave_claim(run)
    path.write_text("")
    assert is_claimed(run)
    os.utime(path, (time.time() - 10,) * 2)
    assert not is_claimed(run)


def test_of_many_that_find_a_dead_claim_one_gets_the_cell(run):
    leave_claim(run)
    gate, got = threading.Barrier(8), []

    def take() -> None:
        gate.wait()
        path = claims._acquire(run, LEASE)
        if path is not None:
            got.append(path)

    for _ in range(20):
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(got) == 1
        for path in run.parent.glob("*.claim"):
            shutil.rmtree(path)
        dead = got.pop()
        dead.parent.mkdir()
        dead.write_text(json.dumps(claims._self(LEASE).__dict__ | {"started": 1}))


def test_what_is_left_beside_a_finished_run_is_removed_unless_its_process_lives(run):
    path = leave_claim(run)
    forget_dead_claims(run)
    assert not path.parent.exists()
    with claim(run, LEASE):
        forget_dead_claims(run)
        assert is_claimed(run)


def replace_by_successor(own: Path) -> Path:
    """What happens while the owner sleeps for longer than its lease: taken for dead, and its number used again."""
    shutil.rmtree(own.parent)
    own.parent.mkdir()
    successor = own.with_name("of the successor")
    successor.write_text(json.dumps(claims._self(LEASE).__dict__))
    os.utime(successor, (time.time() - 5,) * 2)
    return successor


def test_who_wakes_up_after_its_lease_leaves_the_claim_of_its_successor_alone(run):
    with claim(run, LEASE) as ours:
        assert ours
        (own,) = run.parent.glob("*.claim/*")
        successor = replace_by_successor(own)
        before = successor.stat().st_mtime_ns
        assert not claims._renew_once(own, run)
        assert successor.stat().st_mtime_ns == before
    assert [*run.parent.glob("*.claim/*")] == [successor]
    assert is_claimed(run)


def test_who_lost_its_claim_before_it_was_written_does_not_hold_the_cell(run, monkeypatch):
    make, successors = Path.mkdir, []

    def sleep_after_mkdir(path: Path, *arguments: object, **options: bool) -> None:
        make(path, *arguments, **options)
        if path.suffix == ".claim" and not successors:
            successors.append(path / "of the successor")
            successors[0].write_text(json.dumps(claims._self(LEASE).__dict__))

    monkeypatch.setattr(Path, "mkdir", sleep_after_mkdir)
    with claim(run, LEASE) as ours:
        assert not ours
    assert [*run.parent.glob("*.claim/*")] == successors


def _hold_and_lose(run: str) -> None:
    with claim(Path(run), 0.2):
        Path(run).with_name(f"{Path(run).name}.7.claim").mkdir()
        time.sleep(20)


def test_a_process_that_has_lost_its_claim_writes_no_more(run):
    process = multiprocessing.get_context("spawn").Process(target=_hold_and_lose, args=(str(run),))
    process.start()
    process.join(15)
    assert process.exitcode == 1
