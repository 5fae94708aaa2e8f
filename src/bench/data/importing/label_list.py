"""Read a list of labels: a CSV file with a path and a label in each row, as spreadsheets and scripts write it."""

import csv
import io
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.data.images import SUFFIXES
from bench.data.importing.matching import PhotoIndex, several
from bench.data.importing.photos import Photo, Tree, label_in_folders
from bench.data.importing.words import Words, label_of, same
from bench.errors import UsageError, counted

_LABELS = frozenset({
    "label", "labels", "class", "result", "verdict", "status", "judgement", "judgment", "quality", "state", "target",
    "标签", "结果", "判定", "类别",
})  # fmt: skip
_TYPES = frozenset({"type", "defect", "defect_type", "defect type", "defecttype", "缺陷", "缺陷类型"})
_SEPARATORS = ",;\t"


@dataclass(frozen=True)
class _Row:
    """A row of the list: its line, the photos that it may mean, and its other cells."""

    line: int
    cells: Sequence[str]
    photos: list[Path]


@dataclass(frozen=True)
class _Columns:
    """Where a row holds its label, and its type of defect where there is such a column."""

    label: int
    type: int | None


def find_list(tree: Tree, typed: Path | None) -> tuple[Path | None, list[str]]:
    """The list to go by, the typed one or the one at the top of the folder; and remarks."""
    if typed is not None:
        if not typed.is_file():
            raise UsageError(f"no file {typed}; --labels names a CSV file with a path and a label in each row")
        return typed, []
    lists = [path for path in tree.lists if _names_photos(path, tree)]
    others = [path for path in tree.lists if path not in lists]
    if len(lists) > 1:
        raise UsageError(f"two lists of labels, {lists[0]} and {lists[1].name}; name the one: --labels FILE.csv")
    tree.left_out += others
    return (lists[0], [f"labels are those of {lists[0]}"]) if lists else (None, [])


def label_by_list(tree: Tree, file: Path, words: Words) -> list[Photo]:
    """The photos with the labels of a list; a UsageError where it lacks one, or says otherwise than a folder."""
    rows = _read(file)
    path_column = _path_column(rows, tree, file)
    index = PhotoIndex(tree.root, tree.photos)
    read = [_Row(line, cells, index.find(cells[path_column])) for line, cells in rows]
    header = read.pop(0).cells if _is_header(read[0], path_column, words) else None
    columns = _columns(read, header, path_column, words, file)
    _require_known([row.cells[columns.label].strip() for row in read], words, file)
    labels: dict[Path, tuple[str, int]] = {}
    for row in read:
        path = _one_photo(row, path_column, file, tree)
        label = _label(row, columns, words, file)
        before = labels.setdefault(path, (label, row.line))
        if before[0] != label:
            raise UsageError(f"{file} calls {path} '{before[0]}' in line {before[1]} and '{label}' in line {row.line}")
    _require_all(tree, labels, file)
    _compare_with_folders(tree, labels, words, file)
    return [Photo(path, tree.name(path), labels[path][0]) for path in tree.photos]


def _read(file: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, each with its line's number; of comma, semicolon and tab the commonest separates."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is no UTF-8; save it as 'CSV UTF-8'") from error
    first = text.lstrip().partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text), delimiter=separator, skipinitialspace=True)
    try:
        rows = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except csv.Error as error:
        raise UsageError(f"{file} is no CSV file ({error}); save it as 'CSV UTF-8'") from error
    if not rows or min(len(cells) for _, cells in rows) < 2:
        line = next((line for line, cells in rows if len(cells) < 2), 1)
        raise UsageError(f"{file} has no path and label in line {line}; give each row both, separated by a comma")
    width = len(rows[0][1])
    if odd := [line for line, cells in rows if len(cells) != width]:
        raise UsageError(f"{file} has another number of cells in line {odd[0]} than in line 1; mend that line")
    return rows


def _names_photos(file: Path, tree: Tree) -> bool:
    """Whether a CSV file that lies there is a list of these photos."""
    try:
        _path_column(_read(file), tree, file)
    except UsageError:
        return False
    return True


