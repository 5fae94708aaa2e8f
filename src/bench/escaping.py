"""Escaping of text from records and from the disk: one function for each output format.

Names, settings, commands and notes of a record are foreign text. No format may interpret them: as markup, a formula, a
command to the terminal, or characters that reverse the line. HTML templates escape by themselves (`views.page_frame`).
"""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

_JOINERS = "\u200c\u200d\u00ad"  # used inside words of several scripts, and inside emoji
_HIDDEN = ("Cc", "Cf", "Cs", "Cn", "Co", "Zl", "Zp")
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
_CODE = re.compile(r"`([\w./-]+)`")
# Signs with a meaning in Markdown or on GitHub: entities, tags, links, code, emphasis, cells of a table, mathematics.
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
    """Escape invisible and text-reversing characters, as `\\x1b` or `\\u202e`; with `lines`, newlines stay."""
    if text.isprintable():
        return text
    return "".join(map(_visible_letter, text)) if not lines else "\n".join(visible(line) for line in text.split("\n"))


def _visible_letter(letter: str) -> str:
    hidden = unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS
    return letter.encode("unicode_escape").decode() if hidden else letter


def terminal(text: object) -> str:
    """One line for a terminal; rich's `Console` also needs its markup off: `console.plain_console`."""
    return visible(str(text))


def json_line(line: str) -> str:
    """JSON for a terminal or a file: invisible characters become JSON's own escapes, so the value stays the same."""
    return line if line.isprintable() else "".join(c if c == _visible_letter(c) else json.dumps(c)[1:-1] for c in line)


def csv_cell(text: str) -> str:
    """A cell for a spreadsheet: text that begins like a formula, and is no number, gets an apostrophe."""
    text = visible(text)
    return f"'{text}" if len(text) > 1 and text.startswith(_FORMULA) and not _is_number(text) else text


def csv_field(text: str) -> str:
    """A field of a file that `bench` reads again, and no formula in a spreadsheet; `plain_field` reverses it.

    An apostrophe precedes text that begins like a formula and is no number, and such text that has apostrophes before
    it already, so that each text has one form.
    """
    begins = text.lstrip("'").startswith(_FORMULA)
    return f"'{text}" if begins and not _is_number(text) else text


def plain_field(field: str) -> str:
    """The text that `csv_field` was given; fields written by older releases stay unchanged."""
    return field[1:] if field.startswith("'") and field.lstrip("'").startswith(_FORMULA) else field


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def markdown(text: str) -> Markdown:
    """Text escaped so that Markdown shows it literally; a `Markdown` stays unchanged."""
    if isinstance(text, Markdown):
        return text
    text = visible(text)
    text = text.lstrip() if text.startswith("    ") else text  # four spaces would make it code
    escaped = _SIGNS.sub(r"\\\g<0>", text).translate(_ENTITIES)
    if found := _BEGINS_BLOCK.match(escaped):
        escaped = f"{found.group().strip()}\\{escaped[found.end() :]}"
    return Markdown(escaped)


def pieces(sentence: str) -> list[Piece]:
    """The pieces of a sentence of `leaderboard.text`: single words between backticks are code."""
    return [Piece(text, bool(n % 2)) for n, text in enumerate(_CODE.split(sentence))]


def sentence(text: str) -> Markdown:
    """The sentence in Markdown, its words escaped."""
    return Markdown("".join(f"`{piece.text}`" if piece.is_code else markdown(piece.text) for piece in pieces(text)))


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A Markdown table whose first `words` columns are text, the others numbers."""
    lines = [f"| {' | '.join(map(markdown, cells))} |" for cells in rows]
    return (
        "\n".join([f"| {' | '.join(titles)} |", f"|{'---|' * words}{'---:|' * (len(titles) - words)}", *lines]) + "\n"
    )
