"""Socket.IO as its protocol has it, over a websocket of bytes and polling: namespaces, acks, attachments, refusals.

The same ground as the public suite socketio/socket.io-protocol, and what it leaves out.
"""

from __future__ import annotations

from typing import Any

import pytest
from socketio.exceptions import ConnectionRefusedError as Refused

from rooms.transport import SocketIO, engine
from tests.support import wait_until
from tests.transportkit import TWO, Line, Poller, served, server, suite_server

# CONNECT


@pytest.mark.parametrize("namespace", ["", "/custom,", "/custom?token=1,"])
@pytest.mark.parametrize("auth", ["", "{}", '{"token":"123"}'])
async def test_connect(namespace: str, auth: str) -> None:
    sio = suite_server()
    async with served(sio) as port, Line.opened(port) as line:
        await line.says()
        line.send(f"40{namespace}{auth}")
        answer = await line.says()
        shown = "/custom," if namespace else ""
        (sid,) = sio.auths
        assert answer == f'40{shown}{{"sid":"{sid}"}}'
        assert sio.auths[sid] == ({"token": "123"} if "token" in auth else None)


@pytest.mark.parametrize("form", ["40/custom", "40/custom,"])
async def test_a_namespace_needs_no_comma_behind_it(form: str) -> None:
    async with served(suite_server()) as port, Line.opened(port) as line:
        await line.says()
        line.send(form)
        assert (await line.says()).startswith('40/custom,{"sid":')


async def test_an_unknown_namespace_is_refused_and_the_known_ones_go_on() -> None:
    async with served(suite_server()) as port, Line.entered(port) as line:
        line.send("40/random")
        assert await line.says() == '44/random,{"message":"Invalid namespace"}'
        line.send('42["message","here"]')
        assert await line.says() == '42["message-back","here"]'


async def test_a_second_connect_is_refused() -> None:
    async with served(suite_server()) as port, Line.entered(port) as line:
        line.send("40")
        assert (await line.says()).startswith("44")
        line.send('42["message",1]')
        assert await line.says() == '42["message-back",1]'


@pytest.mark.parametrize("how", ["says False", "raises", "raises with data"])
async def test_a_connect_that_is_refused_leaves_nothing(how: str) -> None:
    sio, noted = server()

    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> bool:
        if how == "says False":
            return False
        raise Refused("no", {"code": 7}) if "data" in how else Refused()

    sio.on("connect", connect)
    async with served(sio) as port, Line.opened(port) as line:
        await line.says()
        line.send("40")
        answer = await line.says()
        said = {"raises with data": '44{"message":"no","data":{"code":7}}'}
        assert answer == said.get(how, '44{"message":"Connection rejected by server"}')
        assert not sio.manager.clients
        line.send('42["message"]')
        assert await line.ends(1.0), "an event of one who is not in"
        assert noted == []


async def test_who_says_no_connect_is_dropped_and_so_is_who_left_or_was_put_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "CONNECT_S", 0.3)
    sio, _ = server()
    async with served(sio) as port, Line.opened(port) as silent, Line.entered(port) as member:
        async with Line.entered(port) as left, Line.entered(port) as put_out, Poller.opened(port) as poller:
            assert await silent.ends(2.0)
            member.send('421["hi"]')
            assert await member.says() == "431[]"
            left.send("41")
            assert await left.ends(2.0)
            mine = next(iter(sio.manager.clients["/"]))
            for sid in list(sio.manager.clients["/"]):
                if sid != mine:
                    await sio.disconnect(sid)
            assert await put_out.says() == "41"
            assert await put_out.ends(2.0)
            assert (await poller.get())[0] in (200, 400) and (await poller.get())[0] == 400
        member.send('422["hi"]')
        assert await member.says() == "432[]"


