"""Join processes of a run that were started from outside, and report an error of theirs only once."""

import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import Thread
from typing import Any, NoReturn

from lightning import Trainer
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import distributed

from bench.errors import RunError, UsageError, first_line
from bench.processes import (
    Launch,
    find_launch,
    is_main_process,
    let_the_first_speak,
    meeting_point,
    own_numbers,
    process_name,
)
from bench.runs.environment import find_accelerator

# Parts of the errors of gloo, NCCL and torch's store when the other end of a connection is gone.
_LOST = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused", "remote process exited", "RemoteError")
_SECONDS_TO_MEET, _TICK = 1800.0, 0.2
_SECONDS_TO_NOTICE, _SECONDS_TO_END = 5.0, 15.0
_stores: list[Any] = []  # those of the first process serve the others, and must not end before them


def join(settings: Mapping[str, Any]) -> int:
    """Join the processes that were started with this one; return how many this one has to start itself, 1 for none.

    If their number is not that of the Trainer's settings, all end here, before any data are read.
    """
    devices, nodes = _devices_here(settings), int(settings.get("num_nodes", 1))
    if launch := find_launch():
        if (launch.local_world, launch.nodes) != (devices, nodes) or launch.world != devices * nodes:
            _leave(_advice(launch, devices, nodes))
        if launch.starter == "srun":
            os.environ |= launch.environment(*meeting_point())
        return 1
    local, node = own_numbers()
    if node >= nodes or (local or 0) >= devices:
        mine = f"NODE_RANK {node}" if node >= nodes else f"LOCAL_RANK {local}"
        what = f"--trainer.devices {devices} and --trainer.num_nodes {nodes}"
        _leave(f"{mine} is that of no process of a run with {what}: unset it, or set these", alone=True)
    if nodes == 1 and local is None:
        return devices
    if devices * nodes > 1:
        _check_meeting_point(devices, nodes)
    if devices > 1 and local is None:
        return devices
    if devices * nodes > 1:
        rank = node * devices + (local or 0)
        launch = Launch("hand", rank, devices * nodes, local or 0, devices, node, nodes)
        os.environ |= launch.environment(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
    return 1


def _devices_here(settings: Mapping[str, Any]) -> int:
    """How many processes the Trainer's settings want on this node; `auto` is what this machine has."""
    if str(settings.get("devices")) == "1":
        return 1
    try:
        trainer = Trainer(
            accelerator=find_accelerator(settings.get("accelerator", "auto")),
            devices=settings.get("devices", "auto"),
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise UsageError(f"--trainer: {first_line(error)}") from error
    return trainer.num_devices


def _advice(launch: Launch, devices: int, nodes: int) -> str:
    started = f"{launch.starter} started {launch.world} processes on {launch.nodes} node{'s'[: launch.nodes > 1]}"
    wanted = f"this run has --trainer.devices {devices} and --trainer.num_nodes {nodes}"
    if launch.world % launch.nodes:
        return f"{started}, and {wanted}: start as many on each node"
    if devices * nodes == 1:
        wanted = "this run is of one process"
    fitting = f"set --trainer.devices {launch.world // launch.nodes} --trainer.num_nodes {launch.nodes}"
    return f"{started}, and {wanted}: {fitting}, or start {devices * nodes}"


def _check_meeting_point(devices: int, nodes: int) -> None:
    """Refuse a run without MASTER_ADDR and MASTER_PORT: its processes would wait for each other for half an hour."""
    if os.environ.get("MASTER_ADDR") and os.environ.get("MASTER_PORT", "").isdecimal():
        return
    if nodes == 1:
        _leave("LOCAL_RANK says that others were started as well: set MASTER_ADDR and MASTER_PORT, or unset it")
    _leave(
        f"--trainer.num_nodes {nodes} needs a command on each node: start it with 'srun --kill-on-bad-exit --nodes "
        f"{nodes} --ntasks-per-node {devices}' or 'torchrun --nnodes {nodes} --nproc-per-node {devices}', or once on "
        "each node with MASTER_ADDR, MASTER_PORT and NODE_RANK set",
        alone=True,
    )


def _leave(message: str, *, alone: bool = False) -> NoReturn:
    """End with this mistake, which the first process reports; with `alone`, this one reports it, whatever its rank."""
    if is_main_process() or alone:
        raise UsageError(message)
    let_the_first_speak()
    raise SystemExit(2)


@contextmanager
def agreed() -> Iterator[None]:
    """Make checks that all joined processes make: if one process fails, all end, and the first one reports why."""
    launch, error = find_launch(), None
    try:
        yield
    except Exception as failed:  # whatever the error is, the others wait for the outcome
        if launch is None:
            raise
        error = failed
    if launch is not None:
        _exchange(launch, error)


def _exchange(launch: Launch, error: Exception | None) -> None:
    status = 2 if isinstance(error, UsageError) else 1
    store = _meet(launch)
    store.set(f"said/{launch.rank}", f"{status} {first_line(error)}" if error else "")
    if launch.rank:
        verdict = _read(store, "verdict")
        store.set(f"heard/{launch.rank}", "")
        if verdict:
            raise SystemExit(int(verdict))
        return
    said = [_read(store, f"said/{rank}") for rank in range(launch.world)]
    wrong = next((rank for rank, words in enumerate(said) if words), None)
    store.set("verdict", "" if wrong is None else said[wrong].partition(" ")[0])
    if wrong is not None:
        _wait_until_heard(store, launch)
    if error is not None:
        raise error
    if wrong is not None:
        number, _, text = said[wrong].partition(" ")
        raise (UsageError if number == "2" else RunError)(f"{process_name(wrong, launch.world)}: {text}")


def same_as_first(value: bool) -> bool:
    """The value of the first of the joined processes."""
    launch = find_launch()
    if launch is None:
        return value
    store = _meet(launch)
    if launch.rank:
        first = _read(store, "value") == "1"
        store.set(f"heard/{launch.rank}", "")
        return first
    store.set("value", str(int(value)))
    _wait_until_heard(store, launch)
    return value


def _wait_until_heard(store: Any, launch: Launch) -> None:
    """Wait until the others have read the value: it is lost when this process ends, which may be soon."""
    for rank in range(1, launch.world):
        _read(store, f"heard/{rank}")


def _meet(launch: Launch) -> Any:
    """The store for communication before there is a process group, which begins with the same server.

    Nothing here waits in torch, where Ctrl-C has no effect.
    """
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    serves = launch.rank == 0 and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    end = time.monotonic() + _SECONDS_TO_MEET
    while not serves and not _answers(address, port):
        if time.monotonic() > end:
            raise RunError(f"no process answers at {address}:{port} (MASTER_ADDR, MASTER_PORT)")
        time.sleep(_TICK)
    store: Any = distributed.TCPStore  # type: ignore[attr-defined]
    _stores.append(store(address, port, launch.world, serves, wait_for_workers=False, multi_tenant=True))
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return distributed.PrefixStore(f"bench/{attempt}/{len(_stores)}", _stores[-1])  # type: ignore[attr-defined]


def _answers(address: str, port: int) -> bool:
    try:
        with socket.create_connection((address, port), timeout=_TICK):
            return True
    except OSError:
        return False


def _read(store: Any, key: str) -> str:
    end = time.monotonic() + _SECONDS_TO_MEET
    try:
        while not store.check([key]):
            if time.monotonic() > end:
                minutes = f"{_SECONDS_TO_MEET / 60:.0f} minutes"
                raise UsageError(f"not all processes of the run have come within {minutes}: start all of them")
            time.sleep(_TICK)
        return str(store.get(key).decode())
    except RuntimeError as error:
        raise RunError("the first process of the run has ended") from error


@contextmanager
def own_voice() -> Iterator[None]:
    """Print what ended this process if it is not the first one, which cannot know it; end when the first one ends."""
    launch = find_launch()
    if launch is not None and launch.rank:
        Thread(target=_follow_first, daemon=True).start()
    try:
        yield
    except (UsageError, RunError, OSError) as error:
        if launch is None or launch.rank == 0:
            raise
        if not lost_another(error):
            print(f"bench: {launch.name}: {first_line(error)}", file=sys.stderr, flush=True)
        raise SystemExit(1) from error


def _follow_first() -> None:
    """End when the first process is gone: NCCL would wait half an hour for it, and hold its GPU."""
    try:
        while not _stores[-1].check(["never"]):
            time.sleep(_SECONDS_TO_NOTICE)
    except RuntimeError:
        time.sleep(_SECONDS_TO_END)  # gloo notices by itself
        os._exit(1)


def lost_another(error: BaseException | None) -> bool:
    """Whether an error, or its cause, reports only that another process of the run is gone."""
    while error is not None:
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _LOST):
            return True
        error = error.__cause__
    return False
