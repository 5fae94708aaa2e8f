"""The cores of this process and its rank among several, read from the system: nothing heavy is imported."""

import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bench.errors import UsageError

# Variables that mark a process as one of several, whichever launcher set them.
_VARIABLES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE", "NODE_RANK"),
    *("MASTER_ADDR", "MASTER_PORT", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"),
)
_FIRST_SPEAKS_WITHIN = 10  # seconds
_FIRST_PORT, _PORTS = 15000, 17000  # below the ephemeral ports that systems assign


def available_cores() -> int:
    """The number of cores that this process may use; of the machine's, where the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def processor_name() -> str:
    """The name of the machine's processor."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def is_one_of_several() -> bool:
    """Whether a variable says that this process was started together with others, by a launcher or by hand."""
    return any(name in os.environ for name in _VARIABLES)


@dataclass(frozen=True)
class Launch:
    """A process that was started together with others."""

    starter: str  # torchrun, srun, or hand
    rank: int
    world: int
    local_rank: int
    local_world: int
    node: int
    nodes: int

    @property
    def name(self) -> str:
        """The name of the process for people."""
        return process_name(self.rank, self.world)

    def environment(self, address: str, port: int) -> dict[str, str]:
        """The variables of `torchrun` that hold a process's ranks and the address of the first process."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.world),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_world),
            "GROUP_RANK": str(self.node),
            "GROUP_WORLD_SIZE": str(self.nodes),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }


def find_launch(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """This process's launch by `torchrun` or `srun`; None where it was started alone.

    A batch script and the shell of `salloc` are alone, whatever SLURM_NTASKS is: only `srun` starts tasks.
    """
    rank, world = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    local = _number(environment, "LOCAL_RANK")
    if rank is not None and world is not None and local is not None:  # `torchrun`, also inside a task of `srun`
        if world < 2:
            return None
        together = _number(environment, "LOCAL_WORLD_SIZE") or world
        nodes = _number(environment, "GROUP_WORLD_SIZE") or world // together
        return Launch("torchrun", rank, world, local, together, _number(environment, "GROUP_RANK") or 0, nodes)
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS") or 1
    if tasks < 2 or local is not None:
        return None
    numbers = (_number(environment, name) or 0 for name in ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"))
    rank, local, node = numbers
    nodes = _number(environment, "SLURM_STEP_NUM_NODES") or 1
    return Launch("srun", rank, tasks, local, tasks // nodes, node, nodes)


def own_numbers(environment: Mapping[str, str] = os.environ) -> tuple[int | None, int]:
    """LOCAL_RANK, if set, and NODE_RANK: the variables by which a user numbers processes started by hand."""
    if _number(environment, "RANK") is not None:  # set by a `torchrun` that started one process
        return None, 0
    node = _number(environment, "NODE_RANK")
    return _number(environment, "LOCAL_RANK"), (_number(environment, "GROUP_RANK") or 0) if node is None else node


def is_main_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the process that writes and prints: exactly one over all nodes."""
    if launch := find_launch(environment):
        return launch.rank == 0
    local, node = own_numbers(environment)
    return not local and not node


def let_the_first_speak() -> None:
    """Wait before this process ends with a mistake that the first process of its launch has found as well.

    A launcher that sees another process end first stops the first one, which would then say that it was interrupted.
    """
    if find_launch() is not None:
        with suppress(KeyboardInterrupt):  # the launcher's signal, once the first has ended
            time.sleep(_FIRST_SPEAKS_WITHIN)


def meeting_point(environment: Mapping[str, str] = os.environ) -> tuple[str, int]:
    """The address and port of an `srun`'s first task: its node, and a port that no other step should use."""
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

    nodes = environment.get("SLURM_STEP_NODELIST", "127.0.0.1")
    address = environment.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(nodes)
    job, step = (_number(environment, name) or 0 for name in ("SLURM_JOB_ID", "SLURM_STEP_ID"))
    return address, _number(environment, "MASTER_PORT") or _FIRST_PORT + (61 * job + step) % _PORTS


def require_one_process(command: str) -> None:
    """Refuse a command that each of several processes would run in full."""
    if launch := find_launch():
        advice = "it starts its own processes" if command == "sweep" else "only 'fit' and 'test' share their work"
        raise UsageError(f"{launch.starter} started 'bench {command}' {launch.world} times: start it once; {advice}")
    if not is_main_process():
        raise UsageError(f"'bench {command}' is of one process: unset LOCAL_RANK and NODE_RANK, which number several")


def cluster_plugins() -> list[Any]:
    """The plugins by which a Trainer finds the other processes of its run.

    They are explicit, because Lightning by default takes the tasks of a SLURM job for its own processes.
    """
    from lightning.fabric.plugins.environments.lightning import LightningEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    return [TorchElasticEnvironment() if find_launch() else LightningEnvironment()]


def without_launch(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of a process that was started alone."""
    kept = (name for name in environment if name not in _VARIABLES and not name.startswith("TORCHELASTIC_"))
    return {name: environment[name] for name in kept}


def process_name(rank: int, world: int) -> str:
    """The process counted from 1, with its rank, which tools count from 0."""
    return f"process {rank + 1} of {world} (rank {rank})"


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdecimal() else None