async def test_a_connect_handler_that_fails_does_not_leave_a_client_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "CONNECT_S", 0.3)
    sio, _ = server()

    async def connect(sid: str, environ: dict[str, Any], auth: Any) -> None:
        raise RuntimeError("a fault of the application")

    sio.on("connect", connect)
    async with served(sio) as port, Line.opened(port) as line:
        await line.says()
        line.send("40")
        assert await line.ends(2.0)
        await wait_until(lambda: not sio.manager.clients and not sio.eio.sockets and not sio.environ)


# DISCONNECT


async def test_leaving_the_main_namespace_keeps_the_connection() -> None:
    sio, noted = server(ping_interval=0.2, ping_timeout=0.3)
    async with served(sio) as port, Line.entered(port) as line:
        line.send("41")
        await wait_until(lambda: noted == [("disconnect", "client disconnect")])
        assert (await line.frame()) == (1, b"2")
        line.send("3", "40")
        assert (await line.says()).startswith('40{"sid":')


async def test_leaving_a_custom_namespace_keeps_the_main_one() -> None:
    async with served(suite_server()) as port, Line.entered(port) as line:
        line.send("40/custom")
        assert (await line.says()).startswith("40/custom,")
        line.send('42/custom,["message","there"]')
        assert await line.says() == '42/custom,["message-back","there"]'
        line.send("41/custom,", '42["message","message to main namespace"]')
        assert await line.says() == '42["message-back","message to main namespace"]'
        line.send('42/custom,["message","gone"]')
        assert await line.ends(1.0)


async def test_the_server_puts_one_out_of_a_namespace() -> None:
    sio, noted = server()
    async with served(sio) as port, Line.entered(port) as line:
        (sid,) = sio.manager.clients["/"]
        await sio.disconnect(sid)
        assert await line.says() == "41"
        assert noted == [("disconnect", "server disconnect")] and not sio.manager.clients
        await sio.emit("news", 1)
        await sio.emit("news", 1, to=sid)


# Events


async def test_an_event_and_its_arguments() -> None:
    async with served(suite_server()) as port, Line.entered(port) as line:
        for arguments in (
            '1,"2",{"3":[true]}',
            '"\\u20ac \\\\ \\" \\n"',
            "null",
            "-1.5e3,[[[[]]]]",
            '"' + "x" * 70_000 + '"',
        ):
            line.send(f'42["message",{arguments}]')
            heard = await line.says()
            assert heard.startswith('42["message-back",')
            if "e3" not in arguments:
                assert heard == f'42["message-back",{arguments}]'
        line.send('42["message"]')
        assert await line.says() == '42["message-back"]'


@pytest.mark.parametrize("ack", ["0", "456", "999999999999999"])
async def test_an_event_with_an_ack(ack: str) -> None:
    async with served(suite_server()) as port, Line.entered(port) as line:
        line.send(f'42{ack}["message-with-ack",1,"2",{{"3":[false]}}]')
        assert await line.says() == f'43{ack}[1,"2",{{"3":[false]}}]'


async def test_acks_of_answers_of_every_kind_and_of_an_event_nobody_handles() -> None:
    sio = SocketIO()
    answers = {"nothing": None, "one": 7, "two": (1, 2), "a list": [1, 2], "an object": {"a": 1}}
    for name, answer in answers.items():
        sio.on(name, lambda sid, answer=answer: answer)
    async with served(sio) as port, Line.entered(port) as line:
        for ack, name in enumerate(answers):
            line.send(f'42{ack}["{name}"]')
        shown = ["[]", "[7]", "[1,2]", "[[1,2]]", '[{"a":1}]']
        assert [await line.says() for _ in shown] == [f"43{ack}{text}" for ack, text in enumerate(shown)]
        line.send('429["nobody"]', '428["one"]')
        assert await line.says() == "438[7]"


@pytest.mark.parametrize("kind", ["def", "async def"])
async def test_a_handler_that_fails_or_answers_what_is_no_json_harms_nobody(kind: str) -> None:
    sio, _ = server()

    def fails(sid: str, answer: str) -> Any:
        if answer == "raise":
            raise RuntimeError("a fault of the application")
        return object()

    async def fails_later(sid: str, answer: str) -> Any:
        return fails(sid, answer)

    sio.on("fails", fails if kind == "def" else fails_later)
    async with served(sio) as port, Line.entered(port) as line:
        line.send('421["fails","raise"]', '422["next"]', '423["fails","object"]', '424["next"]')
        assert [await line.says(), await line.says()] == ["432[]", "434[]"]


