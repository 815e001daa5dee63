"""A node that is told to go: nothing acked is lost, nobody is stormed, and its clients are elsewhere in seconds."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import socketio
from redis.asyncio import Redis

from rooms.transport.engine import END_S
from server.leaving import SPREAD_S
from storage import keys
from tests.line import line_to
from tests.phones import Payload, assigned_ride, new_id, phone, raw
from tests.stack import RunningStack, private_stack
from tests.support import fresh_redis, wait_until
from tests.test_coming_back import Returning, a_node
from tests.test_workers import START_S, Parent, parent, port_with_room

RIDES = 8
PAUSE_S, ANSWER_S = 0.1, 3.0
ELSEWHERE_S, GONE_S = 8.0, 10.0
LINES_BETWEEN = 100


class Talker(Returning):
    """Says line after line of its ride, each under its id until it is acked."""

    def __init__(self, person: Any) -> None:
        super().__init__(person)
        self.acked: list[str] = []
        self.codes: Counter[str] = Counter()

    async def talk(self, ride: str, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await self._say({"id": new_id(), "rideId": ride, "message": "On my way"})
            await _pause(stop)

    async def _say(self, line: Payload) -> None:
        while True:
            try:
                answer = await self.sio.call("send_message", line, timeout=ANSWER_S)
            except (socketio.exceptions.TimeoutError, socketio.exceptions.BadNamespaceError) as error:
                self.codes[type(error).__name__] += 1
                await wait_until(lambda: self.sio.connected, ELSEWHERE_S)
                continue
            if answer["ok"]:
                self.acked.append(line["id"])
                return
            code = answer["error"]["code"]
            assert code in ("draining", "unavailable", "rate_limited"), answer
            self.codes[code] += 1
            await _pause(asyncio.Event())

    @property
    def node(self) -> str:
        return str(self.heard("connected")[-1]["node"]) if self.sio.connected else ""


async def _pause(stop: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(stop.wait(), PAUSE_S)
    except TimeoutError:
        pass


@asynccontextmanager
async def a_process(stack: RunningStack, name: str, port: int, own: int) -> AsyncIterator[Parent]:
    """A node that shares `port`, once it is ready."""
    env = {"DISPATCH_NODE": name, "DISPATCH_REUSE_PORT": "true", "DISPATCH_OWN_PORT": str(own)}
    async with parent(stack, port=port, **env) as made:
        await wait_until(stack.at(own).ready, START_S)
        yield made


async def told_lines(stack: RunningStack) -> Counter[str]:
    """How often each line stands in the log."""
    redis = Redis.from_url(stack.redis_url)
    try:
        entries = await redis.xrange(keys.facts("main"))
    finally:
        await redis.aclose()
    said = [json.loads(fields[b"p"])[1] for _, fields in entries if fields.get(b"e") == b"new_message"]
    return Counter(payload["id"] for payload in said if "id" in payload)  # others pour what has none


async def goes(made: Parent, name: str, talkers: list[Talker], ready_at: RunningStack) -> None:
    """SIGTERM: not ready at once, its clients with another node within seconds, gone in time."""
    mine = [one for one in talkers if one.node == name]
    assert mine, f"nobody is on {name}"
    began_s = time.monotonic()
    made.process.send_signal(signal.SIGTERM)
    await wait_until(lambda: not_ready(ready_at), 1.0)
    await wait_until(lambda: all(one.node not in ("", name) for one in talkers), ELSEWHERE_S)
    elsewhere_s = time.monotonic() - began_s
    async with asyncio.timeout(GONE_S - (time.monotonic() - began_s)):
        assert await made.process.wait() == 0
    print(f"{name}: {len(mine)} elsewhere in {elsewhere_s:.1f} s, gone in {time.monotonic() - began_s:.1f} s")
    for one in mine:
        assert one.heard("server_draining") and not one.heard("disconnect", reason="io server disconnect")


async def not_ready(stack: RunningStack) -> bool:
    return not await stack.ready()


async def test_a_rolling_restart_under_load(stack: RunningStack) -> None:
    """Two nodes on one port, one after the other told to go and started again, while everybody talks."""
    port = port_with_room(2)
    there, spot = stack.at(port), stack.spot("patient")
    drivers = await stack.people("driver", RIDES)
    passengers = await stack.people("passenger", RIDES)
    talkers: list[Talker] = []
    stop = asyncio.Event()
    async with AsyncExitStack() as nodes, AsyncExitStack() as clients, asyncio.TaskGroup() as talking:
        first = await nodes.enter_async_context(a_process(stack, "n_1", port, port + 1))
        second = await nodes.enter_async_context(a_process(stack, "n_2", port, port + 2))
        for driver_of, passenger_of in zip(drivers, passengers, strict=True):
            driver, passenger = Talker(driver_of), Talker(passenger_of)
            for one in (driver, passenger):
                talkers.append(one)
                await one.connect(there.url)
                clients.push_async_callback(one.close)
            ride = await assigned_ride(passenger, driver, spot)
            for one in (driver, passenger):
                talking.create_task(one.talk(ride, stop))
        try:
            await lines(talkers)
            await goes(first, "n_1", talkers, stack.at(port + 1))
            await lines(talkers)
            first = await nodes.enter_async_context(a_process(stack, "n_1", port, port + 1))
            await goes(second, "n_2", talkers, stack.at(port + 2))
            await lines(talkers)
        finally:
            stop.set()
    acked = [id_ for one in talkers for id_ in one.acked]
    assert len(set(acked)) == len(acked)
    told = await told_lines(stack)
    assert [id_ for id_ in acked if told[id_] != 1] == []
    print(f"{len(acked)} lines, asked again: {sum((one.codes for one in talkers), Counter())}")


async def lines(talkers: list[Talker]) -> None:
    """So many more have been acked."""
    before = sum(len(one.acked) for one in talkers)
    await wait_until(lambda: sum(len(one.acked) for one in talkers) > before + LINES_BETWEEN, START_S)


@asynccontextmanager
async def leaving(nodes: AsyncExitStack) -> AsyncIterator[asyncio.Task[None]]:
    """The node of this stack is told to go; at the end it has gone."""
    going = asyncio.ensure_future(nodes.aclose())
    try:
        yield going
    finally:
        await going


async def test_a_command_at_work_is_finished_and_answered(stack: RunningStack) -> None:
    """It waits for PostgreSQL when the node is told to go. What is new meanwhile is refused."""
    spot, ride = stack.spot("patient"), new_id()
    with tempfile.TemporaryDirectory(prefix="aryv-line-") as folder:
        async with line_to(stack.database_url, Path(folder)) as (line, url), AsyncExitStack() as nodes:
            node = await nodes.enter_async_context(a_node(stack, database_url=url))
            there = stack.at(node.port)
            async with phone(there, "passenger") as one, phone(there, "passenger") as other:
                line.hold()
                asked = {"rideId": ride, "class": "economy", **spot.trip}
                working = asyncio.ensure_future(one.ask("request_ride", asked))
                await wait_until(lambda: node.gate.busy and line.stopped)
                async with leaving(nodes):
                    await other.hears("server_draining")
                    assert await other.refused("request_ride", asked | {"rideId": new_id()}) == "draining"
                    line.mend()
                    assert (await working)["ok"]
                    await wait_until(lambda: not one.sio.connected and not other.sio.connected, GONE_S)
    rows = await stack.drained("select state from rides where id = $1", ride)
    assert len(rows) == 1


async def test_many_are_closed_in_batches(stack: RunningStack) -> None:
    """When the first one is closed most are still there; all are closed in time."""
    people = await stack.people("passenger", 150)
    async with AsyncExitStack() as nodes, AsyncExitStack() as clients:
        node = await nodes.enter_async_context(a_node(stack))
        sockets = [
            await clients.enter_async_context(raw(stack.at(node.port).url, person.token)) for person in people
        ]
        closed: list[float] = []

        async def watch(one: Any) -> None:
            while await one.frame() is not None:
                pass
            closed.append(time.monotonic())

        async with asyncio.TaskGroup() as watching, leaving(nodes):
            for one in sockets:
                watching.create_task(watch(one))
            await wait_until(lambda: closed, GONE_S)
            assert len(closed) < len(sockets) / 2
        assert len(closed) == len(sockets)
        assert 0.3 < closed[-1] - closed[0] < SPREAD_S + 2 * END_S


async def test_who_does_not_read_is_closed_too(stack: RunningStack) -> None:
    person = await stack.person("passenger")
    async with AsyncExitStack() as nodes:
        node = await nodes.enter_async_context(a_node(stack))
        async with raw(stack.at(node.port).url, person.token):
            (session,) = node.registry.all()
            for _ in range(200):
                session.say("notification", {"text": "x" * 60_000})
            async with leaving(nodes):
                await wait_until(lambda: not node.registry.sessions, 3 * END_S)


async def test_a_redis_that_hangs_keeps_nobody() -> None:
    """The command at work has no answer but `unavailable`; the process is gone in time all the same."""
    port = port_with_room(1)
    with fresh_redis() as server:
        pid = int(server.pid_file.read_text().split()[0])
        async with (
            private_stack(server.url) as stack,
            a_process(stack, "n_1", port, port + 1) as made,
            phone(stack.at(port), "driver") as driver,
            phone(stack.at(port), "passenger") as other,
        ):
            os.kill(pid, signal.SIGSTOP)
            try:
                asked = {"classes": ["economy"], **stack.spot().at()}
                working = asyncio.ensure_future(driver.ask("go_online", asked))
                await other.call("ping")  # by its answer the node has heard both
                made.process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(GONE_S):
                    await made.process.wait()
                assert (await working)["error"]["code"] == "unavailable"
            finally:
                os.kill(pid, signal.SIGCONT)


HANGING = """
import asyncio, sys
from server import app, cli
async def hangs(*_): await asyncio.Event().wait()
app.leave, app.LEAVE_MOST_S = hangs, 1
sys.exit(cli.main(["serve"]))
"""


async def test_the_kernel_ends_a_process_that_hangs(stack: RunningStack) -> None:
    async with parent(stack, program=("-c", HANGING)) as made:
        await wait_until(lambda: "listening on" in made.log, START_S)
        made.process.send_signal(signal.SIGTERM)
        assert await made.ended() == -signal.SIGALRM


async def test_its_drivers_leave_the_index_with_it(stack: RunningStack) -> None:
    """What takes them out waits for the next tick, which here comes half a second after the one before."""
    spot = stack.spot()
    redis = Redis.from_url(stack.redis_url)
    async with AsyncExitStack() as node, AsyncExitStack() as phones:
        there = stack.at((await node.enter_async_context(a_node(stack, tick_ms=500))).port)
        drivers = [await phones.enter_async_context(phone(there, "driver")) for _ in range(3)]
        for number, driver in enumerate(drivers):
            await driver.call("go_online", {"classes": ["economy"], **spot.at(10.0 * number)})
        ids = {driver.person.id.encode() for driver in drivers}

        async def shown() -> bool:
            return ids <= set(await redis.hkeys(keys.spot("main")))

        await wait_until(shown)
        for driver in drivers:
            await driver.call("location_update", spot.at(90.0))
        by_http = await stack.person("driver")
        asked = {"classes": ["economy"], **spot.at(50.0)}
        assert (await there.http("POST", "/api/commands/go_online", by_http.token, json=asked))[0] == 200
        ids.add(by_http.id.encode())
        await wait_until(shown)
        await node.aclose()
        assert not ids & set(await redis.hkeys(keys.spot("main")))
    await redis.aclose()
