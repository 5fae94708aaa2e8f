"""Runs whose processes somebody else started: `torchrun`, `srun`, a person on each node; one record, one voice."""

import json
import os
import pty
import signal
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from socket import socket

import pytest

from slurm_cluster import slurm_cluster

BENCH = (sys.executable, "-m", "bench")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def free_port() -> str:
    with closing(socket()) as each:
        each.bind(("127.0.0.1", 0))
        return str(each.getsockname()[1])


def together(*commands: tuple[object, ...], environments: tuple[dict[str, str], ...] = ()) -> list[tuple]:
    """Status, stdout and stderr of commands that run at once."""
    own = environments or tuple({} for _ in commands)
    processes = [
        subprocess.Popen(
            [str(word) for word in command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
        )
        for command, environment in zip(commands, own, strict=True)
    ]
    try:
        said = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *words) for process, words in zip(processes, said, strict=True)]


def expect_one_record(said: list[tuple], processes: int = 2) -> dict:
    """The one record, which the first process alone has printed and written."""
    assert [status for status, _, _ in said] == [0] * len(said), said
    assert all(stdout == "" for _, stdout, _ in said[1:]), said
    assert all(stderr == "" for _, _, stderr in said), said
    (path,) = Path("runs").rglob("record.json")
    record = json.loads(path.read_text())
    assert json.loads(said[0][1]) == record
    assert (record["status"], record["cost"]["processes"]) == ("finished", processes)
    return record


def own_lines(stderr: str) -> list[str]:
    """What `bench` said, without the report that a launcher adds."""
    return [line for line in stderr.splitlines() if line.startswith("bench: ")]


@pytest.fixture
def fit(quick_padim) -> tuple[str, ...]:
    return ("-m", "bench", "fit", *quick_padim, "--json")


@pytest.fixture
def nodes() -> tuple[dict[str, str], ...]:
    """What a person sets on each of two nodes, here both on this machine."""
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return tuple(meeting | {"NODE_RANK": str(node)} for node in range(2))


@pytest.mark.slow
def test_torchrun_on_one_node_joins_its_processes(fit):
    launcher = (*TORCHRUN, "--master-port", free_port(), "--nproc-per-node", 2)
    expect_one_record(together((*launcher, *fit, "--trainer.devices", 2)))


@pytest.mark.slow
def test_torchrun_on_two_nodes_joins_its_processes(fit):
    launcher = (*TORCHRUN, "--nnodes", 2, "--nproc-per-node", 1, "--master-addr", "127.0.0.1")
    launcher = (*launcher, "--master-port", free_port(), "--node-rank")
    expect_one_record(together(*((*launcher, node, *fit, "--trainer.num_nodes", 2) for node in range(2))))


@pytest.mark.slow
def test_commands_that_a_person_starts_on_each_node_join(fit, nodes):
    command = (sys.executable, *fit, "--trainer.num_nodes", 2)
    expect_one_record(together(command, command, environments=nodes))


@pytest.mark.slow
def test_a_method_trains_on_two_nodes_of_two_processes(quick, nodes):
    options = ("--data.validation_share", "0.34", "--trainer.devices", 2, "--trainer.num_nodes", 2, "--json")
    command = (*BENCH, "fit", *quick, *options)
    expect_one_record(together(command, command, environments=nodes), processes=4)


@pytest.mark.slow
def test_what_one_node_lacks_is_said_once_and_by_the_first_process(fit, nodes):
    command = (sys.executable, *fit, "--trainer.num_nodes", 2)
    first, second = together(command, (*command, "--data.root", "nowhere"), environments=nodes)
    assert first[:2] == second[:2] == (2, "")
    assert first[2].startswith("bench: process 2 of 2 (rank 1): no data folder at nowhere")
    assert first[2].count("\n") == 1
    assert second[2] == ""
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_run_that_is_there_is_shown_once_by_processes_that_were_started_together(fit, bench, nodes):
    assert bench(*fit[2:]).status == 0
    command = (sys.executable, *fit, "--trainer.num_nodes", 2)
    first, second = together(command, command, environments=nodes)
    assert (first[0], second) == (0, (0, "", ""))
    assert "finished before" in first[2]


