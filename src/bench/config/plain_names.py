"""Names read from files, of methods, datasets and categories: they become names of files, and may be nothing more."""

import unicodedata

from bench.errors import UsageError

LONGEST = 200  # bytes: a file's name may have 255, and some files' names add to the name that they are made from


def plain_name(name: str) -> str:
    """The name itself where it is one component of a path on any system; else a ValueError holds the reason."""
    if not name:
        raise ValueError("it is empty")
    if name.startswith("."):
        raise ValueError("it begins with a dot")
    if "/" in name or "\\" in name:
        raise ValueError("it holds a slash")
    if any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in name):
        raise ValueError("it holds a control character, or none that can be written")
    if len(name.encode()) > LONGEST:
        raise ValueError(f"it is longer than {LONGEST} bytes")
    return name


def check_name(kind: str, name: str) -> str:
    """`plain_name` for a user's input; the UsageError says what kind of name it is."""
    try:
        return plain_name(name)
    except ValueError as error:
        raise UsageError(f"the {kind} {name!r} cannot name a folder: {error}; give it another name") from error
