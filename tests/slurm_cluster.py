"""A real SLURM of this one machine for as long as a test lasts: munged, slurmctld and slurmd in their own folder."""

import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "srun")
_CONFIGURATION = """\
ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# cred_expire is also the time that a requeued job waits; the default of two minutes is a test's whole time.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=5,bf_interval=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
KillWait=20
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_cluster() -> Iterator[dict[str, str]]:
    """What the environment of a command must hold to find this cluster; skips the test where there can be none."""
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"
    if missing := [name for name in _PROGRAMS if shutil.which(name, path=path) is None]:
        pytest.skip(f"SLURM's {missing[0]} is not installed (Debian: apt-get install slurm-wlm munge)")
    if os.geteuid() != 0:
        pytest.skip("only root can start a SLURM of its own")
    pytest.importorskip("submitit", reason="submitit is not installed: pip install 'bench[slurm]'")
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))  # sockets have short names
    environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}
    processes: list[subprocess.Popen[bytes]] = []
    try:
        _write_configuration(folder)
        for command in _daemons(folder):
            with (folder / f"{Path(command[0]).name}.out").open("wb") as log:
                processes.append(subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log))
            if command[0] == "munged":
                _wait(lambda: (folder / "munge.socket").exists(), folder)
        _wait(lambda: _is_idle(environment), folder)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=os.environ | environment, check=False, capture_output=True)
        for process in reversed(processes):
            process.terminate()
        for process in reversed(processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(folder, ignore_errors=True)


def _write_configuration(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "munge.key").write_bytes(os.urandom(1024))
    (folder / "munge.key").chmod(0o400)
    folder.chmod(0o755)  # munged refuses a socket that others cannot reach
    text = _CONFIGURATION.format(
        host=platform.node().partition(".")[0], folder=folder, ports=_free_ports(2), cores=os.cpu_count()
    )
    (folder / "slurm.conf").write_text(text)


def _daemons(folder: Path) -> list[list[str]]:
    munge = [
        f"--{kind}={folder}/munge.{kind.partition('-')[0]}" for kind in ("socket", "key-file", "pid-file", "log-file")
    ]
    munge += [f"--seed-file={folder}/munge.seed", "--foreground", "--force"]
    return [
        ["munged", *munge],
        ["slurmctld", "-D", "-f", f"{folder}/slurm.conf"],
        ["slurmd", "-D", "-f", f"{folder}/slurm.conf"],
    ]


def _is_idle(environment: dict[str, str]) -> bool:
    command = ["sinfo", "--noheader", "--format=%T"]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    return done.stdout.strip() == "idle"


def _wait(condition, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            logs = "".join(
                f"{path.name}:\n{path.read_text()[-2000:]}" for path in [*folder.glob("*.log"), *folder.glob("*.out")]
            )
            raise RuntimeError(f"SLURM does not start:\n{logs}")
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
