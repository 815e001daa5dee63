"""What an account's fields must look like; every fault is named at once, as the apps' forms expect.

`Fields` collects `details: [{field, message}]` while a body is read, and `refuse_if_wrong` raises them
together. Texts are trimmed; one that PostgreSQL cannot hold, or that would not be seen, is refused.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from server.http.envelope import Refusal
from storage.passwords import MAX_BYTES, MIN_BYTES, fits

EMAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
PHONE = re.compile(r"\+[0-9]{2,15}")
EMAIL_CHARS = 254
NAME_CHARS = 100
URL_CHARS = 500
SPECIAL = "@$!%*?&"
FUTURE = date.max


def is_email(text: str) -> bool:
    return len(text) <= EMAIL_CHARS and text.isprintable() and EMAIL.fullmatch(text) is not None


class Fields:
    """Reads one body. A field that is missing or empty and not required is None."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body
        self._wrong: list[dict[str, str]] = []

    def text(self, name: str, most: int, *, required: bool) -> str | None:
        value = self._body.get(name)
        if value is None or value == "":
            return self._fault(name, "is required") if required else None
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            return self._fault(name, "must be a line of text")
        value = value.strip()
        return value if len(value) <= most else self._fault(name, f"must have at most {most} characters")

    def email(self, name: str) -> str | None:
        value = self.text(name, EMAIL_CHARS, required=True)
        return value if value is None or is_email(value) else self._fault(name, "must be an email address")

    def phone(self, name: str, *, required: bool) -> str | None:
        value = self.text(name, 16, required=required)
        if value is None or PHONE.fullmatch(value):
            return value
        return self._fault(name, "must be + and 2 to 15 digits")

    def password(self, name: str) -> str | None:
        value = self._body.get(name)
        if not isinstance(value, str) or not fits(value):
            return self._fault(name, f"must have {MIN_BYTES} to {MAX_BYTES} bytes")
        kinds = (str.islower, str.isupper, str.isdigit, SPECIAL.__contains__)
        if not all(any(kind(letter) for letter in value) for kind in kinds):
            return self._fault(
                name, f"must have a lower and an upper case letter, a digit and one of {SPECIAL}"
            )
        return value

    def day(self, name: str) -> date | None:
        """A date, or a moment whose day counts; in the past."""
        value = self.text(name, 40, required=False)
        if value is None:
            return None
        try:
            day = date.fromisoformat(value[:10])
        except ValueError:
            day = FUTURE
        if date(1900, 1, 1) <= day < datetime.now(UTC).date():
            return day
        self._fault(name, "must be a past date like 1990-12-31")
        return None

    def choice(self, name: str, allowed: tuple[str, ...], default: str) -> str:
        value = self._body.get(name, default)
        if value not in allowed:
            self._fault(name, f"must be one of {', '.join(allowed)}")
            return default
        return str(value)

    def refuse_if_wrong(self) -> None:
        if self._wrong:
            first = self._wrong[0]
            raise Refusal(400, f"{first['field']} {first['message']}.", details=self._wrong)

    def _fault(self, name: str, message: str) -> str | None:
        """Notes it; the None stands for the value until `refuse_if_wrong`."""
        self._wrong.append({"field": name, "message": message})
        return None
