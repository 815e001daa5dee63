"""Attachments, where they are allowed: there and back, in acks, over polling; and what is none closes its client."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import wait_until
from tests.transportkit import TWO, Line, Poller, masked, served, server, suite_server


async def test_attachments_there_and_back() -> None:
    async with served(suite_server(attachments_max=2)) as port, Line.entered(port) as line:
        line.send(TWO, b"\x01\x02\x03", b"\x04\x05\x06")
        assert await line.says() == TWO.replace("message", "message-back")
        assert [await line.hears(), await line.hears()] == [b"\x01\x02\x03", b"\x04\x05\x06"]
        line.send(TWO.replace("452-", "452-789").replace("message", "message-with-ack"), b"\x01", b"")
        answer = '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        assert [await line.hears() for _ in range(3)] == [answer, b"\x01", b""]
        nested = '451-["message",{"a":[{"_placeholder":true,"num":0},{"_placeholder":false}]}]'
        line.send(nested, b"\x07")
        assert await line.says() == nested.replace("message", "message-back")
        assert await line.hears() == b"\x07"


async def test_attachments_over_polling() -> None:
    async with served(suite_server(attachments_max=2)) as port, Poller.opened(port) as poller:
        await poller.post("40")
        await poller.polls()
        assert await poller.post(TWO, "bAQID", "bBAUG") == (200, "ok")
        assert await poller.polls() == [TWO.replace("message", "message-back"), "bAQID", "bBAUG"]


async def test_attachments_in_an_ack() -> None:
    sio, _ = server(attachments_max=1)
    got: list[Any] = []
    async with served(sio) as port, Line.entered(port) as line:
        (sid,) = sio.manager.clients["/"]
        await sio.emit("ask", b"\x00", to=sid, callback=got.append)
        assert [await line.hears(), await line.hears()] == [
            '451-1["ask",{"_placeholder":true,"num":0}]',
            b"\x00",
        ]
        line.send('461-1[{"_placeholder":true,"num":0}]', b"\x01")
        await wait_until(lambda: got == [b"\x01"])


ATTACHED = '451-["x",{"_placeholder":true,"num":0}]'
BAD_ATTACHMENTS = {
    "an event between": [ATTACHED, '42["y"]', b""], "another of the kind between": [ATTACHED, ATTACHED],
    "one of nothing": [b"\x01"], "a number that has none": [ATTACHED.replace(":0", ":1"), b""],
    "a negative number": [ATTACHED.replace(":0", ":-1"), b""],
    "a number that is none": [ATTACHED.replace(":0", ':"0"'), b""],
    "more than may be": [ATTACHED.replace("451", "453")], "none announced": [ATTACHED.replace("451", "450")],
    "longer than may be": [ATTACHED.replace("451", "452"), b"x" * 600, b"x" * 600],
    "a reserved name": [ATTACHED.replace("x", "connect"), b""],
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_ATTACHMENTS)
async def test_attachments_of_rubbish_close(case: str) -> None:
    sio, noted = server(attachments_max=2, max_http_buffer_size=1000)
    async with served(sio) as port, Line.entered(port) as line:
        line.send(*BAD_ATTACHMENTS[case])
        assert await line.ends(0.5)
        await wait_until(lambda: noted, 0.5)
        assert [event for event, *_ in noted] == ["disconnect"]


async def test_heartbeats_may_come_between_a_packet_and_its_attachments() -> None:
    sio, noted = server(attachments_max=1)
    async with served(sio) as port, Line.entered(port) as line:
        line.send(ATTACHED)
        line.writer.write(masked("3") + masked(b"", 0x9))
        line.send(b"\x01")
        await wait_until(lambda: noted == [("x", b"\x01")])