@pytest.mark.slow
def test_a_run_of_other_devices_than_torchrun_started_is_refused_by_one_line(fit):
    launcher = (*TORCHRUN, "--master-port", free_port(), "--nproc-per-node", 2)
    ((_, stdout, stderr),) = together((*launcher, *fit, "--data.root", "nowhere"))
    assert stdout == ""
    (line,) = own_lines(stderr)
    assert "torchrun started 2 processes on 1 node" in line
    assert "set --trainer.devices 2 --trainer.num_nodes 1" in line
    assert not Path("runs").exists()


LATE_FIRST = """
import os, sys, time
if os.environ["RANK"] == "0":
    time.sleep(3)
from bench.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("mistake", [("--data.root", "nowhere"), ("--no_such_option", 1)])
def test_the_first_process_says_a_mistake_though_the_others_find_it_seconds_earlier(fit, mistake):
    Path("late.py").write_text(LATE_FIRST)
    launcher = (*TORCHRUN, "--master-port", free_port(), "--nproc-per-node", 2, "late.py")
    ((_, _, stderr),) = together((*launcher, *fit[2:], *mistake))
    (line,) = own_lines(stderr)
    assert "interrupted" not in line


@pytest.mark.slow
def test_a_command_that_does_not_share_its_work_is_refused_by_one_line():
    launcher = (*TORCHRUN, "--master-port", free_port(), "--nproc-per-node", 2, "-m", "bench")
    for command, advice in (("sweep", "it starts its own processes"), ("models", "only 'fit' and 'test' share")):
        ((_, stdout, stderr),) = together((*launcher, command))
        assert stdout == ""
        (line,) = own_lines(stderr)
        assert f"torchrun started 'bench {command}' 2 times" in line
        assert advice in line


@pytest.mark.slow
def test_tasks_of_srun_join_and_a_batch_script_runs_alone(fit, tmp_path):
    with slurm_cluster() as environment:
        command = ("srun", "--ntasks", 2, sys.executable, *fit)
        expect_one_record(together((*command, "--trainer.devices", 2), environments=(environment,)))

        refused = together((*command, "--data.root", "nowhere"), environments=(environment,))
        (line,) = own_lines(refused[0][2])
        assert "srun started 2 processes on 1 node" in line

        script = tmp_path / "job.sh"
        script.write_text(f"#!/bin/bash\n{' '.join((sys.executable, *fit))} --runs alone\n")
        batch = ("sbatch", "--wait", "--ntasks", 2, "--output", tmp_path / "job.out", script)
        assert together(batch, environments=(environment,))[0][0] == 0
        (record,) = (json.loads(path.read_text()) for path in (tmp_path / "alone").rglob("record.json"))
        assert record["cost"]["processes"] == 1


WAITS = """
import os, signal, sys, time
from bench.runs.join_processes import agreed, join, own_voice
join({"devices": 1, "num_nodes": 2})
with agreed():
    pass
if os.environ["RANK"] == "0":
    sys.stdin.read(1)
    os.kill(os.getpid(), signal.SIGKILL)
with own_voice():
    print("waits", flush=True)
    time.sleep(600)  # as in NCCL, which waits for a first process that is gone
"""


@pytest.mark.slow
def test_a_process_ends_soon_after_the_first_one(nodes):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    command = (sys.executable, "-c", WAITS)
    first, second = (subprocess.Popen(command, env=os.environ | node, **pipes) for node in nodes)
    assert second.stdout.readline() == "waits\n"
    first.communicate("x")
    assert first.returncode == -signal.SIGKILL
    assert second.wait(timeout=60) == 1


@pytest.mark.slow
def test_the_first_process_of_several_shows_on_a_terminal_how_far_the_run_is(quick):
    terminal, end = pty.openpty()
    aloud = {"BENCH_QUIET": "0", "COLUMNS": "120"}
    # Epochs long enough to be seen: a bar is drawn four times a second.
    length = ("--trainer.max_epochs", "3", "--data.samples_per_epoch", "320")
    options = (*length, "--data.validation_share", "0.25", "--trainer.devices", "2")
    with subprocess.Popen([*BENCH, "fit", *quick, *options], stdout=end, stderr=end, env=os.environ | aloud) as process:
        os.close(end)
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody writes to it any more
            while text := os.read(terminal, 2**16):
                shown += text
        assert process.wait(timeout=60) == 0, shown[-2000:]
    os.close(terminal)
    for words in (b"training: epoch 2 of 3", b"/60", b"test", b"image AUROC"):
        assert words in shown
