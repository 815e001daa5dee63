"""A refused message in words: what msgspec says of a field, as the person writing a client wants to read it.

What is not known here is passed on as it came. The text is bounded: a field's name may be as long as the
message that it stood in.
"""

import re
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

TEXT_CHARS = 200
_PLACED = re.compile(r"(?P<what>.*) - at `\$\.?(?P<where>[^`]*)`", re.S)
_WORDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}
_WORDS |= {"object": "an object", "array": "a list", "null": "nothing"}

Say = Callable[[re.Match[str]], str]


def _types(text: str) -> str:
    return " or ".join(_WORDS.get(word, word) for word in text.split(" | "))


def _number(text: str) -> str:
    return f"{float(text):.12g}"  # a bound of millions too is written out


def _pattern(found: re.Match[str]) -> str:
    if "[0-9a-fA-F]{8}-" in found[1]:
        return "must be a UUID"
    return (
        "must be a phone number of 5 to 15 digits"
        if "[ ()-]" in found[1]
        else "is not written as it should be"
    )


def _length(found: re.Match[str]) -> str:
    if (found[2], found[3]) == (">=", "1"):
        return "must not be empty"
    unit = "entries" if found[1] == "array" else "characters"
    return f"must have {'at most' if found[2] == '<=' else 'at least'} {found[3]} {unit}"


_BOUNDS = {"<=": "at most", ">=": "at least", "<": "below", ">": "above"}
_SAID: tuple[tuple[re.Pattern[str], Say], ...] = (
    (re.compile(r"Expected `str` matching regex '(.*)'"), _pattern),
    (re.compile(r"Expected `(str|array)` of length (<=|>=) (\d+)"), _length),
    (
        re.compile(r"Expected `(?:int|float)` (<=|>=|<|>) (-?[\d.e+]+)"),
        lambda found: f"must be {_BOUNDS[found[1]]} {_number(found[2])}",
    ),
    (
        re.compile(r"Expected `([^`]+)`, got `([^`]+)`"),
        lambda found: f"must be {_types(found[1])}, not {_types(found[2])}",
    ),
)
_MISSING = re.compile(r"Object missing required field `([^`]*)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([^`]*)`", re.S)


def in_words(text: str, kind: type[Any]) -> str:
    """`text` of a msgspec.ValidationError about a message of this kind."""
    placed = _PLACED.fullmatch(text)
    what, where = (placed["what"], placed["where"]) if placed else (text, "")
    return _in_words(what, where, kind)[:TEXT_CHARS]


def _in_words(what: str, where: str, kind: type[Any]) -> str:
    prefix = f"{where}." if where else ""
    if missing := _MISSING.fullmatch(what):
        return f"{prefix}{missing[1]} is missing."
    if unknown := _UNKNOWN.fullmatch(what):
        return f"There is no field {prefix}{unknown[1][:64]}."
    if what.startswith("Invalid enum value"):
        return f"{where} must be {' or '.join(_choices(kind, where)) or 'one of the values that are listed'}."
    for pattern, say in _SAID:
        if found := pattern.fullmatch(what):
            return f"{where or 'The message'} {say(found)}."
    return f"{where}: {what}" if where else what


def _choices(kind: type[Any], field: str) -> list[str]:
    """The words of a message's own Literal field."""
    return [word for word in get_args(get_type_hints(kind).get(field)) if isinstance(word, str)]
