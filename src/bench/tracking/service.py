"""Access to W&B: choose a mode, check keys, begin and end runs, and print how to send offline runs."""

import logging
import netrc
import os
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from bench.console import say, silent_descriptors
from bench.errors import RunError, UsageError, first_line
from bench.tracking.service_answer import plain_environment, service_address, silence

Mode = Literal["online", "offline", "disabled"]
Images = Literal["auto", "on", "off"]
PROJECT = "bench"
SECONDS_TO_REACH_SERVICE = 15
SECONDS_TO_UPLOAD = 300  # after the end of a run; what is not sent by then stays on disk
SECONDS_OF_SILENCE = 10  # after which no upload is waited for any more
_SECONDS_BETWEEN_LOOKS = 3
_SECONDS_TO_DISK = 2.0  # by which the file of a run may lag behind it
_VARIABLE = "WANDB_MODE"


def choose_mode(asked: str | None) -> Mode:
    """The typed mode, else WANDB_MODE, else online where a key is present and offline without; never prompts.

    Where wandb is not installed nothing is tracked, unless it was asked for.
    """
    mode = asked or named_mode()
    if mode != "disabled" and find_spec("wandb") is None:
        if mode is not None:
            raise UsageError(
                f"W&B's mode is {mode}, and wandb is not installed: pip install wandb, or --wandb disabled"
            )
        return "disabled"
    if mode == "online" and not has_key():
        raise UsageError("--wandb online needs a key; run 'wandb login' or set WANDB_API_KEY (or use --wandb offline)")
    return mode or ("online" if has_key() else "offline")  # type: ignore[return-value]


def named_mode() -> Mode | None:
    """The mode in WANDB_MODE, in upper or lower case; None where it names none."""
    named = os.environ.get(_VARIABLE, "").strip()
    mode = {"dryrun": "offline", "run": "online"}.get(named.lower(), named.lower())  # wandb's older words
    if mode not in ("", *get_args(Mode)):
        raise UsageError(f"{_VARIABLE} '{named}' is no mode; set it to online, offline or disabled")
    return mode or None  # type: ignore[return-value]


def settle_mode(asked: str | None, *, tell: bool = True) -> Mode:
    """The mode of a whole command: as `choose_mode`, but offline where the service does not answer; prints so once."""
    mode = choose_mode(asked)
    if mode == "online" and (reason := silence()):
        if tell:
            tell_unreached(reason)
        return "offline"
    return mode


def tell_unreached(reason: str) -> None:
    """Print one line for all runs of a command."""
    say(f"W&B cannot be reached ({reason}); what is tracked is kept offline")


def has_key() -> bool:
    """Whether there is a key for the service; never prompts for one."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        host = urlsplit(service_address()).hostname or ""
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, ValueError, netrc.NetrcParseError):
        return False


def check_project(name: str, option: str) -> tuple[str, str]:
    """Entity and project of ENTITY/PROJECT; a UsageError where `name` has another form."""
    entity, _, project = name.partition("/")
    if not entity or not project or "/" in project:
        raise UsageError(f"'{name}' names no W&B project; write {option} ENTITY/PROJECT")
    return entity, project


def require_key(option: str) -> None:
    """Raise a UsageError where there is no key."""
    if not has_key():
        raise UsageError(f"{option} needs a key; run 'wandb login' or set WANDB_API_KEY")


def start(arguments: Mapping[str, Any], mode: Mode, *, tell: bool = True) -> Any:
    """A W&B run: online, offline where the service cannot be reached, None where not even that is possible."""
    if mode == "online":
        try:
            return begin(arguments, "online")
        except Exception as error:  # an error of W&B must not end the run
            leave_service()  # it still holds the run's id
            if tell:
                tell_unreached(first_line(error))
    try:
        return begin(arguments, "offline")
    except Exception as error:
        leave_service()
        say(f"W&B cannot be used ({first_line(error)}); the run goes on without it")
        return None


def begin(arguments: Mapping[str, Any], mode: Mode) -> Any:
    """Call `wandb.init`, which prints nothing and waits no longer than needed."""
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # wandb's own telemetry, which no run needs
    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=SECONDS_TO_REACH_SERVICE,
        finish_timeout=SECONDS_TO_UPLOAD,
        finish_timeout_raises=True,
        x_transaction_log_flush_interval=_SECONDS_TO_DISK,
    )
    with plain_environment(mode):
        with silent_descriptors():  # wandb's own process inherits them, and prints its panics there
            wandb.setup(settings=settings)  # without this, wandb still prints warnings
        run = wandb.init(mode=mode, settings=settings, **arguments)
    if mode == "online":
        _take_artifacts_unasked(run)
    return run


def _take_artifacts_unasked(run: Any) -> None:
    """Send artifacts without checks: wandb first asks for login and type, and waits for a service that is gone.

    Each artifact of bench has one type, and nothing waits for an artifact.
    """
    run._assert_can_log_artifact = lambda _: None
    run._public_api = lambda *_: SimpleNamespace(_set_artifact_save_handle=lambda *_: None)


def leave_service() -> None:
    """End wandb's own process, which may have died or wait for an answer; the next run starts another."""
    import wandb

    with suppress(Exception, SystemExit):  # `teardown` exits with the status of a process that panicked
        wandb.teardown()


@contextmanager
def watched() -> Iterator[None]:
    """Let the end of a run wait for its upload, but not for a service that is gone.

    wandb's own process then retries for minutes, whatever its `finish_timeout`. It is killed from here: by then, all
    that it was given is in the run's file.
    """
    done, gone = Event(), Event()
    Thread(target=_watch, args=(done, gone), daemon=True).start()
    try:
        yield
    except Exception as error:
        if gone.is_set():
            raise RunError("its service does not answer any more") from error
        raise
    finally:
        done.set()


def _watch(done: Event, gone: Event) -> None:
    begin = heard = time.monotonic()
    while not done.wait(_SECONDS_BETWEEN_LOOKS):
        if silence() is None:
            heard = time.monotonic()
        now = time.monotonic()
        if now - heard > SECONDS_OF_SILENCE or now - begin > SECONDS_TO_UPLOAD + SECONDS_OF_SILENCE:
            if not done.is_set():
                gone.set()
                _end_process()
            return


def _end_process() -> None:
    import wandb

    with suppress(AttributeError, OSError):  # another version of wandb, or the process has ended by itself
        connection: Any = wandb.setup()._connection
        connection._proc._process.kill()


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A W&B table of plain rows."""
    import wandb

    return wandb.Table(columns=[*columns], data=[*rows])


def tell_offline(folders: Iterable[Path], runs: Path) -> None:
    """Print one line for a whole sweep: how to send its runs that were kept offline."""
    from bench.records.record import Record

    kept = []
    for folder in folders:
        try:
            described = Record.read(folder).wandb or {}
        except UsageError:
            continue
        if described.get("mode") == "offline":
            kept.append(folder / described["folder"])
    if len(kept) == 1:
        say(f"W&B run kept offline; send it with: wandb sync {shlex.quote(str(kept[0]))}")
    elif kept:
        pattern = f"{shlex.quote(str(runs))}/*/*/*/wandb/offline-run-*"
        say(f"{len(kept)} W&B runs kept offline; send them with: wandb sync {pattern}")
