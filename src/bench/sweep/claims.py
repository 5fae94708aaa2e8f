"""Claims on cells: a folder beside the run's, held by the process that runs it, so that sweeps on one disk share work.

Only one process can create the folder `FINGERPRINT.N.claim`. It holds one file, named by a unique token, whose time the
process renews while it lives. No process takes over a claim by removing or renaming it, for another process may have
taken it over between the check and the renaming. The successor of claim N is claim N + 1, which again only one process
can create. The claim with the largest number counts.

A number may be used again once all claims are gone. So a process renews and removes only the file of its own token. A
process that resumes long after its lease finds this file gone, and does not touch the claim that has its number now.
"""

import json
import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile

_RENEWALS = 4  # times per lease
_SECONDS_TO_WRITE = 5.0  # for a process to write into its new claim; it died if the claim is empty after that


@dataclass(frozen=True)
class Owner:
    """A process, identified among all others, and for how many seconds a renewal of its claim counts."""

    host: str
    system: str  # boot of the kernel, and namespace of process ids: within one system these ids are unique
    pid: int
    started: int  # clock ticks from boot to its start: distinguishes it from a later process of the same id
    lease: float


@contextmanager
def claim(folder: Path, lease: float) -> Iterator[bool]:
    """Hold the cell of this run's folder; yields False where another living process holds it."""
    own = _acquire(folder, lease)
    if own is None:
        yield False
        return
    released = threading.Event()
    renewal = threading.Thread(target=_renew, args=(own, folder, lease, released), daemon=True)
    renewal.start()
    try:
        yield True
    finally:
        released.set()
        renewal.join()
        if own.exists():  # the largest claim goes last: until then it keeps other processes out
            _forget_dead(_claims(folder)[:-1])
            _remove(own.parent, [own])


def is_claimed(folder: Path) -> bool:
    """Whether a living process holds the cell of this run's folder."""
    claims = _claims(folder)
    return bool(claims) and _is_alive(claims[-1])


def forget_dead_claims(folder: Path) -> None:
    """Remove the claims of a process that was killed after it wrote the record and before it released its claim."""
    claims = _claims(folder)
    if claims and not _is_alive(claims[-1]):
        _forget_dead(claims)


def _acquire(folder: Path, lease: float) -> Path | None:
    """Claim the cell; return this process's file in the claim, None where another process holds the cell."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    claims = _claims(folder)
    if claims and _is_alive(claims[-1]):
        return None
    path = folder.with_name(f"{folder.name}.{_number(claims[-1]) + 1 if claims else 0}.claim")
    own = path / secrets.token_hex(8)
    try:
        path.mkdir()  # succeeds in one process only
        with own.open("x", encoding="utf-8") as file:
            json.dump(asdict(_self(lease)), file)
    except (FileExistsError, FileNotFoundError):  # another process was first, or removed this claim as dead
        return None
    except OSError:
        _remove(path, [own])
        raise
    # Others came and went since the first check, or the folder is another's, created after this one was removed.
    if _claims(folder)[-1:] != [path] or _owners(path) != [own]:
        _remove(path, [own])
        return None
    return own


def _renew(own: Path, folder: Path, lease: float, released: threading.Event) -> None:
    while not released.wait(lease / _RENEWALS):
        with suppress(OSError):
            if not _renew_once(own, folder) and not released.is_set():
                # Paused for longer than its lease, this process was taken for dead: another one writes the record.
                print(f"bench: {own.parent} was taken over; this process ends", file=sys.stderr, flush=True)
                os._exit(1)


def _renew_once(own: Path, folder: Path) -> bool:
    """Renew the claim; False where it no longer belongs to this process."""
    if _claims(folder)[-1:] != [own.parent]:
        return False
    try:
        os.utime(own)
    except FileNotFoundError:
        return False
    return True


def _claims(folder: Path) -> list[Path]:
    found = [path for path in folder.parent.glob(f"{folder.name}.*.claim") if path.suffixes[-2][1:].isdigit()]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.suffixes[-2][1:])


def _owners(path: Path) -> list[Path]:
    """The files in a claim: one, except just before it is written and while it is removed."""
    try:
        return sorted(path.iterdir())
    except FileNotFoundError:
        return []
    except NotADirectoryError:  # earlier releases claimed with a file
        return [path]


def _forget_dead(claims: Sequence[Path]) -> None:
    for path in claims:
        owners = _owners(path)  # listed first, so that the file of a process that comes later is not removed
        if not _is_alive(path):
            _remove(path, owners)


def _remove(path: Path, owners: Sequence[Path]) -> None:
    """Remove these files of a claim, and the claim if it holds no other file."""
    for owner in owners:
        with suppress(FileNotFoundError, NotADirectoryError):
            owner.unlink()
    with suppress(OSError):  # not empty, or gone
        path.rmdir()


def _is_alive(path: Path) -> bool:
    owners = _owners(path)
    return any(map(_is_living, owners)) if owners else path.exists() and _age(path, path.parent) < _SECONDS_TO_WRITE


def _is_living(file: Path) -> bool:
    """Whether the process that wrote this file still lives."""
    disk = file.parent.parent
    try:
        text = file.read_text(encoding="utf-8")
        owner = Owner(**json.loads(text)) if text else None
        if owner is None:
            return _age(file, disk) < _SECONDS_TO_WRITE
        if (owner.host, owner.system) == (platform.node(), _system()):
            return process_start(owner.pid) == owner.started
        return _age(file, disk) < owner.lease
    except FileNotFoundError:
        return False
    except (ValueError, TypeError):  # half written
        return _age(file, disk) < _SECONDS_TO_WRITE


def _age(path: Path, disk: Path) -> float:
    """Seconds since the last renewal, by the clock of the disk: the clocks of two machines differ."""
    with NamedTemporaryFile(dir=disk, suffix=".partial") as probe:
        now = Path(probe.name).stat().st_mtime
    try:
        return now - path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def _self(lease: float) -> Owner:
    pid = os.getpid()
    return Owner(platform.node(), _system(), pid, process_start(pid) or 0, lease)


def process_start(pid: int) -> int | None:
    """Start of a process of this system, in clock ticks since boot; None where there is none, or only a zombie."""
    try:
        # The name, in parentheses, may hold anything: fields are counted from the last parenthesis.
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
        return f"unknown {time.time_ns()}"  # unique: other processes judge these claims by their lease alone
