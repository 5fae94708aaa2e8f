"""Paths as a user writes them: `~` is the home folder, and BENCH_DATA locates data that moved."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.console import say
from bench.errors import UsageError
from bench.writing import NO_PATH, shortened

DATA = "BENCH_DATA"
_VARIABLES = (DATA, "BENCH_CACHE", "BENCH_WEIGHTS", "XDG_CACHE_HOME")


def expanded(value: Any) -> Any:
    """A path or text that begins with `~`, or all of them in a list or mapping, with the home folder instead of `~`.

    A shell does not expand `~` in `--runs=~/runs`, in quotes and in files.
    """
    if isinstance(value, Path):
        return Path(expanded(str(value))) if str(value).startswith("~") else value
    if isinstance(value, str):
        return os.path.expanduser(value) if value.startswith("~") else value  # noqa: PTH111 - leaves unknown users
    if isinstance(value, Mapping):
        return {key: expanded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [expanded(each) for each in value]
    return value


def check_path(path: Path) -> None:
    """Refuse what no file system accepts as a path: later uses would each raise errors of their own kind."""
    try:
        path.stat()
    except ValueError as error:
        raise UsageError(f"'{path}' holds a NUL character, which no name and no path can hold") from error
    except OSError as error:
        if error.errno in NO_PATH:
            raise UsageError(f"{shortened(path)} is no path ({error.strerror})") from error


def walk(folder: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """All folders below one, as `os.walk` yields them; a folder that cannot be read is an error, not empty.

    A folder that has disappeared since is no error: a sweep creates and removes its claims all the time.
    """

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    return ((Path(path), folders, files) for path, folders, files in os.walk(folder, onerror=fail))


def expand_environment() -> None:
    """Expand `~` in the environment variables that name folders."""
    for name in _VARIABLES:
        if os.environ.get(name, "").startswith("~"):
            os.environ[name] = expanded(os.environ[name])


def with_data_of_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record, whose data may have moved: where their folder is gone, BENCH_DATA names another.

    Callers compare digests, so other data are never taken for those of the run.
    """
    data, now = config.get("data"), os.environ.get(DATA)
    then = data.get("root") if isinstance(data, Mapping) else None
    if then is None or not now or Path(str(then)).is_dir():
        return dict(config)
    say(f"bench: {then}, where the run's data lay, is no folder; they are looked for in {DATA} ({now})")
    return {**config, "data": {**config["data"], "root": now}}
