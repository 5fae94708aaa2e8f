"""Errors that a user can correct, each reported in one line."""

from collections.abc import Iterable

_MOST_SLIPS = 3  # between a word and the name that it is taken for


class UsageError(Exception):
    """A mistake in the input; its message is one line that says what to do (exit status 2)."""


class RunError(Exception):
    """A run that began and failed; its record holds the reason (exit status 1)."""


class CrashError(RunError):
    """A run that ended with an unforeseen error, which is its cause."""


def unknown(kind: str, word: str, known: Iterable[str], *, hint: str = "") -> UsageError:
    """An error that names the unknown word, and the nearest known one, else the hint, else all known ones."""
    names = sorted(known)
    near = nearest(word, names)
    if near is not None:
        advice = f"did you mean '{near}'?"
    elif hint:
        advice = hint
    else:
        advice = f"known: {', '.join(names)}" if names else "none is known"
    return UsageError(f"unknown {kind} '{word}'; {advice}")


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that a word was probably meant to be; None where no name is near, or a part of it is in several.

    One slip of the keyboard comes first, then a name whose first words were typed, the last of several perhaps in part,
    or the last ones; then, in longer words, two and three slips. Case counts nothing, and hyphens, dots and underscores
    are alike.
    """
    typed, forms = _form(word), {name: _form(name) for name in names}
    slips = {name: _slips(typed, form) for name, form in forms.items() if abs(len(form) - len(typed)) <= _MOST_SLIPS}
    best = min(slips, key=slips.__getitem__, default=None)
    if best is not None and slips[best] <= 1 < len(typed):
        return best
    for parts in (
        [name for name, form in forms.items() if "_" in typed and form.startswith(typed)],
        [name for name, form in forms.items() if form.startswith(f"{typed}_") or typed.startswith(f"{form}_")],
        [name for name, form in forms.items() if form.endswith(f"_{typed}") or typed.endswith(f"_{form}")],
    ):
        if typed and len(parts) == 1:
            return parts[0]
    length = len(word.rpartition(".")[2].lstrip("-"))  # of a dotted name, the last part
    allowed = 1 + (length > 5) + (length > 8)
    return best if best is not None and len(typed) > 1 and slips[best] <= allowed else None


def _form(name: str) -> str:
    return name.lstrip("-").casefold().replace("-", "_").replace(".", "_")


def _slips(one: str, other: str) -> int:
    """The number of letters left out, added, changed or swapped with their neighbour between two words."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, own in enumerate(other, 1):
            found = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != own))
            if row > 1 < column and letter == other[column - 2] and own == one[row - 2]:
                found = min(found, before[column - 2] + 1)
            now.append(found)
        before, last = last, now
    return last[-1]


def first_line(error: BaseException) -> str:
    """The first line of an error's message; without a message, the name of its type."""
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def counted(count: int, word: str) -> str:
    """A count with its noun: `1 file`, `2 files`."""
    return f"{count} {word}{'' if count == 1 else 's'}"
