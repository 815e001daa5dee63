"""Fixes for the drain's measurement: a backlog on the stream, the same rows as a binary COPY, and drivers on a node.

The stream's format is the one that storage/lua/tick.lua writes; what is streamed over sockets goes its real way.
"""

from __future__ import annotations

import asyncio
import io
import random
import struct
import time
import uuid
from typing import Any, Self

import msgpack

from loadtest.client import Client, Pool
from loadtest.sample import Sample
from loadtest.stage import make_people, put_area

#: All ticks at one moment: packed fixes and how many they are, in turn.
FILL = """
for i = 1, #ARGV, 2 do
  local number = redis.call('INCRBY', KEYS[2], ARGV[i + 1])
  redis.call('XADD', KEYS[1], '*', 'node', 'bench', 'boot', 'bench', 'tick', i, 'count', ARGV[i + 1],
             'number', number, 'b', ARGV[i])
end
"""
EAST, NORTH, EDGE_DEG = 20.0, 40.0, 0.2
BUSY_SHARE = 0.3  # of the drivers carry a job
EPOCH_2000_MS = 946_684_800_000
_ROW = struct.Struct(">hi16siqiqiBIIddififif")
_JOB = struct.Struct(">i16s")
_NO_JOB = struct.pack(">i", -1)

Fix = tuple[Any, ...]


class Backlog:
    """Fixes as `drivers` send them by turns, each round of later moments than the one before."""

    def __init__(self, drivers: int, rows: int, per_tick: int) -> None:
        self._rows, self._per_tick = rows, per_tick
        self._chance = random.Random(1)
        self._drivers = [str(uuid.uuid4()) for _ in range(drivers)]
        self._jobs = [
            str(uuid.uuid4()) if self._chance.random() < BUSY_SHARE else None for _ in self._drivers
        ]
        self._seq = 0

    def fixes(self) -> list[Fix]:
        chance, now_ms = self._chance, int(time.time() * 1000)
        found = []
        for i in range(self._rows):
            self._seq += 1
            who = self._seq % len(self._drivers)
            latitude, longitude = NORTH + chance.random() * EDGE_DEG, EAST + chance.random() * EDGE_DEG
            motion = (chance.random() * 360, chance.random() * 20, 5.0 + chance.random() * 10)
            ts_ms = now_ms - (self._rows - i) // 50
            found.append(
                (self._drivers[who], ts_ms, self._seq, latitude, longitude, *motion, self._jobs[who])
            )
        return found

    def ticks(self) -> list[bytes | int]:
        """Packed ticks, each followed by its count."""
        fixes, arguments = self.fixes(), list[bytes | int]()
        for i in range(0, len(fixes), self._per_tick):
            tick = fixes[i : i + self._per_tick]
            arguments += [msgpack.packb(tick), len(tick)]
        return arguments


def copy_of(fixes: list[Fix]) -> io.BytesIO:
    """The rows of `locations`, all columns in their order, in PostgreSQL's binary COPY format."""
    ids: dict[str, bytes] = {}
    parts = [b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)]
    for driver, ts_ms, seq, latitude, longitude, heading, speed, accuracy, job in fixes:
        for each in (driver, job):
            if each is not None and each not in ids:
                ids[each] = uuid.UUID(each).bytes
        us = (ts_ms - EPOCH_2000_MS) * 1000
        point = (25, 0, 0x20000001, 4326, longitude, latitude)
        parts.append(_ROW.pack(8, 16, ids[driver], 8, us, 8, seq, *point, 4, heading, 4, speed, 4, accuracy))
        parts.append(_NO_JOB if job is None else _JOB.pack(16, ids[job]))
    return io.BytesIO(b"".join([*parts, struct.pack(">h", -1)]))


class Served:
    """Drivers on the node who stream while the block runs, on an open loop; every answer is timed."""

    def __init__(self, clients: list[Client], fixes_s: float) -> None:
        self._clients, self._fixes_s = clients, fixes_s
        self._work: list[asyncio.Task[None]] = []
        self._wall_s, self._began_s = 0.0, 0.0
        self.acks = Sample()

    @classmethod
    async def ready(cls, pool: Pool, drivers: int, fixes_s: float) -> Self:
        """An area, and `drivers` online in it."""
        west, south, east, north = EAST, NORTH, EAST + EDGE_DEG, NORTH + EDGE_DEG
        ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
        await put_area(
            {
                "type": "Feature",
                "properties": {
                    "id": "bench",
                    "name": "Bench",
                    "currency": "USD",
                    "policy": {"stale_s": 3600},
                },
                "geometry": {"type": "Polygon", "coordinates": [ring]},
            }
        )
        clients = [await pool.connect(each.token) for each in await make_people("driver", drivers)]
        for client in clients:
            await client.call("go_online", {"classes": ["economy"], **_place(0.0)})
        return cls(clients, fixes_s)

    def rate(self) -> float:
        """Fixes a second that were sent and answered."""
        return self.acks.count / self._wall_s if self._wall_s else 0.0

    async def __aenter__(self) -> None:
        self._began_s = time.monotonic()
        pause_s = len(self._clients) / self._fixes_s
        self._work = [
            asyncio.create_task(self._stream(client, i / self._fixes_s, pause_s))
            for i, client in enumerate(self._clients)
        ]

    async def __aexit__(self, *_: object) -> None:
        self._wall_s += time.monotonic() - self._began_s
        for task in self._work:
            task.cancel()
        ended = await asyncio.gather(*self._work, return_exceptions=True)
        if lost := [each for each in ended if isinstance(each, Exception)]:
            raise lost[0]

    async def _stream(self, client: Client, first_s: float, pause_s: float) -> None:
        at_s, north_deg = time.monotonic() + first_s, 0.0
        while True:
            await asyncio.sleep(max(0.0, at_s - time.monotonic()))
            north_deg = (north_deg + 1e-4 * pause_s) % (EDGE_DEG / 2)
            began_s = time.monotonic()
            await client.call("location_update", {**_place(north_deg), "heading": 0.0, "speed": 11.0})
            self.acks.add((time.monotonic() - began_s) * 1000)
            at_s += pause_s


def _place(north_deg: float) -> dict[str, float]:
    return {"latitude": NORTH + 0.01 + north_deg, "longitude": EAST + EDGE_DEG / 2}
