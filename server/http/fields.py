"""What an account's fields must look like; every fault is named at once, as the apps' forms expect.

A `Field` says how one is read and, on docs/http.md, what it may hold. `Fields` collects
`details: [{field, message}]` while a body is read, and `refuse_if_wrong` raises them together. Texts are
trimmed; one that PostgreSQL cannot hold, or that would not be seen, is refused.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Literal, NamedTuple

from server.http.envelope import Refusal
from storage.passwords import MAX_BYTES, MIN_BYTES, fits

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"\+[0-9]{2,15}")
EMAIL_CHARS = 254
NAME_CHARS = 100
URL_CHARS = 500
SPECIAL = "@$!%*?&"
FUTURE = date.max
PHONE_CHARS = 16
DAY_CHARS = 40
PHONE_WORDS = "+ and 2 to 15 digits"
PASSWORD_WORDS = (
    f"{MIN_BYTES} to {MAX_BYTES} bytes with a lower and an upper case letter, a digit and one of {SPECIAL}"
)


def is_email(text: str) -> bool:
    return len(text) <= EMAIL_CHARS and text.isprintable() and EMAIL.fullmatch(text) is not None


Kind = Literal["text", "email", "phone", "password", "day", "choice", "number", "word", "line", "cursor"]


class Field(NamedTuple):
    """A field of a body, or of a query (`word`, `line`, `cursor`, and there `number`, which server/http/call.py reads).
    `most` are the characters of a text or the largest number; the first of a choice's `choices` is what is meant
    without one."""

    name: str
    kind: Kind = "text"
    required: bool = False
    most: int = 0
    choices: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        return {
            "text": f"a line of text, at most {self.most} characters",
            "email": "an email address",
            "phone": PHONE_WORDS,
            "password": PASSWORD_WORDS,
            "day": "a past date like 1990-12-31",
            "choice": f"one of {', '.join(self.choices)}",
            "word": f"one of {', '.join(self.choices)}",
            "number": f"a whole number from 1 to {self.most}",
            "line": f"a line of text, at most {self.most} characters",
            "cursor": "the nextCursor of the page before",
        }[self.kind]


class Fields:
    """Reads one body. A field that is missing or empty and not required is None."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._wrong: list[dict[str, str]] = []

    def read(self, *fields: Field) -> list[Any]:
        """Their values, in order; None for one that is wrong, which `refuse_if_wrong` tells."""
        readers = {
            "text": self._text,
            "email": self._email,
            "phone": self._phone,
            "password": self._password,
            "day": self._day,
            "choice": self._choice,
            "number": self._number,
        }
        return [readers[field.kind](field) for field in fields]

    def _text(self, field: Field) -> str | None:
        value = self._body.get(field.name)
        if value is None or value == "":
            return self._fault(field, "is required") if field.required else None
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            return self._fault(field, "must be a line of text")
        value = value.strip()
        return value if len(value) <= field.most else self._fault(field, f"must be {field.words}")

    def _email(self, field: Field) -> str | None:
        value = self._text(field._replace(most=EMAIL_CHARS, kind="text"))
        return value if value is None or is_email(value) else self._fault(field, f"must be {field.words}")

    def _phone(self, field: Field) -> str | None:
        value = self._text(field._replace(most=PHONE_CHARS, kind="text"))
        if value is None or PHONE.fullmatch(value):
            return value
        return self._fault(field, f"must be {field.words}")

    def _password(self, field: Field) -> str | None:
        value = self._body.get(field.name)
        kinds = (str.islower, str.isupper, str.isdigit, SPECIAL.__contains__)
        if (
            not isinstance(value, str)
            or not fits(value)
            or not all(any(kind(letter) for letter in value) for kind in kinds)
        ):
            return self._fault(field, f"must have {field.words}")
        return value

    def _day(self, field: Field) -> date | None:
        """A date, or a moment whose day counts; in the past."""
        value = self._text(field._replace(most=DAY_CHARS, kind="text"))
        if value is None:
            return None
        try:
            day = date.fromisoformat(value[:10])
        except ValueError:
            day = FUTURE
        if date(1900, 1, 1) <= day < datetime.now(UTC).date():
            return day
        self._fault(field, f"must be {field.words}")
        return None

    def _choice(self, field: Field) -> str | None:
        value = self._body.get(field.name, field.choices[0])
        return str(value) if value in field.choices else self._fault(field, f"must be {field.words}")

    def _number(self, field: Field) -> int | None:
        value = self._body.get(field.name)
        if value is None and not field.required:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= field.most:
            return value
        self._fault(field, f"must be {field.words}")
        return None

    def refuse_if_wrong(self) -> None:
        if self._wrong:
            first = self._wrong[0]
            raise Refusal(400, f"{first['field']} {first['message']}.", details=self._wrong)

    def _fault(self, field: Field, message: str) -> str | None:
        """Notes it; its None stands for the value until `refuse_if_wrong`."""
        self._wrong.append({"field": field.name, "message": message})
        return None
