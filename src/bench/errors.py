"""Errors that a user can correct, each reported in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """A mistake in the input; its message is one line that says what to do (exit status 2)."""


class RunError(Exception):
    """A run that began and failed; its record holds the reason (exit status 1)."""


class CrashError(RunError):
    """A run that ended with an unforeseen error, which is its cause."""


def unknown(kind: str, word: str, known: Iterable[str], *, hint: str = "") -> UsageError:
    """An error that names the unknown word, and the nearest known one, else the hint, else all known ones."""
    names = sorted(known)
    near = get_close_matches(word, names, n=1, cutoff=0.5)
    if near:
        advice = f"did you mean '{near[0]}'?"
    elif hint:
        advice = hint
    else:
        advice = f"known: {', '.join(names)}" if names else "none is known"
    return UsageError(f"unknown {kind} '{word}'; {advice}")


def first_line(error: BaseException) -> str:
    """The first line of an error's message; without a message, the name of its type."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def counted(count: int, word: str) -> str:
    """A count with its noun: `1 file`, `2 files`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
