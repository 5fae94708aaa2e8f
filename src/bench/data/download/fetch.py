"""Fetch a large file over HTTP: received bytes stay in a `.part` file, and the next attempt continues after them."""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.console import say
from bench.errors import RunError, UsageError
from bench.version import __version__

_BLOCK = 1 << 20
_ATTEMPTS = 5  # in a row that bring no bytes
_TIMEOUT = 60  # seconds without a byte
_NO_MORE = 416  # the status of a range that begins behind the end
_GONE = (401, 403, 404, 410)  # another request would not help


class _BrokenOffError(Exception):
    """The network failed; another attempt may bring more."""


class _WrongFileError(Exception):
    """The address answers, but not with the requested file."""


def fetch(
    urls: Sequence[str],
    target: Path,
    sha256: str,
    size: int | None,
    *,
    page: str,
    moved: Callable[[int], object] = lambda count: None,
    pause: float = 1.0,
) -> None:
    """Fetch `target` from the first of `urls` that has it, continuing `target.part` if that exists.

    `size` in bytes is checked if it is known, SHA-256 always. `moved` gets the number of bytes by which the `.part`
    file grew. The pause between attempts begins at `pause` seconds and doubles. Raises RunError if no address has the
    file, if the connection broke off for good (the `.part` stays), or if another file arrived (it is removed). `page`
    is where a person finds the archive then.
    """
    part = part_of(target)
    refused = []
    for url in urls:
        try:
            with _kept(part):
                _fetch_from(url, part, size, moved, pause)
        except _WrongFileError as error:
            refused.append(f"{urlsplit(url).netloc} {error}")
            continue
        _verify(part, sha256, url)
        part.replace(target)
        return
    raise RunError(f"no address has {target.name} ({'; '.join(refused)}); get it from {page} and give it with --from")


def check_address(url: str) -> None:
    """Refuse an address that reaches no server."""
    try:
        parts = urlsplit(url)
        known, _ = parts.scheme in ("http", "https") and parts.hostname, parts.port
    except ValueError as error:  # a bracket too many, a port of letters
        raise UsageError(f"--url '{url}' is no address: {error}") from error
    if not known:
        raise UsageError(f"'{url}' is no http or https address; a file at hand is given with --from")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise UsageError(f"--url '{url}' holds letters that no address has; write them as %20 and the like")


def part_of(target: Path) -> Path:
    """The path of a file until it is complete."""
    return target.with_name(target.name + ".part")


def _fetch_from(url: str, part: Path, size: int | None, moved: Callable[[int], object], pause: float) -> None:
    """Attempt until the file is complete; attempts are counted anew after each one that brought bytes."""
    idle = 0
    while True:
        before = _length(part)
        try:
            if _attempt(url, part, size, moved):
                return
            problem = "the connection broke off"
        except _BrokenOffError as error:
            problem = str(error)
        idle = 0 if _length(part) > before else idle + 1
        if idle == _ATTEMPTS:
            where = urlsplit(url).netloc
            raise RunError(f"{where}: {problem}; {_length(part):,} bytes are kept, the same command goes on after them")
        say(f"bench: {problem} after {_length(part):,} bytes; going on")
        time.sleep(pause * 2**idle)


def _attempt(url: str, part: Path, size: int | None, moved: Callable[[int], object]) -> bool:
    """Send one request for the missing bytes; return whether the file is complete."""
    start = _length(part)
    if size is not None and start == size:
        return True
    response = _ask(url, start)
    if response.status == _NO_MORE:
        if _total(response.headers.get("Content-Range")) == start:
            return True
        moved(-start)
        part.unlink()  # longer than the file, or a part of another one
        return False
    with response:
        begins, total = _begin_and_length(response, start)
        if size is not None and total is not None and total != size:
            raise _WrongFileError(f"has a file of {total:,} bytes, not {size:,}")
        if begins != start:
            moved(begins - start)
        with part.open("r+b" if begins else "wb") as file:
            file.seek(begins)
            for block in _blocks(response):
                file.write(block)
                moved(len(block))
    expected = total if total is not None else size
    return expected is None or _length(part) == expected


def _ask(url: str, start: int) -> Any:
    """The server's answer to a request for all bytes from `start` on."""
    request = urllib.request.Request(url, headers={"User-Agent": f"bench/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == _NO_MORE and start:
            return error
        error.close()
        if error.code in _GONE:
            raise _WrongFileError(f"answers {error.code} {error.reason}") from error
        raise _BrokenOffError(f"the server answers {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(getattr(error, "reason", error)) or type(error).__name__) from error


def _blocks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """The received blocks; network errors become _BrokenOffError, errors of the disk do not."""
    try:
        while block := response.read(_BLOCK):
            yield block
    except (OSError, http.client.HTTPException) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error


def _begin_and_length(response: http.client.HTTPResponse, start: int) -> tuple[int, int | None]:
    """The position in the file where the answer begins, and the whole file's length if the server gives it."""
    if response.headers.get_content_type() == "text/html":
        raise _WrongFileError("answers with a web page")
    length = response.headers.get("Content-Length")
    if response.status == http.client.PARTIAL_CONTENT:
        found = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if not found or int(found[1]) != start:
            raise _WrongFileError("answers with another part than was asked for")
        return start, _total(response.headers.get("Content-Range"))
    return 0, int(length) if length else None  # the server does not support ranges


def _total(content_range: str | None) -> int | None:
    found = re.search(r"/(\d+)$", content_range or "")
    return int(found[1]) if found else None


def _length(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


@contextmanager
def _kept(part: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say(f"bench: {part} is kept; the same command goes on after it")
        raise


def _verify(part: Path, sha256: str, url: str) -> None:
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise RunError(
            f"{url} has another file: its SHA-256 is {found}, not {sha256}; it was removed, and nothing unpacked"
        )
