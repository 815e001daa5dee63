"""The desk: load, decide, commit, and again at most three times when somebody else was first.

The only place on this floor that awaits. A command's answer is remembered with its commit, so that the same
key again, after a lost reply or from another node, gets the first answer and has no second effect. Failures:

| when | then |
|---|---|
| we die before the commit | nothing happened; the client repeats |
| we die after it, or the reply is lost | it happened, and is spoken from the log; a repeat gets the first answer |
| another node wrote first | the commit does nothing; load and decide again |
| Redis is gone, hung or full | `unavailable`, never success; a repeat finds out what was true |
| a job comes back to a driver after his step, or after he gave it back | without a `commandId` either is one anew |
| the deadline passed while we decided | `offer_gone`, by Redis' clock |
"""

import asyncio
from collections.abc import Callable

import msgspec

from dispatch import commands as c
from dispatch.area import Areas
from dispatch.blocks import Blocks
from dispatch.commands import Answer, Refusal
from dispatch.decision import Decision, State
from dispatch.heat import Heats
from dispatch.lifecycle import TABLES
from dispatch.roads import Roads
from dispatch.rules import RULES, chat, follow, heed_newest_device
from dispatch.rules.audit import audited
from storage.fleet import Fleet
from storage.log import Again, Conflict, Full, Late, Loaded, Log, Write
from storage.records import LINES_MAX, Job
from storage.shard import Unavailable

TRIES = 3
RUN_WITHIN_S = 1.9  # whatever keeps Redis from answering, who asks is told within two seconds

_json = msgspec.json.Encoder()


class Remembered(msgspec.Struct):
    """A command's first answer, with a digest of what was asked."""

    content: str
    answer: Answer


_remembered = msgspec.json.Decoder(Remembered)


class Desk:
    """`areas` is replaced when an area changes; `poke` hears of every job that must be matched now."""

    def __init__(self, log: Log, fleet: Fleet, areas: Areas) -> None:
        self.log = log
        self.fleet = fleet
        self.areas = areas
        self.blocks = Blocks()
        self.heats = Heats()
        self.roads = Roads()
        self.poke: Callable[[str], None] = lambda job_id: None

    async def run(self, command: c.Command) -> Answer:
        """Runs a command and returns its answer. Raises Refusal, and nothing else."""
        try:
            async with asyncio.timeout(RUN_WITHIN_S):
                for _ in range(TRIES):
                    try:
                        return await self._once(command)
                    except Conflict:
                        continue
        except (Unavailable, TimeoutError):
            raise Refusal("unavailable") from None
        except Again as first:
            return await self._first_answer(first.answer, command)
        except Late:
            raise Refusal("offer_gone", "The offer has expired.") from None
        except Full:
            raise Refusal("rate_limited", f"You may say at most {LINES_MAX} lines in a chat.") from None
        raise Refusal("unavailable", "Too much is happening at once here; try again.")

    async def _once(self, command: c.Command) -> Answer:
        field = _field(command)
        loaded = await self._load(command, field)
        if loaded.answer is not None and _undone(command, loaded):
            field = ""  # its first answer stands; a repeat of it now finds the step done
        elif loaded.answer is not None:
            if (
                isinstance(command, c.SendMessage)
                and _is_line(command)
                and not _is_repeat(loaded.answer, command)
            ):
                # its id is everybody's: a stranger hears no more than of any other room
                state = State(loaded.now_ms, loaded.records, loaded.due_ms, self.areas, self.blocks)
                chat.party_job(state, command.job_id, command.kind, command.user)
            return await self._first_answer(loaded.answer, command)
        decision = await self._decide(command, loaded)
        kept = "" if decision.refusal else field
        # an answer without effect is kept too: its late repeat must not have the effect it had not
        if decision.put or decision.facts or kept:
            await self._commit(command, decision, loaded, kept)
        elif decision.refusal is None and command.user != c.SYSTEM:
            await self.log.settled()  # "so it is already" promises as much as the command that made it so
        if decision.refusal is not None:
            raise decision.refusal
        return decision.answer

    async def preview(self, command: c.Command) -> Answer:
        """What a command of the system would be answered now; nothing changes. Raises Refusal, Conflict or
        Unavailable."""
        return (await self._decide(command, await self._load(command))).answer

    async def _load(self, command: c.Command, field: str = "") -> Loaded:
        return await self.log.load(RULES[type(command)].wants(command), command.room, field)

    async def _decide(self, command: c.Command, loaded: Loaded) -> Decision:
        if more := follow(command, loaded.records):
            _merge(loaded, await self.log.load(more))
        heed_newest_device(command, loaded.records)
        state = State(loaded.now_ms, loaded.records, loaded.due_ms, self.areas, self.blocks)
        return audited(state, command, RULES[type(command)].decide(state, command))

    async def _commit(self, command: c.Command, decision: Decision, loaded: Loaded, field: str) -> None:
        remembered = _json.encode(Remembered(_content(command), decision.answer)) if field else b""
        await self.log.commit(
            Write(
                life=loaded.life,
                loaded_ms=loaded.now_ms,
                room=command.room,
                by=command.user,
                read=decision.read,
                put=decision.put,
                anew=decision.anew,
                facts=decision.facts,
                reseat=decision.reseat,
                latest_ms=decision.latest_ms,
                field=field,
                answer=remembered,
                # a line's id is its own for good: said again later, it would be acked and not kept
                lasting_max=LINES_MAX if _is_line(command) and field else 0,
            )
        )
        for record in decision.put:
            if isinstance(record, Job) and record.state == "searching":
                self.poke(record.id)

    async def _first_answer(self, stored: bytes, command: c.Command) -> Answer:
        """The remembered answer, which promises as much as it did the first time. Raises Refusal duplicate when
        the key was used for something else, unavailable when it may still be lost."""
        if not _is_repeat(stored, command):
            raise Refusal("duplicate")
        try:
            await self.log.settled()
        except Unavailable:
            raise Refusal("unavailable") from None
        return _remembered.decode(stored).answer


