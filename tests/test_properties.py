"""What holds whatever is typed, read or named: a setting, a record, predictions, a name, text on its way out."""

import copy
import csv
import io
import json
import re
import unicodedata
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bench.config.plain_names import plain_name
from bench.config.settings import Config, flatten, resolve
from bench.errors import UsageError
from bench.escaping import csv_cell, json_line, markdown, terminal
from bench.records.predictions import Predicted, parse_predictions, write_predictions
from bench.records.record import Record
from fake_records import make_record

METHODS = ("autoencoder_l2", "padim", "classifier")
HIDDEN = ("Cc", "Cs", "Zl", "Zp")
FORMULA = tuple("=+-@")

# The same examples in each run: a figure of chance would make a test fail for another's change.
some = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
TEXTS = st.text(max_size=30) | st.sampled_from(
    ["null", "true", "1e999", ".nan", "-1", "0", "[", "{a: 1}", "*x", "&x y", "!!int x", "1_0", "2020-99-99", "\0", ""]
)
NUMBERS = st.integers(-(2**70), 2**70).map(str) | st.floats().map(str)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
VALUES = st.recursive(SCALARS, lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below))


def one_line(error: UsageError) -> str:
    line = terminal(str(error))
    assert line
    assert not hidden(line)
    return line


def hidden(text: str) -> list[str]:
    """Control characters, halves of letters, ends of lines and what turns a line around."""
    return [letter for letter in text if unicodedata.category(letter) in HIDDEN or letter in "\u202a\u202b\u202e\u2066"]


@pytest.fixture(scope="module")
def options() -> dict[str, list[str]]:
    """All settings of these methods, by their dotted names."""
    found = {method: resolve(model=method, data=None, category="x", files=[], options={}) for method in METHODS}
    return {method: sorted(flatten(config.settings)) for method, config in found.items()}


@given(data=st.data(), method=st.sampled_from(METHODS), text=TEXTS | NUMBERS)
@some
def test_a_setting_that_is_typed_is_taken_or_refused_in_one_line(options, data, method, text):
    key = data.draw(st.sampled_from(options[method]))
    try:
        config = resolve(model=method, data=None, category="x", files=[], options={key: text})
    except UsageError as error:
        assert key.rpartition(".")[2] in one_line(error)
        return
    assert isinstance(config, Config)
    assert config.to_yaml()


@given(data=st.data(), method=st.sampled_from(METHODS), value=VALUES)
@some
def test_a_setting_of_a_file_is_taken_or_refused_in_one_line(options, data, method, value):
    key = data.draw(st.sampled_from(options[method]))
    section, _, name = key.rpartition(".")
    layer = {section: {name: value}} if section else {name: value}
    try:
        config = resolve(model=method, data=None, category="x", files=[layer], options={})
    except UsageError as error:
        one_line(error)
        return
    assert config.to_yaml()