def _path_column(rows: Sequence[tuple[int, list[str]]], tree: Tree, file: Path) -> int:
    """The column that names most photos."""
    index = PhotoIndex(tree.root, tree.photos)
    hits = [sum(bool(index.find(cells[column])) for _, cells in rows) for column in range(len(rows[0][1]))]
    if not max(hits):
        raise UsageError(
            f"{file} names no photo in {tree.root}, such as {tree.name(tree.photos[0])}; write paths below that folder"
        )
    return hits.index(max(hits))


def _is_header(row: _Row, path: int, words: Words) -> bool:
    """Whether the first row names the columns: it names no photo, nor anything that looks like one."""
    others = [cell for column, cell in enumerate(row.cells) if column != path]
    is_labelled = any(words.meaning(cell) and same(cell) not in _LABELS | _TYPES for cell in others)
    return not row.photos and Path(row.cells[path].strip()).suffix.lower() not in SUFFIXES and not is_labelled


def _columns(rows: Sequence[_Row], header: Sequence[str] | None, path: int, words: Words, file: Path) -> _Columns:
    """The columns of label and type: by the header, else the only other one, else the one whose words are known."""
    width = len(rows[0].cells) if rows else 0
    others = [column for column in range(width) if column != path]
    titles = {column: same(header[column]) for column in others} if header else {}
    kinds = [column for column, title in titles.items() if title in _TYPES]
    named = [column for column, title in titles.items() if title in _LABELS]
    if len(others) > 1 and not named:
        known = [each for each in others if all(words.meaning(row.cells[each]) for row in rows)]
        named = known if len(known) == 1 else []
    if len(others) > 1 and len(named) != 1:
        raise UsageError(
            f"{file} has {width} columns, and which one holds the label is not clear; call it 'label' in its first "
            "line, or keep path and label alone"
        )
    label = named[0] if named else others[0]
    return _Columns(label, next((column for column in kinds if column != label), None))


def _one_photo(row: _Row, column: int, file: Path, tree: Tree) -> Path:
    named = row.cells[column]
    if not row.photos:
        raise UsageError(f"{file} names '{named}' in line {row.line}, which is no photo in {tree.root}; mend that line")
    if len(row.photos) > 1:
        raise several(f"'{named}' in line {row.line} of {file}", row.photos)
    return row.photos[0]


def _require_known(labels: Sequence[str], words: Words, file: Path) -> None:
    words.require_used(labels)
    if unclear := [label for label in dict.fromkeys(labels) if label and words.meaning(label) is None]:
        names = " and ".join(f"'{label}'" for label in unclear[:3]) + (" and more" if len(unclear) > 3 else "")
        raise UsageError(
            f"{file} does not say whether {names} {'is' if len(unclear) == 1 else 'are'} good; say it, such as "
            f"--bad {shlex.quote(','.join(unclear))}, or --good"
        )


def _label(row: _Row, columns: _Columns, words: Words, file: Path) -> str:
    word = row.cells[columns.label].strip()
    if not word:
        raise UsageError(f"{file} gives no label in line {row.line}; say good or bad there, or remove line and photo")
    kind = row.cells[columns.type].strip() if columns.type is not None else ""
    label = label_of(words, word, kind or None)
    if words.meaning(word) == "bad" and words.meaning(label) == "good":
        raise UsageError(f"{file} says '{word}' and '{kind}' of one photo in line {row.line}; mend that line")
    return label


def _require_all(tree: Tree, labels: dict[Path, tuple[str, int]], file: Path) -> None:
    if missing := [path for path in tree.photos if path not in labels]:
        raise UsageError(
            f"{file} lacks {counted(len(missing), 'photo')} of {tree.root}, such as {tree.name(missing[0])}; add them, "
            "or move them elsewhere"
        )


def _compare_with_folders(tree: Tree, labels: dict[Path, tuple[str, int]], words: Words, file: Path) -> None:
    """Refuse photos that the list calls good and their folder bad, or the other way round."""
    differ = []
    for path, (label, line) in labels.items():
        folder = label_in_folders(tree, path, words)
        if folder is not None and (words.meaning(folder) == "good") != (words.meaning(label) == "good"):
            differ.append((path, label, line))
    if differ:
        path, label, line = differ[0]
        more = f" ({len(differ)} photos in all)" if len(differ) > 1 else ""
        raise UsageError(
            f"{file} calls {path} '{label}' in line {line}, and its folder says otherwise{more}; mend the list, or "
            "move the photo"
        )
