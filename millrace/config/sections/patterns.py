"""Which of Spark's datetime patterns can read text, and give the time that was meant.

The letters and how often each may be repeated are those of Spark's DateTimeFormatterHelper and of
java.time.format.DateTimeFormatterBuilder.
"""

import re
from typing import Final

_MOST: Final = {
    "G": 4, "y": 6, "M": 4, "L": 4, "d": 2, "D": 3, "a": 1, "H": 2, "h": 2, "K": 2, "k": 2, "m": 2, "s": 2, "S": 9,
    "V": 2, "O": 4, "X": 5, "x": 5, "Z": 5,
}  # fmt: skip
"""Letters that can be read, and their largest number."""
_OTHER_COUNTS: Final = {"V": {2}, "O": {1, 4}}
_ONLY_WRITTEN: Final = "EFqQ"
_ZONES: Final = "VOXxZ"
_NEEDED: Final = {"m": "HhKk", "s": "m", "S": "s"}
"""Letters that say nothing without one of the others; usually another letter was meant."""
_PARTS: Final = re.compile(r"'(?:[^']|'')*'|([A-Za-z])\1*|.", re.DOTALL)
_KNOWN: Final = "y is the year, M the month, d the day, H the hour, m the minute, s the second, S its fraction"


def pattern_mistake(pattern: str, type_name: str) -> str:
    """What is wrong with a datetime pattern for a column; empty if all is well.

    Args:
        pattern: The pattern.
        type_name: Type of the column, date or timestamp.
    """
    seen = set[str]()
    depth = 0
    for part in (found[0] for found in _PARTS.finditer(pattern)):
        if part[0].isalpha():
            mistake = _letter_mistake(part[0], len(part)) or (f"letter '{part[0]}' twice" if part[0] in seen else "")
            seen.add(part[0])
        else:
            depth += {"[": 1, "]": -1}.get(part, 0)
            mistake = _text_mistake(part, depth)
        if mistake:
            return mistake
    return "a [ without ]" if depth else _meaning_mistake(seen, type_name)


def _letter_mistake(letter: str, count: int) -> str:
    if letter == "z":
        return "letter 'z' stands for names such as EST or IST, which mean several zones; use VV, O, X, x or Z"
    if letter in _ONLY_WRITTEN:
        return f"Spark cannot read letter '{letter}', only write it"
    if letter not in _MOST:
        return f"unknown letter '{letter}'; {_KNOWN}; other text is in single quotes"
    if count > _MOST[letter] or count not in _OTHER_COUNTS.get(letter, {count}):
        allowed = _OTHER_COUNTS.get(letter) or {1, _MOST[letter]}
        return f"letter '{letter}' occurs {count} times; expected {' to '.join(map(str, sorted(allowed)))}"
    return ""


def _text_mistake(text: str, depth: int) -> str:
    if text == "'":
        return "a single quote without an end; two quotes stand for one"
    if text in ("{", "}", "#"):
        return f"'{text}' must be in single quotes"
    return "a ] without [" if depth < 0 else ""


def _meaning_mistake(letters: set[str], type_name: str) -> str:
    if not ("y" in letters and ("D" in letters or (letters & {"M", "L"} and "d" in letters))):
        return "expected a year (y), a month (M) and a day (d)"
    if "D" in letters and letters & {"M", "L", "d"}:
        return "D is the day of the year; the day of the month is d"
    for finer, coarser in _NEEDED.items():
        if finer in letters and not letters & {*coarser}:
            name = {"S": "the fraction of a second", "s": "the second", "m": "the minute"}[finer]
            return f"{finer} is {name}, and {coarser[0]} is missing; {_KNOWN}"
    if letters & {"h", "K"} and "a" not in letters:
        return "an hour of half a day (h, K) without a for am or pm; the hour of a day is H"
    if type_name == "date" and letters & {*_ZONES}:
        return "the day depends on the zone; declare a timestamp, and derive the date of the zone that you need"
    return ""
