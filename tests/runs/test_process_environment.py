"""Who a process is, as its environment says."""

import pytest

from bench.processes import Launch, cluster_plugins, find_launch, is_main_process, meeting_point, without_launch
from bench.runs.join_processes import join

TORCHRUN = {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "none"}
SECOND_NODE = TORCHRUN | {"RANK": "2", "LOCAL_RANK": "0", "GROUP_RANK": "1"}
# What SLURM 22.05 tells a batch script, the shell of salloc, and the second task of `srun -n 2`.
BATCH = {
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_JOB_ID": "1",
    "SLURM_JOB_NAME": "job.sh",
}
SALLOC = {"SLURM_NTASKS": "2", "SLURM_JOB_ID": "4", "SLURM_JOB_NAME": "interactive"}
TASK = BATCH | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "SLURM_STEP_NUM_TASKS": "2"}
TASK |= {"SLURM_STEP_NUM_NODES": "1", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_ID": "0"}


def test_a_process_of_torchrun_knows_its_numbers():
    assert find_launch(SECOND_NODE) == Launch("torchrun", 2, 4, 0, 2, 1, 2)


def test_a_task_of_srun_knows_its_numbers():
    assert find_launch(TASK) == Launch("srun", 1, 2, 1, 2, 0, 1)


def test_torchrun_inside_a_task_of_srun_decides():
    assert find_launch(TASK | SECOND_NODE) == find_launch(SECOND_NODE)
    alone = TASK | {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
    assert find_launch(alone) is None
    assert is_main_process(alone)


@pytest.mark.parametrize("environment", [{}, BATCH, SALLOC, TASK | {"SLURM_STEP_NUM_TASKS": "1"}])
def test_what_nobody_started_several_times_is_alone(environment):
    assert find_launch(environment) is None


@pytest.mark.parametrize(
    ("environment", "is_first"),
    [
        ({}, True),
        (BATCH, True),
        (SALLOC, True),
        (TASK, False),
        (TASK | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),
        (SECOND_NODE, False),
        (SECOND_NODE | {"RANK": "0", "GROUP_RANK": "0"}, True),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
    ],
)
def test_exactly_one_process_writes_and_speaks(environment, is_first):
    assert is_main_process(environment) == is_first


def test_a_process_that_is_told_its_numbers_reads_them_back():
    launch = Launch("torchrun", 3, 4, 1, 2, 1, 2)
    assert find_launch(launch.environment("127.0.0.1", 29500)) == launch
    assert find_launch(without_launch(launch.environment("127.0.0.1", 29500) | TASK)) is None


def test_tasks_of_srun_meet_on_their_first_node_and_those_of_another_step_elsewhere():
    address, port = meeting_point(TASK)
    assert address == "gpu03"
    assert 15000 <= port < 32000
    assert meeting_point(TASK | {"SLURM_STEP_ID": "1"})[1] != port
    assert meeting_point(TASK | {"MASTER_ADDR": "login", "MASTER_PORT": "1234"}) == ("login", 1234)


@pytest.mark.parametrize(("environment", "name"), [(SALLOC, "LightningEnvironment"), (SECOND_NODE, "TorchElastic")])
def test_lightning_takes_no_task_of_a_job_for_its_own_process(environment, name, monkeypatch):
    for key, value in environment.items():
        monkeypatch.setenv(key, value)
    (plugin,) = cluster_plugins()
    assert type(plugin).__name__.startswith(name)


def test_several_nodes_without_a_word_of_how_they_meet_are_refused(refuse, quick_padim, monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    line = refuse("fit", *quick_padim, "--trainer.num_nodes", "2", "--data.root", "nowhere")
    assert "torchrun --nnodes 2 --nproc-per-node 1" in line
    assert "srun --kill-on-bad-exit --nodes 2 --ntasks-per-node 1" in line


def test_a_number_that_no_process_of_the_run_has_is_refused_by_that_process(refuse, quick_padim, monkeypatch):
    monkeypatch.setenv("NODE_RANK", "1")
    line = refuse("fit", *quick_padim, "--data.root", "nowhere")
    assert line.startswith("bench: NODE_RANK 1 is that of no process of a run with --trainer.devices 1")
    assert "LOCAL_RANK and NODE_RANK" in refuse("models")


def test_one_process_of_torchrun_starts_those_of_its_run_itself(monkeypatch):
    for key, value in {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}.items():
        monkeypatch.setenv(key, value)
    assert join({"devices": 2, "accelerator": "cpu"}) == 2


def test_an_uneven_number_of_processes_on_the_nodes_is_refused(refuse, quick_padim, monkeypatch):
    uneven = {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "GROUP_WORLD_SIZE": "2"}
    for key, value in uneven.items():
        monkeypatch.setenv(key, value)
    assert "start as many on each node" in refuse("fit", *quick_padim, "--trainer.num_nodes", "3")
