"""Text of a record or of the disk on its way out: one function for each format that it is written in.

Names, settings, commands and notes of a record are another's words. No format may take them for its own signs: markup,
a formula, a command to the terminal, or characters that turn the line around. HTML escapes by itself (`pages.page`).
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_JOINERS = "\u200c\u200d\u00ad"  # within words of several scripts, and within emoji
_HIDDEN = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_CODE = re.compile(r"`([\w./-]+)`")
# Signs of Markdown and of GitHub's: entities, tags, links, code, emphasis, cells of a table, mathematics.
_SIGNS = re.compile(
    r"[\\`*|~$]|\](?=[\[(:]|$)|(?<![^\W_])_|_(?![^\W_])|(?i:(?<=https)|(?<=http)|(?<=ftp)):|(?i:(?<=www))\."
)
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_BEGINS_BLOCK = re.compile(r"\s*(?:(?=#{1,6}(?:\s|$)|[-+]\s|=+\s*$|-{2,}\s*$)|\d+(?=[.)](?:\s|$)))")


class Markdown(str):
    """Text that is Markdown already."""

    __slots__ = ()


class Piece(NamedTuple):
    """A part of a sentence: words, or code."""

    text: str
    is_code: bool


def visible(text: str, *, lines: bool = False) -> str:
    """Write as `\\x1b` or `\\u202e` what cannot be seen or turns text around; ends of `lines` may stay as they are."""
    if text.isprintable():
        return text
    return "".join(map(_visible_letter, text)) if not lines else "\n".join(visible(line) for line in text.split("\n"))


def _visible_letter(letter: str) -> str:
    hidden = unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS
    return letter.encode("unicode_escape").decode() if hidden else letter


def terminal(text: object) -> str:
    """One line for a terminal; `Console` must be told besides that it is no markup: `console.plain_console`."""
    return visible(str(text))


def json_line(line: str) -> str:
    """JSON for a terminal or a file: what cannot be seen as JSON's own escapes, so that the value stays the same."""
    return line if line.isprintable() else "".join(c if c == _visible_letter(c) else json.dumps(c)[1:-1] for c in line)


def csv_cell(text: str) -> str:
    """A cell that a spreadsheet shows: one that begins like a formula, and is no number, gets an apostrophe."""
    text = visible(text)
    return f"'{text}" if len(text) > 1 and text.startswith(_FORMULA) and not _is_number(text) else text


def csv_field(text: str) -> str:
    """A field of a file that `bench` reads again, no formula to a spreadsheet; `plain_field` undoes it.

    An apostrophe goes before what begins like a formula and is no number, and before such a text with apostrophes of
    its own, so that each text has one form.
    """
    begins = text.lstrip("'").startswith(_FORMULA)
    return f"'{text}" if begins and not _is_number(text) else text


def plain_field(field: str) -> str:
    """What `csv_field` was given; what older releases wrote is read as it stands."""
    return field[1:] if field.startswith("'") and field.lstrip("'").startswith(_FORMULA) else field


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown(text: str) -> Markdown:
    """Words that Markdown shows as they are; what is Markdown already stays."""
    if isinstance(text, Markdown):
        return text
    text = visible(text)
    text = text.lstrip() if text.startswith("    ") else text  # it would be code
    escaped = _SIGNS.sub(r"\\\g<0>", text).translate(_ENTITIES)
    if found := _BEGINS_BLOCK.match(escaped):
        escaped = f"{found.group().strip()}\\{escaped[found.end() :]}"
    return Markdown(escaped)


def pieces(sentence: str) -> list[Piece]:
    """A sentence of `leaderboard.text`, whose single words between backticks are code."""
    return [Piece(text, bool(n % 2)) for n, text in enumerate(_CODE.split(sentence))]


def sentence(text: str) -> Markdown:
    """The same in Markdown."""
    return Markdown("".join(f"`{piece.text}`" if piece.is_code else markdown(piece.text) for piece in pieces(text)))


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table whose first columns are words, the others numbers."""
    lines = [f"| {' | '.join(map(markdown, cells))} |" for cells in rows]
    return (
        "\n".join([f"| {' | '.join(titles)} |", f"|{'---|' * words}{'---:|' * (len(titles) - words)}", *lines]) + "\n"
    )
