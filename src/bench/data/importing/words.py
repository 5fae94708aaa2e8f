"""The words by which folders and lists tell good photos from bad ones."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from bench.data.category_folders import GOOD
from bench.errors import unknown

Meaning = Literal["good", "bad"]

_GOOD = frozenset({
    "good", "goods", "ok", "okay", "pass", "passed", "normal", "io", "gut", "良品", "良", "合格", "合格品", "正常",
})  # fmt: skip
_BAD = frozenset({
    "bad", "ng", "nok", "notok", "notgood", "nogood", "fail", "failed", "failure", "defect", "defects", "defective",
    "defectives", "reject", "rejects", "rejected", "anomaly", "anomalies", "anomalous", "abnormal", "faulty", "nio",
    "schlecht",
    "不良", "不良品", "不合格", "不合格品", "缺陷", "异常", "次品",
})  # fmt: skip
# Years, dates, times and numbers in any order: such a folder sorts photos and says nothing of them.
_NUMBERED = re.compile(r"[\d\W_年月日号時时分秒]+")


@dataclass(frozen=True)
class Words:
    """Known words, and those that the user adds: `good` means good, `bad` are types of defects by their own names."""

    good: Collection[str] = ()
    bad: Collection[str] = ()

    def meaning(self, word: str) -> Meaning | None:
        """What a folder or a label of this name says; None where it says nothing that is known."""
        if same(word) in map(same, self.good):
            return "good"
        if same(word) in map(same, self.bad):
            return "bad"
        plain = re.sub(r"[\W_]", "", same(word))
        if plain in _GOOD:
            return "good"
        return "bad" if plain in _BAD else None

    def is_type(self, word: str) -> bool:
        """Whether the user named this word as a type of defects."""
        return same(word) in map(same, self.bad)

    def require_used(self, names: Iterable[str]) -> None:
        """Refuse a word of the user's that is the name of no folder and no label."""
        there = {same(name): name.strip() for name in names}
        for word in (*self.good, *self.bad):
            if same(word) not in there:
                raise unknown("folder or label", word, there.values())


def same(text: str) -> str:
    """A text as it is compared: case and the ways to write one letter do not count."""
    return unicodedata.normalize("NFC", text.strip()).casefold()


def is_numbered(word: str) -> bool:
    """Whether a name is a date, a time or a number: `2026-11-29`, `2026年11月`, `batch` it is not."""
    return _NUMBERED.fullmatch(word) is not None


def label_of(words: Words, word: str, below: str | None) -> str:
    """The label of a photo: `good`, or the type of its defect.

    The type is the name of the folder (or the entry of the list) `below` the word for bad, else that word itself.
    """
    if words.meaning(word) == "good":
        return GOOD
    name = word if below is None or words.is_type(word) else below
    return unicodedata.normalize("NFC", name.strip())
