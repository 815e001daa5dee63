"""Pages by key: newest first, each page begins where the one before ended, whatever came meanwhile. Pure."""

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.I)
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"
_END = datetime(9999, 1, 1, tzinfo=UTC)


class BadCursor(Exception):
    """The cursor is not one that a page gave out."""


def bounded(limit: int, most: int) -> int:
    return max(1, min(limit, most))


def pagination(rows: list[Any], limit: int, moment: str, key: str) -> dict[str, Any]:
    """One row more than the page was read: it says that there is more, and the last one where to go on."""
    more = len(rows) > limit
    cursor = encode(rows[limit - 1][moment], str(rows[limit - 1][key])) if more else None
    return {"limit": limit, "hasMore": more, "nextCursor": cursor}


def newest_first(cursor: str | None) -> tuple[datetime, str]:
    """Behind which (moment, id) the page begins. Raises BadCursor."""
    return place_of(cursor) if cursor else (_END, _LAST)


def newest_first_by_text(cursor: str | None) -> tuple[datetime, str]:
    """The same where the key is a text: nothing is behind the end but all that there is. Raises BadCursor."""
    return decode(cursor) if cursor else (_END, "")


def place_of(cursor: str) -> tuple[datetime, str]:
    moment, key = decode(cursor)
    if not UUID.fullmatch(key):
        raise BadCursor
    return moment, key


def encode(moment: datetime, key: str) -> str:
    return base64.urlsafe_b64encode(f"{moment.isoformat()}|{key}".encode()).decode().rstrip("=")


def decode(cursor: str) -> tuple[datetime, str]:
    """Raises BadCursor."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, key = text.partition("|")
        when = datetime.fromisoformat(moment)
    except (ValueError, binascii.Error):
        raise BadCursor from None
    if when.tzinfo is None:
        raise BadCursor
    return when, key