def places_of(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON document."""
    below = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, each in below for found in ((*at, key), *places_of(each, (*at, key)))]


RECORD = json.loads(make_record().to_json())


@given(place=st.sampled_from(places_of(RECORD)), value=VALUES, how=st.sampled_from(["put", "delete", "add"]))
@some
def test_a_record_that_was_changed_is_read_or_refused_in_one_line(tmp_path, place, value, how):
    changed = copy.deepcopy(RECORD)
    *sections, key = place
    parent = changed
    for section in sections:
        parent = parent[section]
    if how == "delete":
        del parent[key]
    elif how == "add" and isinstance(parent, dict):
        parent[str(key) + "x"] = value
    else:
        parent[key] = value
    (tmp_path / "record.json").write_text(json.dumps(changed))
    try:
        record = Record.read(tmp_path)
    except UsageError as error:
        assert "record.json" in one_line(error)
        return
    record.write(tmp_path)
    assert Record.read(tmp_path) == record


@given(cut=st.integers(0, 3000), byte=st.integers(0, 255), length=st.integers(0, 40))
@some
def test_a_record_with_damaged_bytes_is_read_or_refused_in_one_line(tmp_path, cut, byte, length):
    content = make_record().to_json().encode()
    (tmp_path / "record.json").write_bytes(content[:cut] + bytes([byte]) + content[cut + length :])
    try:
        Record.read(tmp_path)
    except UsageError as error:
        assert "record.json" in one_line(error)


SCORES = st.floats(allow_nan=False, allow_infinity=False)
ROWS = st.builds(
    Predicted,
    path=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    sha256=st.text("0123456789abcdef", max_size=64),
    defect_type=st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    is_defect=st.booleans(),
    score=SCORES,
    logits=st.just(()),
)


@example(rows=[Predicted("a\rb\nc", "", '"', False, 0.5, ())])
@given(rows=st.lists(ROWS, max_size=3))
@some
def test_predictions_are_read_as_they_were_written(tmp_path, rows):
    write_predictions(tmp_path, rows)
    file = tmp_path / "predictions.csv"
    assert parse_predictions(file.read_bytes(), file) == rows


SIGNS = st.text("'=+-@1a.,\n", max_size=6)


@given(path=SIGNS, defect_type=SIGNS)
@some
def test_no_name_in_predictions_is_a_formula_and_each_is_read_as_it_was(tmp_path, path, defect_type):
    write_predictions(tmp_path, [Predicted(path, "", defect_type, True, -1.0, ())])
    file = tmp_path / "predictions.csv"
    found = parse_predictions(file.read_bytes(), file)[0]
    assert (found.path, found.defect_type) == (path, defect_type)
    with file.open(encoding="utf-8", newline="") as lines:
        shown = next(csv.DictReader(lines))
    for field in (shown["path"], shown["defect_type"]):
        if field.startswith(FORMULA):
            float(field)


@given(cut=st.integers(0, 400), put=st.binary(max_size=6) | TEXTS.map(lambda text: text.encode(errors="replace")))
@some
def test_predictions_with_damaged_bytes_are_read_or_refused_in_one_line(tmp_path, cut, put):
    write_predictions(
        tmp_path, [Predicted("screw/test/a.png", "0" * 64, "good", False, float(score), ()) for score in range(4)]
    )
    file = tmp_path / "predictions.csv"
    content = file.read_bytes()
    try:
        found = parse_predictions(content[:cut] + put + content[cut + 1 :], file)
    except UsageError as error:
        assert "predictions.csv" in one_line(error)
    else:
        assert all(abs(row.score) < float("inf") for row in found)


NAMES = st.text(max_size=40) | st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "~", "\0", "C:"])).map("".join)


@given(name=NAMES)
@some
def test_a_plain_name_never_leaves_its_folder(tmp_path, name):
    try:
        found = plain_name(name)
    except ValueError:
        return
    folder = tmp_path / found
    assert folder.parent == tmp_path
    assert folder.resolve().parent == tmp_path.resolve()
    (tmp_path / found).mkdir(exist_ok=True)
    assert not any(unicodedata.category(letter) in HIDDEN for letter in found)


@given(text=st.text(max_size=60) | st.text("<>&`*_[]()!|~$#=+-@\x1b\n\u202e:/.ahtpw ", max_size=40))
@some
def test_text_on_its_way_out_holds_no_signs_of_its_format(text):
    assert not hidden(terminal(text))
    shown = markdown(text)
    assert "<" not in shown
    assert ">" not in shown
    assert "\n" not in shown
    assert "\x1b" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*|~$]", shown)
    assert not re.search(r"(?<!\\)(?:\\\\)*\]\(", shown)
    cell = csv_cell(text)
    assert "\x1b" not in cell
    if len(cell) > 1 and cell.startswith(FORMULA):
        float(cell)
    assert next(csv.reader(io.StringIO(f'"{cell.replace(chr(34), chr(34) * 2)}"'))) == [cell]


@given(value=VALUES)
@some
def test_json_for_a_terminal_says_the_same(value):
    line = json_line(json.dumps(value, ensure_ascii=False))
    assert "\x1b" not in line
    assert json.dumps(json.loads(line)) == json.dumps(value)
