"""What hostile tests share: the bystanders whom nothing may disturb, rubbish, and messages that are nearly right.

`Bystanders` are a driver and his passenger who go on exchanging fixes and chat; what was acked to them must
be in PostGIS in the end, and nothing they said or where they were in any log.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from dispatch.commands import CODES
from rooms.handlers import HANDLERS
from rooms.messages import UUID, Message
from tests.phones import Phone, Raw, assigned_ride, drive, phone, raw
from tests.stack import AREA_DEG, RunningStack, Spot, longitudes_of
from tests.support import wait_until

BYSTANDER_LINE = "BYSTANDERLINE"


class Bystanders:
    def __init__(self, stack: RunningStack, driver: Phone, passenger: Phone, spot: Spot, ride: str) -> None:
        self.stack, self.driver, self.passenger, self.spot, self.ride = stack, driver, passenger, spot, ride
        self.acked: set[str] = set()
        self._steps = 0

    async def undisturbed(self) -> None:
        """A fix and a line each way, heard by the other."""
        self._steps += 1
        await drive(self.driver, self.passenger, self.ride, self.spot.at(300.0 - self._steps * 7.0))
        for speaker, listener in ((self.driver, self.passenger), (self.passenger, self.driver)):
            line = {"rideId": self.ride, "message": f"{BYSTANDER_LINE} {self._steps}"}
            answer = await speaker.call("send_message", line)
            self.acked.add(answer["id"])
            await listener.hears("new_message", id=answer["id"])

    async def all_is_kept(self) -> None:
        async def kept() -> bool:
            rows = await self.stack.rows("select id from chat_messages where job_id = $1", self.ride)
            return {row["id"] for row in rows} == self.acked

        await wait_until(kept, 10.0)
        for client in (self.driver, self.passenger):
            client.assert_gapless(f"ride:{self.ride}")
            assert not client.heard("error")

    def secrets(self) -> list[str]:
        """What no log may hold: tokens, texts, places."""
        here = self.spot.at()
        places = [f"{here['latitude']:.3f}", f"{self.spot.at(300.0)['latitude']:.4f}"]
        return [BYSTANDER_LINE, self.driver.person.token, self.passenger.person.token, *places]


@asynccontextmanager
async def bystanding(stack: RunningStack) -> AsyncIterator[Bystanders]:
    mark, spot = stack.log_mark(), stack.spot("patient")
    async with phone(stack, "driver") as driver, phone(stack, "passenger") as passenger:
        pair = Bystanders(stack, driver, passenger, spot, await assigned_ride(passenger, driver, spot))
        await pair.undisturbed()

        async def alone() -> bool:
            return await connections(stack) == 2  # whom earlier tests left is gone

        await wait_until(alone)
        yield pair
        await pair.undisturbed()
        await pair.all_is_kept()
        log = stack.log_since(mark)
        assert [secret for secret in pair.secrets() if secret in log] == []


async def connections(stack: RunningStack) -> int:
    _, text = await stack.http("GET", "/api/websocket/status")
    return int(json.loads(text)["data"]["totalConnections"])


async def send_frame(client: Raw, frame: str | bytes, *, as_text: bool = False) -> None:
    """A text frame; bytes go as a binary one, or as text that is no UTF-8."""
    if isinstance(frame, str):
        await client.ws.send_str(frame)
    else:
        kind = aiohttp.WSMsgType.TEXT if as_text else aiohttp.WSMsgType.BINARY
        await client.ws.send_frame(frame, kind)


async def outcome(stack: RunningStack, token: str, frame: str | bytes, *, as_text: bool = False) -> str:
    """What became of a frame: `closed`, a refusal's code, or `nothing`; the next event is always answered."""
    async with raw(stack.url, token) as client:
        await send_frame(client, frame, as_text=as_text)
        try:
            await client.ws.send_str('4299["ping"]')
            answered = await client.until("4399[")
        except ConnectionError:
            answered = None
        if answered is None:
            return "closed"
        for said in client.frames:
            if said.startswith('42["error"') or (said.startswith("43") and not said.startswith("4399[")):
                body = json.loads(said[said.index("[") :])
                error = body[1] if said.startswith("42") else body[0].get("error", {})
                if error:
                    assert error["code"] in CODES and error["message"] and len(said) < 600
                    return str(error["code"])
        return "nothing"


