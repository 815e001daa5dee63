"""A row that the drain could not write, written from its dead letter: the same statement, one row, in a savepoint.

A dead letter holds no word that people said (storage/projection.py), so rows of chat and of what was told cannot come
back from one; a job's comes back without its note.
"""

from typing import Any, NamedTuple

import asyncpg
import msgspec

from storage.sink import SQL, is_rows_fault

#: Tables whose dead letters hold all that a row must have.
WHOLE = frozenset({"drivers", "rides", "packages", "offers", "chat_reads", "audit_log", "decisions"})
_SAID_NOTHING = {"rides": {"note": ""}, "packages": {"note": ""}}


class Tried(NamedTuple):
    """`outcome` is written, refused, or nothing: what stands there is newer, or another's."""

    outcome: str
    sqlstate: str = ""
    reason: str = ""


def is_whole(target: str) -> bool:
    return target in WHOLE


async def write(conn: Any, target: str, content: bytes) -> Tried:
    """Tries it inside the caller's transaction, which goes on whatever comes of it."""
    try:
        values = {**msgspec.json.decode(content, type=dict[str, Any]), **_SAID_NOTHING.get(target, {})}
    except msgspec.DecodeError as error:
        return Tried("refused", "", f"DecodeError: {error}")
    try:
        async with conn.transaction():
            tag = await conn.execute(SQL[target], [values])
    except asyncpg.PostgresError as error:
        if not is_rows_fault(error):
            raise
        return Tried("refused", error.sqlstate or "", str(error.args[0])[:2000])
    return Tried("written" if int(tag.split()[-1]) else "nothing")
