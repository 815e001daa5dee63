"""What admins do to things that PostgreSQL owns: one transaction with its line of the audit log, or nothing.

| when | then |
|---|---|
| he is no admin any more | NotAdmin; his account is locked against change until the commit |
| PostgreSQL is away, or its answer is lost | DatabaseUnavailable; the same `commandId` again finds out which it was |
| we die before the commit | the transaction is rolled back: neither the change nor its line |
| the same `commandId` again | the first answer, no second line; with other content NotTheSame |
| the same `commandId` twice at once | the second waits for the first at the index, is rolled back and gets its answer |
| two admins change one thing at once | in turn, by the row's lock; an edit names the version it is based on |
| nothing changes (he is blocked already) | it is in the log all the same, as it stood |
"""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec

from storage import blocks, drainrows
from storage.postgis import Database, queries
from storage.records import UserId

SQL = queries("operators")
TRIES = 2


class NotAdmin(Exception):
    """The account may not do this (any more)."""


class NotTheSame(Exception):
    """The commandId was used for something else."""


class Missing(Exception):
    """There is no such thing."""


class Stands(Exception):
    """It cannot be done to it as it stands; the text says why."""


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """Who does what to what. `id` is his commandId ("" none), `content` a digest of all that was asked."""

    actor: UserId
    action: str
    subject_type: str
    subject_id: str
    reason: str
    id: str = ""
    content: str = ""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it; `before` and `after` go into the audit log."""

    answer: dict[str, Any]
    before: Any
    after: Any


class AreaNow(msgspec.Struct, frozen=True):
    policy: dict[str, Any]
    prices: dict[str, Any]
    paused: bool
    version: int


Change = Callable[[Any], Awaitable[Done]]


class Operators:
    """All commands raise NotAdmin, NotTheSame, Missing, Stands, or DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def set_status(self, command: Command, status: str) -> dict[str, Any]:
        """Lets somebody in no more, or again."""

        async def change(conn: Any) -> Done:
            user = await _row(conn, "user", command)
            if command.subject_id == command.actor:
                raise Stands("Nobody blocks himself.")
            await conn.execute(SQL["set_status"], command.subject_id, status)
            answer = {"userId": command.subject_id, "status": status}
            return Done(answer=answer, before={"status": user["status"]}, after={"status": status})

        return await self._run(command, change)

    async def set_apart(self, command: Command, other: str, *, apart: bool) -> dict[str, Any]:
        """Whether the match keeps two people apart, whatever they say of one another."""

        async def change(conn: Any) -> Done:
            was = bool(await conn.fetchval(SQL["apart"], command.subject_id, other))
            if apart:
                outcome = await blocks.block(conn, command.subject_id, other, by_admin=True)
                if outcome == "not_met":
                    raise Missing
                if outcome == "too_many":
                    raise Stands(f"At most {blocks.BLOCKS_MAX} people are kept apart from one.")
            else:
                await blocks.unblock(conn, command.subject_id, other, by_admin=True)
            answer = {"userId": command.subject_id, "otherId": other, "apart": apart}
            before, after = {"other": other, "apart": was}, {"other": other, "apart": apart}
            return Done(answer=answer, before=before, after=after)

        return await self._run(command, change)

    async def change_area(self, command: Command, changed: Callable[[AreaNow], AreaNow]) -> dict[str, Any]:
        """`changed` makes of the area as it is what it shall be; what it raises, is raised."""

        async def change(conn: Any) -> Done:
            was = AreaNow(**dict(await _row(conn, "area", command)))
            now = changed(was)
            version = was.version
            if now != was:
                values = (command.subject_id, now.policy, now.prices, now.paused)
                version = await conn.fetchval(SQL["set_area"], *values)
            answer = {"areaId": command.subject_id, "version": version, "paused": now.paused}
            before, after = _differences(was, now)
            return Done(answer=answer, before=before, after=after)

        return await self._run(command, change)

    async def retry_letter(self, command: Command) -> dict[str, Any]:
        """Writes the refused row now, if PostgreSQL takes it today. Outcomes: written, refused (with the new reason),
        or nothing (what is there is newer, or another's)."""

        async def change(conn: Any) -> Done:
            letter = await _row(conn, "letter", command)
            if not drainrows.is_whole(letter["target"]):
                text = "What people said is not kept in a dead letter, so it cannot be written from here: discard it."
                raise Stands(text)
            tried = await drainrows.write(conn, letter["target"], letter["content"])
            if tried.outcome == "written":
                await conn.execute(SQL["forget_letter"], command.subject_id)
            elif tried.outcome == "refused":
                await conn.execute(SQL["still_refused"], command.subject_id, tried.sqlstate, tried.reason)
            answer = {"letterId": command.subject_id, "outcome": tried.outcome, "reason": tried.reason}
            after = {"outcome": tried.outcome, "sqlstate": tried.sqlstate}
            return Done(answer=answer, before=_letter(letter), after=after)

        return await self._run(command, change)

    async def discard_letter(self, command: Command) -> dict[str, Any]:
        async def change(conn: Any) -> Done:
            letter = await _row(conn, "letter", command)
            await conn.execute(SQL["forget_letter"], command.subject_id)
            answer = {"letterId": command.subject_id, "outcome": "discarded"}
            return Done(answer=answer, before=_letter(letter), after={"outcome": "discarded"})

        return await self._run(command, change)

    async def _run(self, command: Command, change: Change) -> dict[str, Any]:
        for _ in range(TRIES):
            try:
                return await self._once(command, change)
            except asyncpg.UniqueViolationError:
                continue  # the same command was under way: its answer is there now
        raise NotTheSame

    async def _once(self, command: Command, change: Change) -> dict[str, Any]:
        async with self._database.transaction() as conn:
            if not await conn.fetchval(SQL["may"], command.actor):
                raise NotAdmin
            if command.id:
                first = await conn.fetchrow(SQL["first_answer"], command.actor, command.id)
                if first is not None:
                    if first["content"] != command.content:
                        raise NotTheSame
                    answer: dict[str, Any] = first["answer"]
                    return answer
            done = await change(conn)
            details = {"before": done.before, "after": done.after, "reason": command.reason}
            what = (command.action, command.subject_type, command.subject_id, details)
            await conn.execute(
                SQL["note"], command.actor, *what, command.id or None, command.content or None, done.answer
            )
            return done.answer


async def _row(conn: Any, query: str, command: Command) -> Any:
    row = await conn.fetchrow(SQL[query], command.subject_id)
    if row is None:
        raise Missing
    return row


def _differences(was: AreaNow, now: AreaNow) -> tuple[dict[str, Any], dict[str, Any]]:
    """What differs, field by field, of policy and prices as well."""
    before, after = _flat(was), _flat(now)
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    return {name: before.get(name) for name in changed}, {name: after.get(name) for name in changed}


def _flat(area: AreaNow) -> dict[str, Any]:
    rules = {f"policy.{name}": value for name, value in area.policy.items()}
    prices = {f"prices.{name}": value for name, value in area.prices.items()}
    return {"paused": area.paused, **rules, **prices}


def _letter(letter: Any) -> dict[str, Any]:
    return {name: letter[name] for name in ("stream", "entry_id", "item", "target", "sqlstate")}
