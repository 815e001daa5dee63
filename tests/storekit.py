"""What tests of the scripts share: writes as of now, facts to tell, and all that stands in Redis."""

from typing import Any

from redis.asyncio import Redis

from storage.facts import Fact
from storage.log import Log, Write
from storage.records import Job, Room
from storage.roomlog import Asked, RoomLog
from storage.shard import Shard
from tests.rules.build import JOB, a_job

S = "t"
RIDE = Room(f"ride:{JOB}")


async def snapshot(redis: "Redis") -> dict[str, Any]:
    """Everything that is in Redis, but for what passes by itself."""
    found = {}
    for key in await redis.keys("*"):
        found[key.decode()] = await redis.dump(key)
    return found


async def write(log: Log, *put: Any, room: str = RIDE, **more: Any) -> Write:
    """A write as of now; commands of the system, unless told otherwise."""
    loaded = await log.load([])
    as_of = {"life": loaded.life, "loaded_ms": loaded.now_ms}
    return Write(**{**as_of, "room": Room(room), "by": "system", "put": put, **more})


def told(room: str = RIDE, event: str = "new_message", **payload: Any) -> Fact:
    return Fact(room=Room(room), event=event, payload={"n": 1, **payload})


async def head(shard: Shard, room: str) -> tuple[str, int]:
    """Where a room stands, which so is announced."""
    (standing,) = await RoomLog(shard).stand([Asked(Room(room))])
    assert standing is not None
    return standing.epoch, standing.seq


def fresh(kind: str = "ride", state: str = "searching", **more: Any) -> Job:
    return a_job(kind, state, version=0, **more)