async def test_the_server_asks_for_acks() -> None:
    sio, _ = server()
    got: list[tuple[Any, ...]] = []
    async with served(sio) as port, Line.entered(port) as line, Line.entered(port) as other:
        first = next(iter(sio.manager.clients["/"]))
        for _ in range(2):
            await sio.emit("ask", {"a": 1}, to=first, callback=lambda *answer: got.append(answer))
        assert [await line.says(), await line.says()] == ['421["ask",{"a":1}]', '422["ask",{"a":1}]']
        other.send("431[]")  # of another's question
        line.send("437[]", '432["x",1]', '432["again"]', "431[]")
        await wait_until(lambda: got == [("x", 1), ()])


HOSTILE_ACKS = ["430[]", "430[1]", "43[]", "431", "431{}", "43/other,1[]", '431["too","many"]']


@pytest.mark.parametrize("ack", HOSTILE_ACKS)
async def test_an_ack_of_rubbish_harms_its_client_at_most(ack: str) -> None:
    """0 is where python-socketio keeps its counter, and a callback may not take what the client gives it."""
    sio, _noted = server()
    async with served(sio) as port, Line.entered(port) as line:
        (sid,) = sio.manager.clients["/"]
        await sio.emit("ask", to=sid, callback=lambda: None)
        assert await line.says() == '421["ask"]'
        line.send(ack, '427["still here"]')
        answer = await line.hears()
        assert answer == "437[]" or (answer is None and not sio.manager.clients)
        if answer is not None:
            await sio.emit("ask", to=sid, callback=lambda: None)
            assert await line.says() == '422["ask"]'


RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
RUBBISH = [
    "4", "4abc", "44{}", "42", "42{}", "42[]", "42[1]", "42[null]", '42abc["x"]', '42["x"', '42["x"]x', '42["x",NaN]',
    '42["x",1e999]', '42["x",-Infinity]', '42["x","\\ud800"]', '42/custom,["x"]', "47", "46[]", "45", '4²["x"]',
    f'42["x",{"[" * 8}{"]" * 8}]', f'42["x",{"[" * 50_000}', f'421{"0" * 20}["x"]', "40[]", '40"x"',
    TWO, '459999999999-["x",{"_placeholder":true,"num":0}]', *[f'42["{name}"]' for name in RESERVED],
]  # fmt: skip


@pytest.mark.parametrize("packet", RUBBISH, ids=lambda packet: packet[:24])
async def test_rubbish_closes_at_once_and_no_handler_hears_it(packet: str) -> None:
    sio, noted = server()
    async with served(sio) as port, Line.entered(port) as line:
        line.send(packet, '42["behind it"]')
        assert await line.ends(0.5)
        await wait_until(lambda: noted, 0.5)
        assert [event for event, *_ in noted] == ["disconnect"] and not sio.manager.clients


@pytest.mark.parametrize("packet", ["42[1]", "4abc", '42["connect"]', TWO])
async def test_rubbish_over_polling(packet: str) -> None:
    sio, noted = server()
    async with served(sio) as port, Poller.opened(port) as poller:
        await poller.post("40")
        assert (await poller.polls())[0].startswith('40{"sid":')
        assert (await poller.post('42["before"]', packet, '42["behind"]'))[0] == 400
        assert (await poller.get())[0] == 400
        await wait_until(lambda: len(noted) == 2)
        assert noted[0] == ("before",) and noted[1][0] == "disconnect"


async def test_events_before_connect_close() -> None:
    for packet in ('42["message"]', "431[]", TWO):
        sio, noted = server(attachments_max=4)
        async with served(sio) as port, Line.opened(port) as line:
            await line.says()
            line.send(packet)
            assert await line.ends(0.5) and noted == []
