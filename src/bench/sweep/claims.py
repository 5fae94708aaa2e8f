"""Who runs a cell: a file beside the run's folder, so that sweeps on one folder share the work.

`FINGERPRINT.N.claim` is created exclusively and renewed while its process lives. Nobody ever removes or renames a claim
of another's to take its place, for between looking and renaming the place may have been taken: the successor of claim N
is N + 1, which again only one process can create. The claim with the largest number counts.
"""

import json
import os
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

_RENEWALS = 4  # times per lease
_SECONDS_TO_WRITE = 5.0  # a claim without content is about to get some, or its process died in that moment


@dataclass(frozen=True)
class Owner:
    """A process that can be told from every other, and for how many seconds a sign of life of it counts."""

    host: str
    system: str  # of one kernel since it started, as one container sees it: where process numbers mean the same
    pid: int
    started: int  # clock ticks since the system started: tells a process from a later one of the same number
    lease: float


@contextmanager
def claim(folder: Path, lease: float) -> Iterator[bool]:
    """Hold the cell of this run's folder; False where another living process holds it."""
    path = _acquire(folder, lease)
    if path is None:
        yield False
        return
    released = threading.Event()
    renewal = threading.Thread(target=_renew, args=(path, folder, lease, released), daemon=True)
    renewal.start()
    try:
        yield True
    finally:
        released.set()
        renewal.join()
        for each in _claims(folder):  # the largest last: until then it keeps the others out
            each.unlink(missing_ok=True)


def is_claimed(folder: Path) -> bool:
    """Whether a living process holds the cell of this run's folder."""
    claims = _claims(folder)
    return bool(claims) and _is_alive(claims[-1])


def forget_dead_claims(folder: Path) -> None:
    """Remove what a process left that was killed between the record and the end of its claim."""
    claims = _claims(folder)
    if claims and not _is_alive(claims[-1]):
        for each in claims:
            each.unlink(missing_ok=True)


def _acquire(folder: Path, lease: float) -> Path | None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    claims = _claims(folder)
    if claims and _is_alive(claims[-1]):
        return None
    path = folder.with_name(f"{folder.name}.{_number(claims[-1]) + 1 if claims else 0}.claim")
    try:
        with path.open("x", encoding="utf-8") as file:  # O_CREAT | O_EXCL
            json.dump(asdict(_self(lease)), file)
    except FileExistsError:
        return None
    except OSError:
        path.unlink(missing_ok=True)
        raise
    if _claims(folder)[-1:] != [path]:  # others came and went since the first look
        path.unlink(missing_ok=True)
        return None
    return path


def _renew(path: Path, folder: Path, lease: float, released: threading.Event) -> None:
    while not released.wait(lease / _RENEWALS):
        with suppress(OSError):
            if _claims(folder)[-1:] == [path]:
                os.utime(path)
            elif not released.is_set():
                # Stopped for longer than its lease, this process was taken for dead: the record is another's to write.
                print(f"bench: {path} was taken over; this process ends", file=sys.stderr, flush=True)
                os._exit(1)


def _claims(folder: Path) -> list[Path]:
    found = [path for path in folder.parent.glob(f"{folder.name}.*.claim") if path.suffixes[-2][1:].isdigit()]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.suffixes[-2][1:])


def _is_alive(path: Path) -> bool:
    try:
        text = path.read_text(encoding="utf-8")
        owner = Owner(**json.loads(text)) if text else None
        if owner is None:
            return _age(path) < _SECONDS_TO_WRITE
        if (owner.host, owner.system) == (platform.node(), _system()):
            return process_start(owner.pid) == owner.started
        return _age(path) < owner.lease
    except FileNotFoundError:
        return False
    except (ValueError, TypeError):  # half written
        return _age(path) < _SECONDS_TO_WRITE


def _age(path: Path) -> float:
    """Seconds since the last sign of life, by the clock of the disk: those of two machines differ."""
    with NamedTemporaryFile(dir=path.parent, suffix=".partial") as probe:
        now = Path(probe.name).stat().st_mtime
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _self(lease: float) -> Owner:
    pid = os.getpid()
    return Owner(platform.node(), _system(), pid, process_start(pid) or 0, lease)


def process_start(pid: int) -> int | None:
    """When a process of this system began, in clock ticks; None where there is none, or only what is left of one."""
    try:
        # The name, in parentheses, may hold anything: the fields are counted from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@cache
def _system() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"unknown {time.time_ns()}"  # nobody else's: claims end with their lease
