"""Who waits for a driver in a shard, and which node matches them: lists that follow from the records of jobs.

All of it is a hint: a job that is named here may have been taken or called off since; its record says so.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, cast

from storage import keys
from storage.records import JobId, Place
from storage.shard import Shard

NEAR_MOST_M = 20_000.0
_POLE_DEG = 85.05112878  # Redis takes no place nearer to a pole


def lng_lat(place: Place) -> tuple[float, float]:
    """A place as Redis' GEO commands take it."""
    return place.longitude, max(-_POLE_DEG, min(_POLE_DEG, place.latitude))


class Waiting:
    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def near(self, vehicle_class: str, place: Place, radius_m: float, at_most: int) -> int:
        """How many jobs of a class wait within `radius_m` of a place, counted up to `at_most`."""
        command: list[Any] = ["GEOSEARCH", keys.want(self._shard.name, vehicle_class)]
        command += ["FROMLONLAT", *lng_lat(place)]
        command += ["BYRADIUS", min(radius_m, NEAR_MOST_M), "m", "COUNT", at_most, "ANY"]
        return len(await self._ask(cast(Any, self._shard.client).execute_command(*command)))

    async def some(self, first: int, at_most: int) -> tuple[list[JobId], int]:
        """Those who wait, longest first, without the `first` of them; and how many there are."""
        key = keys.wait(self._shard.name)
        pipe = self._shard.client.pipeline(transaction=False)
        pipe.zrange(key, first, first + at_most - 1)
        pipe.zcard(key)
        found, count = await self._ask(pipe.execute())
        return [JobId(job.decode()) for job in found], int(count)

    async def asked(self, at_most: int) -> list[JobId]:
        """Jobs that are held for the driver who was offered them; those with the most time left first."""
        found = await self._ask(self._shard.client.zrevrange(keys.asked(self._shard.name), 0, at_most - 1))
        return [JobId(job.decode()) for job in found]

    async def coming(self, area_ids: Sequence[str], first: int, at_most: int) -> tuple[list[JobId], int, int]:
        """Jobs whose driver is on his way and may be another yet, area after area and in each those whom he took last
        first, without the `first` of them, which begins anew beyond the last; where to go on; how many there are."""
        wanted = [keys.coming(self._shard.name, area_id) for area_id in area_ids]
        pipe = self._shard.client.pipeline(transaction=False)
        for key in wanted:
            pipe.zcard(key)
        counts = await self._ask(pipe.execute())
        count = sum(counts)
        first = first if first < count else 0
        pipe, skip = self._shard.client.pipeline(transaction=False), first
        for key, of_area in zip(wanted, counts, strict=True):
            if skip < of_area and skip + at_most > 0:
                pipe.zrevrange(key, max(0, skip), skip + at_most - 1)
            skip -= of_area
        found = [JobId(job.decode()) for jobs in await self._ask(pipe.execute()) for job in jobs]
        return found, (first + at_most if first + at_most < count else 0), count

    async def lead(self, token: str, lease_ms: int) -> bool:
        """Takes or keeps the lead for so long; with 0 gives it up. Whether `token` leads now."""
        s = self._shard
        return bool(await self._ask(s.lead_script([keys.leader(s.name)], [token, lease_ms])))

    async def _ask(self, call: "Awaitable[Any]") -> Any:
        return await self._shard.ask(call)
