"""Errors of a settings parser in one line: the option, what it expects, and what was given."""

import re
from difflib import get_close_matches

_NAMES = {"NoneType": "null", "a valid integer": "int", "a valid number": "float"}


def one_line(message: str) -> str:
    """A shorter form of `Parser key "model.k":\\n  Expected a <class 'int'>. Got value: x`."""
    text = " ".join(message.split())
    match = re.match(r'Parser key "([^"]+)": (.*)', text)
    if match is None:
        return text
    key, problem = match.groups()
    given = re.search(r"(?:Got value|Given value): ?(.*)$", problem)
    if given is None:
        return f"--{key}: {problem}"
    value = given[1]
    ranges = re.findall(r"Input should be ((?:greater|less) .+?) \[type=", problem)
    if ranges:
        return f"--{key} should be {ranges[0]}, not '{value}'"
    kinds = _kinds(problem)
    near = get_close_matches(value.strip("'"), _words(problem), n=1)
    advice = f"; did you mean '{near[0]}'?" if near else ""
    return f"--{key} expects {' or '.join(kinds)}, not '{value}'{advice}" if kinds else f"--{key}: {problem}"


def _words(problem: str) -> list[str]:
    """The words that settings with a fixed list of words accept."""
    lists = re.findall(r"typing\.Literal\[(.+?)\]", problem)
    return [word.strip("' ") for each in lists for word in each.split(",")]


def _kinds(problem: str) -> list[str]:
    """What each type of a union, or the only type, accepts: `int`, `null`, `16-mixed`."""
    found: list[str] = []
    for expected in re.findall(r"Expected an? (.+?)(?=\. Got value| - | Given value type|$)", problem):
        literal = re.fullmatch(r"typing\.Literal\[(.+)\]", expected)
        if literal:
            found += [word.strip("' ") for word in literal[1].split(",")]
        else:
            name = re.sub(r"<class '(\w+)'>|typing\.", lambda m: m[1] or "", expected)
            found.append(_NAMES.get(name, name))
    for start in ("a valid integer", "a valid number"):
        if re.search(f"Input should be {start}", problem):
            found.insert(0, _NAMES[start])
    return list(dict.fromkeys(found))
