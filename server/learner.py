"""What areas learn from their finished rides: travel times, of the trip and of the way to the pickup.

Each round takes rides that have not taught yet, oldest first, lets them teach their areas' tables, and keeps tables
and marks in one transaction. Nodes read the tables (areas.py) and never write them.

| when | then |
|---|---|
| it dies before its commit | nothing was learned and nothing marked; the next round begins the same |
| it dies after it | both stand |
| two drains learn at once | the shard's lock lets one; the other passes this round |
| PostgreSQL is away, slow or full | the round is lost as a whole, and comes again after a pause |
| a document is of another format | that area begins anew, and the log says so (areas.py) |
| an area or its policy makes no sense (any more) | its rides are marked and teach nobody |
| nobody knows where the driver was when he took it, or it was a booking | only its trip teaches |
| a ride says nonsense (no start, stops, faster than anybody drives) | it is marked and teaches nothing |
"""

import asyncio
import logging
import signal
from typing import Any

import msgspec

from dispatch.etatable import EtaTable
from rooms.tasks import Tasks
from server.areas import area_of, table_of
from server.settings import Settings
from storage import models, postgis
from storage.areas import list_areas
from storage.drain import Drain

logger = logging.getLogger(__name__)

LESSONS_MAX = 500
PAUSE_S = 5.0


async def learn(conn: Any, shard: str) -> int:
    """One round; how many rides taught, or could not. Raises what PostgreSQL does."""
    async with conn.transaction():
        if not await models.lead(conn, shard):
            return 0
        lessons = await models.lessons(conn, shard, LESSONS_MAX)
        if not lessons:
            return 0
        tables = await _tables(conn, shard, {each.area_id for each in lessons})
        for area_id, (table, overhead_s) in tables.items():
            of_area = [each for each in lessons if each.area_id == area_id]
            learned = sum(_teach_pickup(table, each, overhead_s) + _teach(table, each) for each in of_area)
            if learned:
                document, learned_s = table.dumps(), table.learned.learned_s
                await models.put_model(conn, models.Model(area_id, "eta", document, learned_s))
        await models.taught(conn, [each.id for each in lessons])
    return len(lessons)


async def _tables(conn: Any, shard: str, wanted: set[str]) -> dict[str, tuple[EtaTable, float]]:
    """Each with what a pickup takes beside the driving."""
    tables = {}
    for row in await list_areas(conn, shard):
        if row.id in wanted:
            try:
                policy = area_of(row).policy
            except (msgspec.ValidationError, ValueError):
                continue  # the nodes say so
            document = await models.model_of(conn, row.id, "eta")
            tables[row.id] = table_of(row.id, policy, document), policy.pickup_overhead_s
    return tables


def _teach(table: EtaTable, ride: models.Lesson) -> bool:
    if ride.started_s is None or ride.stops:
        return False
    pickup = ride.pickup_lat_deg, ride.pickup_lng_deg
    dropoff = ride.dropoff_lat_deg, ride.dropoff_lng_deg
    return table.learn(pickup, dropoff, ride.started_s, ride.ended_s - ride.started_s)


def _teach_pickup(table: EtaTable, ride: models.Lesson, overhead_s: float) -> bool:
    """The way of its driver to the pickup, as whoever estimates it counts it: a pause first, then the drive."""
    if ride.from_lat_deg is None or ride.from_lng_deg is None:
        return False
    if ride.assigned_s is None or ride.arrived_s is None:
        return False
    origin = ride.from_lat_deg, ride.from_lng_deg
    left_s = ride.assigned_s + overhead_s
    return table.learn(origin, (ride.pickup_lat_deg, ride.pickup_lng_deg), left_s, ride.arrived_s - left_s)


async def keep_learning(settings: Settings, stop: asyncio.Event) -> None:
    """Round after round until `stop`; meets failures with patience."""
    while not stop.is_set():
        try:
            conn = await postgis.connect(settings.database_url, settings.database_timeout_s)
            try:
                while not stop.is_set():
                    if await learn(conn, settings.shard) < LESSONS_MAX:
                        await _pause(stop)
            finally:
                conn.terminate()
        except Exception as error:
            if not isinstance(error, postgis.DatabaseUnavailable) and not postgis.is_outage(error):
                logger.warning("learning of %s pauses: %s", settings.shard, type(error).__name__)
            await _pause(stop)  # of an outage the drain speaks


async def drain_and_learn(settings: Settings) -> None:
    """Until this process is told to go (SIGTERM, SIGINT). Raises migrate.StaleSchema."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = Tasks()
    tasks.start(keep_learning(settings, stop), "learner")
    try:
        await Drain(settings).run(stop)
    finally:
        await tasks.stop()


async def _pause(stop: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(PAUSE_S):
            await stop.wait()
    except TimeoutError:
        pass