def _merge(loaded: Loaded, more: Loaded) -> None:
    loaded.records.update(more.records)
    loaded.due_ms.update(more.due_ms)


def _field(command: c.Command) -> str:
    """Where a command's first answer is remembered: by user, so that a stranger's key never answers. A chat
    line's id is one line's whoever says it, or of two lines under it both would be acked and one kept."""
    if not command.key:
        return ""
    return f"a:*:{command.key}" if _is_line(command) else f"a:{command.user}:{command.key}"


def _is_line(command: c.Command) -> bool:
    """A chat line that is known by an id of its own."""
    return isinstance(command, c.SendMessage) and command.key == f"message:{command.message_id}"


def _is_repeat(stored: bytes, command: c.Command) -> bool:
    """Is what was remembered this very command, of this user?"""
    return _remembered.decode(stored).content == _content(command)


def _undone(command: c.Command, loaded: Loaded) -> bool:
    """Is it a step of a job that its driver lost after this very step, or with it, and that is his again? Named by
    nothing but itself it would get its first answer, and the job could never go on."""
    if not isinstance(command, c.MoveJob | c.CancelJob) or not command.key.startswith(("status:", "cancel:")):
        return False
    job = loaded.records.get((Job, command.job_id))
    if not isinstance(job, Job) or job.driver_id != command.user:
        return False
    told = str(_remembered.decode(loaded.answer or b"").answer.get("state"))
    # given back, it searches, or is offered to who was asked to take it over
    step = "searching" if told == "offered" else told
    return "D" in TABLES[job.kind].get(job.state, {}).get(step, "")


def _content(command: c.Command) -> str:
    """What was asked; of a chat line, whose id is everybody's, also by whom."""
    return f"{command.user} {command.content}" if _is_line(command) else command.content