# Messages that are nearly right, made from the classes themselves.

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from(["", "\x00", "\ud800", "NaN", "1e999", "__proto__", "{main}:life", "' or 1=1 --", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
#: Stand for the ids of a ride and a parcel that the sender is a party of, put in when the message is sent.
OWN = ("$ride", "$package")
IDS = st.sampled_from(OWN) | st.sampled_from(OWN) | st.uuids().map(str)
WORDS = st.sampled_from(["economy", "parcel", "standard", "small", "arrived", "in_progress", "picked_up", "cancelled",
                         "2030-01-01T00:00:00Z", "1234", *OWN])  # fmt: skip
#: What fields of these names need to be right.
RIGHT: dict[str, list[Any]] = {
    "rideId": ["$ride"],
    "packageId": ["$package"],
    "classes": [["economy"], ["parcel", "economy"]], "class": ["economy"], "phone": ["+380501234567"],
    "size": ["small"], "tier": ["standard"], "status": ["arrived", "in_progress", "arrived_pickup", "picked_up"],
}  # fmt: skip
#: Places within the area "wild", where only such messages happen.
LATITUDES, LONGITUDES = (st.floats(-AREA_DEG / 2, AREA_DEG / 2), st.floats(*longitudes_of("wild")))


def value_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, at and beyond its limits."""
    match kind:
        case inspect.Metadata():
            return value_of(kind.type)
        case inspect.StructType():
            return message_of(kind.cls)
        case inspect.UnionType():
            return st.one_of([value_of(one) for one in kind.types])
        case inspect.LiteralType():
            return st.sampled_from(kind.values)
        case inspect.VarTupleType():
            return st.lists(value_of(kind.item_type), max_size=(kind.max_length or 3) + 1)
        case inspect.BoolType():
            return st.booleans()
        case inspect.FloatType(le=90 | 180):
            place = LATITUDES if kind.le == 90 else LONGITUDES
            return place | place | place | st.sampled_from([kind.le, kind.ge, kind.le + 1, 1e300, 10**18])
        case inspect.IntType() | inspect.FloatType():
            edges = [edge for edge in (kind.ge, kind.le, kind.gt) if edge is not None]
            return st.integers(1, 8) | st.floats(0, 90) | st.sampled_from([*edges, 10**18, -(10**18), 1e300])
        case inspect.StrType():
            return IDS if kind.pattern == UUID else WORDS | st.text(max_size=20)
    return st.none()


def message_of(cls: type[msgspec.Struct]) -> st.SearchStrategy[dict[str, Any]]:
    """A message with its required fields right, mostly, and any of the others; at times one is junk."""
    fields = inspect.type_info(cls).fields  # type: ignore[union-attr]
    values = {field.encode_name: value_of(field.type) for field in fields}
    values |= {name: st.sampled_from(RIGHT[name]) | value for name, value in values.items() if name in RIGHT}
    required = {field.encode_name: values[field.encode_name] for field in fields if field.required}
    optional = {name: value for name, value in values.items() if name not in required}
    job = [{"rideId": OWN[0]}, {"packageId": OWN[1]}] if {"rideId", "packageId"} <= set(optional) else [{}]
    bare = st.tuples(st.fixed_dictionaries(required), st.sampled_from(job)).map(lambda two: two[0] | two[1])
    right = st.fixed_dictionaries(required, optional=optional)
    legacy = sorted(cls.legacy) if issubclass(cls, Message) else []
    names = st.sampled_from([*values, *legacy, "nobody", "__class__", "length"])
    spoiled = st.tuples(right, st.dictionaries(names, JUNK, min_size=1, max_size=2)).map(
        lambda two: two[0] | two[1]
    )
    return st.one_of(bare, right, spoiled)


def arguments_of(event: str) -> st.SearchStrategy[list[Any]]:
    """What might be sent with an event: mostly its one message."""
    message = message_of(HANDLERS[event].message)
    return st.one_of(st.tuples(message), st.tuples(message), st.lists(message | JUNK, max_size=2)).map(list)
