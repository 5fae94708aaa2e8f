"""The mistakes that a person can mend, told in one line."""

from collections.abc import Iterable
from difflib import get_close_matches


class UsageError(Exception):
    """A mistake in the input; its message is one line that says what to do (exit status 2)."""


class RunError(Exception):
    """A run that began and could not end well; its record says why (exit status 1)."""


class CrashError(RunError):
    """A run that ended as nobody foresaw; its cause says how."""


def unknown(kind: str, word: str, known: Iterable[str], *, hint: str = "") -> UsageError:
    """Name what was typed, and the nearest thing that exists."""
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
    """What an error says, as far as one line can hold it."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def counted(count: int, word: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
