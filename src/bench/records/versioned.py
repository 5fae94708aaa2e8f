"""Read the JSON files that bench writes: validated, and never one of a later release as if it were understood."""

import json
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from bench.errors import UsageError


class Versioned(BaseModel):
    """The content of such a file."""

    schema_version: int  # in the file: `schema`, the number of its form


Content = TypeVar("Content", bound=Versioned)


def read_versioned(kind: type[Content], file: Path, schema: int, *, no_such: str, refused: str) -> Content:
    """The content of a file, validated; a UsageError names a file that cannot be taken.

    Args:
        kind: the model of the content.
        file: its path.
        schema: the latest form that is known.
        no_such: what to say where there is no file.
        refused: what to say of a file of another content, with `{why}`.
    """
    if file.exists() and not file.is_file():  # reading a named pipe would block
        raise UsageError(f"{file} is no file that can be read")
    try:
        content = file.read_bytes()
        found = kind.model_validate_json(content)
    except FileNotFoundError as error:
        raise UsageError(no_such) from error
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        if newer := _newer_schema(content, schema):
            raise _too_new(file, newer, schema) from error
        detail = error.errors()[0]
        name = ".".join(map(str, detail["loc"]))
        why = f"{name + ': ' if name else ''}{detail['msg']}"
        raise UsageError(f"{file} {refused.format(why=why)}") from error
    if found.schema_version > schema:
        raise _too_new(file, found.schema_version, schema)
    return found


def _newer_schema(content: bytes, known: int) -> int | None:
    """The schema number of a later release, if the content has one."""
    with suppress(ValueError, AttributeError, RecursionError):
        schema = json.loads(content).get("schema")
        return schema if isinstance(schema, int) and schema > known else None
    return None


def _too_new(file: Path, newer: int, known: int) -> UsageError:
    return UsageError(f"{file} was written by a newer bench (schema {newer}, known is {known}); update bench")
