"""The people of a fault run: customers, and what drivers have in common with them, who say again what nobody answered.

The behaviour is that of `customer`; what is added is patience. A command gets an id when it is
first said and keeps it until it is answered, over as many connections and nodes as that takes. Every phone
comes back over any node, as behind a load balancer that does not know yet which of them are well.

| when | then |
|---|---|
| no answer, or the connection ends before it | the same command again, with the same id |
| `unavailable`, `draining` | the same, after a pause |
| any other refusal | it is the answer |
| the run ends first | the command has no outcome: it may have happened or not |
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from loadtest.client import CallTimeout, Client, Gone, Pool
from loadtest.customer import Customer, Demand
from loadtest.faults.history import NO_ANSWER, OK, Attempt, Command, History, Link
from loadtest.faults.rooms import Rooms
from loadtest.pace import wait_event
from loadtest.person import Account, Person, Town
from loadtest.words import RETRY_CODES, Job, job_of

CALL_S = 4.0
READY_S = 2.0
PAUSE_S = (0.1, 0.4)
BACKOFF_MOST_S = 1.0
#: Said to the device's own connection: whoever comes back says them anew, not again.
OF_THE_MOMENT = frozenset({"go_online", "go_offline", "join_ride", "join_package", "sync"})
OF_THE_MOMENT_TRIES = 3
#: They carry an id of their own.
NAMED = frozenset({"request_ride", "request_package", "send_message", "location_batch"})
LINE_EVERY_S = (0.4, 1.2)
JOINS = 0.1  # of the lines are followed by a look at where things stand
WORDS = ("I see you.", "One minute, please.", "At the corner.", "The blue door.", "Thank you!")


@dataclass
class Lines:
    """Where phones come in: one pool per node. From `closing` on nothing new is asked, from `over` on nothing."""

    pools: Sequence[Pool]
    history: History
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Patient(Person):
    """What drivers, customers and probes of a fault run have in common; `home` is the only node a probe asks."""

    lines: Lines
    home: int | None = None

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._rooms = Rooms()
        self._wanted: list[list[Any]] = []
        self._link: Link | None = None
        self._went = -1

    @property
    def pool(self) -> Pool:
        return self.lines.pools[self._went]

    async def ask(self, event: str, payload: dict[str, Any]) -> dict[str, Any]:
        """Asks until answered, or until the run is over (`{}`); what is of the moment only a few times."""
        if event not in NAMED | OF_THE_MOMENT:
            payload = {**payload, "commandId": str(uuid.uuid4())}
        command = self.lines.history.asked(self.id, event, payload)
        tries = 0
        while not self.lines.over.is_set() and not (event in OF_THE_MOMENT and tries >= OF_THE_MOMENT_TRIES):
            tries += 1
            answer = await self._say_once(command)
            error = answer.get("error") or {}
            if answer and not (error.get("retry") or error.get("code") in RETRY_CODES):
                command.outcome = OK if answer.get("ok") else str(error.get("code"))
                command.answer = answer
                return answer
            await asyncio.sleep(self._random.uniform(*PAUSE_S))
        command.given_up = event in OF_THE_MOMENT
        return {}

    async def _say_once(self, command: Command) -> dict[str, Any]:
        if not await wait_event(self.ready, READY_S) or self.client is None or self._link is None:
            return {}
        if self.client.closed.is_set():
            return {}  # nothing can be said over it, and soon there is another one
        client, link, sent_s = self.client, self._link, time.time()
        try:
            answer = await client.call(command.event, command.payload, CALL_S)
        except (Gone, CallTimeout):
            answer = {}
        outcome = NO_ANSWER if not answer else str((answer.get("error") or {}).get("code", OK))
        command.attempts.append(Attempt(link.node, sent_s, time.time(), outcome, link.number))
        return answer

    async def _connect(self, hello: asyncio.Future[dict[str, Any]]) -> Client:
        pools = self.lines.pools
        # another node than the one that was lost just now
        others = [n for n in range(len(pools)) if n != self._went or len(pools) == 1]
        node = self.home if self.home is not None else self._random.choice(others)
        self._went = node
        link = self.lines.history.opened(self.id, node)

        def tap(event: str, payload: dict[str, Any]) -> None:
            self.lines.history.listen(link, event, payload)
            self._rooms.hear(event, payload)
            if event == "connected" and not hello.done():
                hello.set_result(payload)

        try:
            client = await self.pool.connect(self.account.token, self._handlers.items(), tap)
        except BaseException:
            link.closed_s = time.time()
            raise
        client.ack_tap = partial(self._acked, link)
        self._link = link
        self._spawn(self._mark_end(client, link))
        return client

    async def welcome(self, payload: dict[str, Any]) -> None:
        """Asks for what was missed before anything else is done."""
        if wants := self._rooms.wants():
            self._wanted = wants
            await self.ask("sync", {"rooms": wants})
        await super().welcome(payload)

    def _acked(self, link: Link, event: str, answer: dict[str, Any]) -> None:
        """An ack in its order among the events: what `sync` gives is acted upon as if it came by itself."""
        if event != "sync":
            return
        self.lines.history.resumed(link, self._wanted, answer)
        for missed, payload in self._rooms.answered(answer):
            if missed in self._handlers and missed != "offer":  # an offer of then is no offer now
                self._handlers[missed](payload)

    async def _mark_end(self, client: Client, link: Link) -> None:
        try:
            await client.closed.wait()
        finally:
            link.closed_s = link.closed_s or time.time()

    def _backoff_s(self, attempt: int) -> float:
        return self._random.uniform(0.3, 1.0) * min(BACKOFF_MOST_S, 0.1 * 2.0 ** min(attempt, 10))

    async def talk(self, job: Job) -> None:
        """Says a line of chat now and then, as long as the job goes on, and reads what the other said."""
        while not self.lines.closing.is_set() and self._is_on(job):
            line = {"id": str(uuid.uuid4()), job.kind.id_field: job.id, "type": "text"}
            answer = await self.ask("send_message", {**line, "message": self._random.choice(WORDS)})
            if not answer.get("ok"):
                return  # the job is over, or not ours any more
            if self._random.random() < JOINS:
                await self.ask(job.kind.join, {job.kind.id_field: job.id})
            if self._random.random() < 0.3:
                read = {job.kind.id_field: job.id, "messageId": line["id"]}
                await self.ask("message_read", read)
            await asyncio.sleep(self._random.uniform(*LINE_EVERY_S))

    def _is_on(self, job: Job) -> bool:
        raise NotImplementedError


class Rider(Patient, Customer):
    """A passenger, who is also a sender: one job after another until the run is over."""

    def __init__(self, lines: Lines, town: Town, account: Account) -> None:
        super().__init__(town, account)
        self.lines = lines
        self._talks_of = ""

    def _is_on(self, job: Job) -> bool:
        return self.job is not None and self.job.id == job.id

    def _moved(self, payload: dict[str, Any]) -> None:
        super()._moved(payload)
        job, found = self.job, job_of(payload)
        if job is None or found is None or found[1] != job.id or self._talks_of == job.id:
            return
        if job.state not in {"searching", "offered", "scheduled"}:
            self._talks_of = job.id
            self._spawn(self.talk(job))

    async def live(self, next_demand: Callable[[], Demand], idle_s: float) -> None:
        """Orders, watches, rests, and orders again."""
        source = self._random
        await asyncio.sleep(source.uniform(0.0, 2 * idle_s))
        while not self.lines.closing.is_set():
            await self.finish_left_over()
            await self.order(next_demand())
            await asyncio.sleep(source.expovariate(1 / idle_s))
