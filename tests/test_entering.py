"""Many come in at once: few questions to PostgreSQL, a few at a time, and whoever is in is heard meanwhile."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loadtest.light import Refused, connect
from rooms import introductions, sockets
from rooms.acquaintances import Acquaintances
from rooms.introductions import Introductions
from rooms.tasks import Tasks
from rooms.transport import engine
from storage.accounts import Accounts, Who
from storage.confirmed import Confirmed
from storage.postgis import DatabaseUnavailable
from storage.shard import Shard
from tests.line import line_to
from tests.stack import HOST, RunningStack, a_node
from tests.support import CHECKOUT, wait_until

NOBODY_KNOWN = Acquaintances(Confirmed(Shard("nobody", "unix:///nowhere/redis.sock")), lambda: 0)
STRANGER = "018f0000-0000-7000-8000-000000000000"


class Asked(Accounts):
    """The real accounts, which count the questions; they wait while `open` is not set."""

    def __init__(self, accounts: Accounts) -> None:
        super().__init__(accounts._database)
        self.open = asyncio.Event()
        self.open.set()
        self.questions: list[int] = []
        self.fault: Exception | None = None

    async def whos(self, asked: Any) -> dict[tuple[str, str], Who]:
        self.questions.append(len(asked))
        await self.open.wait()
        if self.fault is not None:
            raise self.fault
        return await super().whos(asked)


async def test_all_who_come_meanwhile_are_asked_about_together(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(introductions, "AT_ONCE", 20)
    people = await stack.people("driver", 50)
    accounts, tasks = Asked(Accounts(stack.database)), Tasks()
    door = Introductions(accounts, NOBODY_KNOWN, tasks)
    accounts.open.clear()
    asking = [asyncio.ensure_future(door.who(each.session_id, each.id)) for each in people]
    again = asyncio.ensure_future(door.who(people[-1].session_id, people[-1].id))
    stranger = asyncio.ensure_future(door.who(people[0].session_id, STRANGER))
    await wait_until(lambda: accounts.questions)
    asking[1].cancel()
    asking[30].cancel()
    accounts.open.set()
    found = await asyncio.gather(*asking, return_exceptions=True)
    for number, (person, who) in enumerate(zip(people, found, strict=True)):
        if number in (1, 30):
            assert isinstance(who, asyncio.CancelledError)
        else:
            assert isinstance(who, Who) and (who.user_id, who.name) == (person.id, person.name)
            vehicle = who.carrier.vehicle
            assert vehicle is not None and vehicle.id == person.vehicle_id
    assert await again == found[-1] and await stranger is None
    assert accounts.questions == [20, 20, 11]
    assert (await door.who(people[1].session_id, people[1].id)) is not None
    await tasks.stop()


async def test_an_outage_is_everybodys_and_the_next_ask_anew(stack: RunningStack) -> None:
    people = await stack.people("passenger", 3)
    accounts, tasks = Asked(Accounts(stack.database)), Tasks()
    door = Introductions(accounts, NOBODY_KNOWN, tasks)
    for fault in (DatabaseUnavailable("away"), ValueError("refused")):
        accounts.fault = fault
        asking = [door.who(each.session_id, each.id) for each in people]
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(each) for each in found] == [type(fault)] * 3
    accounts.fault = None
    assert (await door.who(people[0].session_id, people[0].id)) is not None
    await tasks.stop()


async def test_a_crowd_waits_for_its_turns(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "ENTERING_AT_ONCE", 3)
    monkeypatch.setattr(engine, "NEW_A_TURN", 1)
    people = await stack.people("passenger", 60)
    inside: Counter[str] = Counter()
    async with a_node(stack) as node:
        enter = node.door.enter

        async def counted(session: Any) -> None:
            inside["now"] += 1
            inside["most"] = max(inside["most"], inside["now"])
            try:
                await wait_until(lambda: inside["most"] >= 3)  # so many do come in at once
                await enter(session)
            finally:
                inside["now"] -= 1

        node.door.enter = counted  # type: ignore[method-assign]
        url = f"http://{HOST}:{node.port}"
        clients = await asyncio.gather(*(connect(url, each.token) for each in people))
        assert inside["most"] == 3 and node.registry.sessions == 60
        for client in clients:
            client.abort()
        await wait_until(lambda: node.registry.sessions == 0)


async def test_who_waits_in_vain_is_dropped_and_comes_again(
    stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL stands still: nobody is refused for good, who goes is forgotten, and all come in when it is back."""
    monkeypatch.setattr(sockets, "ENTERING_AT_ONCE", 2)
    monkeypatch.setattr(sockets, "ENTER_S", 0.5)
    monkeypatch.setattr(engine, "CONNECT_S", 0.1)
    people = await stack.people("passenger", 6)
    async with (
        line_to(stack.database_url, tmp_path) as (line, by_way),
        a_node(stack, database_url=by_way) as node,
    ):
        url = f"http://{HOST}:{node.port}"
        line.hold()
        began_s = asyncio.get_running_loop().time()
        coming = [asyncio.ensure_future(connect(url, each.token)) for each in people]
        for result in await asyncio.gather(*coming, return_exceptions=True):
            assert isinstance(result, ConnectionResetError), result
            assert not isinstance(result, Refused)
        waited_s = asyncio.get_running_loop().time() - began_s
        assert waited_s >= 0.5, "dropped as one who has said nothing"
        assert node.registry.sessions == 0
        line.mend()
        clients = await asyncio.gather(*(connect(url, each.token) for each in people))
        assert node.registry.sessions == len(people)
        for client in clients:
            client.abort()


async def test_a_node_takes_as_many_open_files_as_it_may_and_looks_for_garbage_seldom() -> None:
    """A shell's usual limit of 1024 would keep all others out; a look at a large node's memory stops it."""
    code = (
        "import gc, resource as r; from server.process import open_files, settle_memory;"
        "r.setrlimit(r.RLIMIT_NOFILE, (256, 700)); open_files(); settle_memory();"
        "print(*r.getrlimit(r.RLIMIT_NOFILE), *gc.get_threshold(), gc.get_freeze_count() > 1000)"
    )
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=CHECKOUT, stdout=pipe)
    out, _ = await child.communicate()
    assert out.split() == [b"700", b"700", b"5000", b"10", b"40", b"True"]
