"""How W&B is reached: modes, keys, a run that begins; and what is said of runs that wait to be sent."""

import logging
import netrc
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from bench.console import say
from bench.errors import UsageError, first_line

Mode = Literal["online", "offline", "disabled"]
Images = Literal["auto", "on", "off"]
PROJECT = "bench"
SECONDS_TO_REACH_SERVICE = 20
SECONDS_TO_UPLOAD = 300  # after the end of a run; what is left then waits on disk


def choose_mode(asked: str | None) -> Mode:
    """What was asked, else WANDB_MODE, else online where a key is present; never a prompt."""
    mode = asked or os.environ.get("WANDB_MODE", "")
    if mode == "online" and not has_key():
        raise UsageError("--wandb online needs a key; run 'wandb login' or set WANDB_API_KEY (or use --wandb offline)")
    if mode in ("online", "offline", "disabled"):
        return mode  # type: ignore[return-value]
    return "online" if has_key() else "offline"


def has_key() -> bool:
    """Whether the service would let us in; only looked at, never asked for."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def check_project(name: str, option: str) -> tuple[str, str]:
    """Entity and project of ENTITY/PROJECT; a UsageError where `name` is none, or no key lets us in."""
    entity, _, project = name.partition("/")
    if not entity or not project or "/" in project:
        raise UsageError(f"'{name}' names no W&B project; write {option} ENTITY/PROJECT")
    return entity, project


def require_key(option: str) -> None:
    """A UsageError where there is no key."""
    if not has_key():
        raise UsageError(f"{option} needs a key; run 'wandb login' or set WANDB_API_KEY")


def start(arguments: Mapping[str, Any], mode: Mode) -> Any:
    """A W&B run: online, offline where the service cannot be reached, None where not even that is possible."""
    if mode == "online":
        try:
            return begin(arguments, "online")
        except Exception as error:  # whatever keeps W&B from working must not keep the run from it
            import wandb

            wandb.teardown()  # its service holds the run's id still
            say(f"W&B cannot be reached ({first_line(error)}); the run goes on offline")
    try:
        return begin(arguments, "offline")
    except Exception as error:
        say(f"W&B cannot be used ({first_line(error)}); the run goes on without it")
        return None


def begin(arguments: Mapping[str, Any], mode: Mode) -> Any:
    """`wandb.init`, which says nothing and waits no longer than needed."""
    import wandb

    logging.getLogger("wandb").setLevel(logging.ERROR)
    settings = wandb.Settings(
        silent=True,
        console="off",
        init_timeout=SECONDS_TO_REACH_SERVICE,
        finish_timeout=SECONDS_TO_UPLOAD,
        finish_timeout_raises=True,
    )
    wandb.setup(settings=settings)  # or warnings of wandb's own would still be printed
    return wandb.init(mode=mode, settings=settings, **arguments)


def make_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A W&B table of plain rows."""
    import wandb

    return wandb.Table(columns=[*columns], data=[*rows])


def tell_offline(folders: Iterable[Path], runs: Path) -> None:
    """One line for a whole sweep: how its runs that were kept offline are sent."""
    from bench.record import Record

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
        place = f"{shlex.quote(str(runs))}/*/*/*/wandb/offline-run-*"
        say(f"{len(kept)} W&B runs kept offline; send them with: wandb sync {place}")
