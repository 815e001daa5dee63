"""The benches of two nodes as a whole, small (storm, nodes), and the light client that they speak with."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from loadtest.light import Light, Refused, connect
from tests.benchkit import bench
from tests.stack import RunningStack, private_stack
from tests.support import wait_until


async def test_a_small_storm() -> None:
    """Not how fast (other tests share the machine): that all are back, with every room whole, and others are told."""
    words = ("--clients", "40", "--pairs", "2", "--rides", "0.25", "--calm-s", "1")
    async with private_stack() as stack:  # the bench has an area of its own
        _, line, said = await bench(stack, "loadtest.storm", *words)
    assert (line["clients"], line["back"], line["rooms"], line["rooms_lost"]) == (40, 40, 50, 0), said
    assert line["trouble"] == {}, said
    assert all(line["others_before_ms"][what]["count"] for what in ("fix", "line", "heard")), said


async def test_a_short_comparison_of_nodes() -> None:
    words = ("--pairs", "3", "--rate", "24", "--seconds", "1", "--rounds", "1")
    async with private_stack() as stack:
        _, line, said = await bench(stack, "loadtest.nodes", *words)
    assert line["heard_share"] == {"one": 1.0, "two": 1.0}, said
    assert len(line["ratio_rounds"]) == 1 and line["relayed"] >= 40, said


async def test_the_light_client(stack: RunningStack) -> None:
    heard: list[str] = []
    person = await stack.person("passenger")
    client = await connect(stack.url, person.token, lambda event, payload: heard.append(event))
    assert (await client.connected)["userId"] == person.id
    greeting = await client.connected
    seen = [greeting["room"], greeting["epoch"], greeting["seq"]]
    answers = await asyncio.gather(
        client.call("sync", {"rooms": [seen]}), client.call("send_message", {"message": "й" * 70_000})
    )
    assert answers[0]["ok"] and answers[0]["rooms"][0]["recovered"]
    assert answers[1]["error"]["code"] == "too_large"
    client.emit("ping", {})
    await wait_until(lambda: "pong" in heard)
    waiting = client.call("sync", {"rooms": [seen]})
    client.abort()
    for broken in (waiting, client.call("sync", {"rooms": []})):
        with pytest.raises(ConnectionResetError):
            await broken


async def test_the_light_client_is_refused(stack: RunningStack) -> None:
    with pytest.raises(Refused, match="Authentication failed"):
        await connect(stack.url, "not-a-token")


async def test_the_light_client_takes_what_comes_in_pieces() -> None:
    class Line(asyncio.Transport):
        written = b""

        def write(self, data: Any) -> None:
            self.written += bytes(data)

        def abort(self) -> None:
            pass

    heard: list[Any] = []
    line, client = Line(), Light({}, "host", lambda event, payload: heard.append((event, payload)))
    client.connection_made(line)
    long = '42["new_message",{"message":"' + "x" * 70_000 + '"}]'
    short = '42["pong",{}]'
    data = b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\n"
    data += bytes((0x81, 127)) + len(long).to_bytes(8) + long.encode()
    data += bytes((0x81, len(short))) + short.encode() + bytes((0x81, 1)) + b"2"
    for at in range(0, len(data), 7):
        client.data_received(data[at : at + 7])
    assert [event for event, _ in heard] == ["new_message", "pong"]
    assert line.written.endswith(b"\x81\x81\0\0\0\x003")
    client.data_received(b"\x88\x00")
    assert client.lost
