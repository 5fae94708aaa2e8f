"""Whether the service of W&B answers: checked here within seconds, for wandb's own client takes half a minute.

What cannot be decided here, such as a certificate that only wandb knows, is left to wandb.
"""

import configparser
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

from bench.errors import first_line

SECONDS_TO_ANSWER = 5.0
_PUBLIC = "https://api.wandb.ai"
_VARIABLE = "WANDB_BASE_URL"
_QUESTION = {"query": "query Viewer { viewer { id } }"}


def service_address() -> str:
    """The address of the service: WANDB_BASE_URL, else what `wandb login --host` wrote, else W&B's own."""
    if named := os.environ.get(_VARIABLE, "").strip():
        return named
    written = configparser.ConfigParser()
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or Path.home() / ".config" / "wandb")
    with suppress(configparser.Error, OSError, UnicodeDecodeError):
        written.read(folder / "settings", encoding="utf-8")
    return written.get("default", "base_url", fallback=_PUBLIC).strip()


def silence() -> str | None:
    """Why the service cannot be reached now, in a few words; None where it answers, or where only wandb can decide."""
    address = service_address()
    if not _is_address(address):
        return f"{_VARIABLE} '{address}' is no address such as {_PUBLIC}"
    found: list[str | None] = []
    # In a thread, because the lookup of a host name has no timeout.
    asking = Thread(target=lambda: found.append(_ask(address)), daemon=True)
    asking.start()
    asking.join(SECONDS_TO_ANSWER)
    host = urlsplit(address).netloc
    if not found:
        return f"{host} did not answer within {SECONDS_TO_ANSWER:g} seconds"
    return f"{host} {found[0]}" if found[0] else None


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _ask(address: str) -> str | None:
    import requests

    try:
        answer = requests.post(
            f"{address.rstrip('/')}/graphql",
            json=_QUESTION,
            auth=("api", os.environ["WANDB_API_KEY"]) if os.environ.get("WANDB_API_KEY") else None,
            timeout=SECONDS_TO_ANSWER,
        )
    except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
        return None
    except requests.exceptions.Timeout:
        return f"did not answer within {SECONDS_TO_ANSWER:g} seconds"
    except requests.exceptions.ConnectionError as error:
        return "refuses connections" if "refused" in str(error) else "cannot be reached"
    except (requests.exceptions.RequestException, ValueError) as error:
        return f"cannot be asked: {first_line(error)}"
    if answer.status_code in (401, 403):
        return f"refuses the key (status {answer.status_code})"
    if answer.status_code != 200:
        return f"answers with status {answer.status_code}"
    try:
        content = json.loads(answer.content)
    except ValueError:
        content = None
    is_graphql = isinstance(content, dict) and (isinstance(content.get("data"), dict) or content.get("errors"))
    return None if is_graphql else "answers with something that is not W&B's"


@contextmanager
def plain_environment(mode: str) -> Iterator[None]:
    """Set a mode and an address that wandb accepts: it refuses to work at all where one is misspelt."""
    before = {name: os.environ.get(name) for name in ("WANDB_MODE", _VARIABLE)}
    os.environ["WANDB_MODE"] = mode
    named = before[_VARIABLE]
    if named is not None and not _is_address(named.strip()):
        del os.environ[_VARIABLE]
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
