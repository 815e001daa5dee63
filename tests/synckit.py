"""A phone that counts (tests/follower.py) what it hears of a ride, and facts poured into a room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from storage.facts import Fact
from storage.log import Log
from storage.records import Room
from storage.shard import Shard
from tests.follower import Follower
from tests.phones import Phone, assigned_ride, phone
from tests.stack import Person, RunningStack, Spot
from tests.storekit import write

SHARD = "main"


class Keeper(Phone):
    """A phone that counts: what it hears goes to its follower, and it asks for what that lacks."""

    def __init__(self, person: Person, follower: Follower | None = None) -> None:
        super().__init__(person)
        self.follower = follower or Follower()

    def _hear(self, event: str, *args: Any) -> None:
        super()._hear(event, *args)
        if args:
            self.follower.hear(event, args[0])

    async def sync(self) -> dict[str, Any]:
        answer = await self.ask("sync", self.follower.wants())
        self.follower.answered(answer)
        return answer

    async def again(self, url: str, transport: str = "websocket") -> Keeper:
        """Another connection of the same phone; what becomes of the first is nobody's business any more."""
        next_one = Keeper(self.person, self.follower)
        self.follower = Follower()
        await next_one.connect(url, transport)
        return next_one

    def lines(self, ride: str) -> list[str]:
        (stretch,) = self.follower.stretches(f"ride:{ride}")
        return [fact["message"] for fact in stretch if "message" in fact]


async def say(driver: Phone, ride: str, *lines: str) -> None:
    for line in lines:
        await driver.call("send_message", {"rideId": ride, "message": line})


@asynccontextmanager
async def the_log(stack: RunningStack) -> AsyncIterator[Callable[..., Any]]:
    """Says many facts in a room at once, as no client may."""
    shard = Shard(SHARD, stack.redis_url)
    log = Log(shard)

    async def say_many(room: str, count: int, **payload: Any) -> None:
        for first in range(0, count, 50):
            facts = tuple(
                Fact(room=Room(room), event="new_message", payload={"message": str(n), **payload})
                for n in range(first, min(count, first + 50))
            )
            await log.commit(await write(log, room=room, facts=facts))

    try:
        yield say_many
    finally:
        await shard.close()


@asynccontextmanager
async def following(
    stack: RunningStack, spot: Spot, url: str = ""
) -> AsyncIterator[tuple[Phone, Keeper, str]]:
    """A driver, his passenger, who counts (elsewhere, with a `url`), and their ride."""
    passenger = Keeper(await stack.person("passenger"))
    async with phone(stack, "driver") as driver, AsyncExitStack() as closing:
        await passenger.connect(url or stack.url)
        closing.push_async_callback(passenger.close)
        yield driver, passenger, await assigned_ride(passenger, driver, spot)
