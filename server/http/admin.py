"""What the console reads: tables, the health of all nodes, figures by hour and area. Administrators only.

What it changes goes over `POST /api/commands/{event}`, like everything that anybody does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import h3.api.basic_int as h3
import msgspec

from dispatch.heat import Heat
from dispatch.policy import Policy
from dispatch.pricing import Prices
from server.http.call import Call
from server.http.envelope import Refusal, Reply
from server.http.fields import Field
from storage.accounts import is_uuid
from storage.keyset import BadCursor
from storage.postgis import DatabaseUnavailable
from storage.shard import Unavailable
from storage.tables import PAGE_MAX, TABLES

PAGE = 50
PART_S = 3.0
HOURS_MAX = 31 * 24
CELLS_MAX = 500
Q = Field("q", "line", most=100)
LIMIT = Field("limit", "number", most=PAGE_MAX)
CURSOR = Field("cursor", "cursor")
HOURS = Field("hours", "number", most=HOURS_MAX)
FILTERS = {name: Field(name, "line", most=64) for table in TABLES.values() for name in table.filters}
AREA = Field("area", "line", most=64)
AREAS = (Q,)
KIND = Field("kind", "word", choices=("ride", "package"))
HEAT = (AREA, KIND)
FIGURES = (HOURS,)


def takes(table: str) -> tuple[Field, ...]:
    return (Q, LIMIT, CURSOR, *(FILTERS[name] for name in TABLES[table].filters))


def table(name: str) -> Callable[[Call], Awaitable[Reply]]:
    """The handler of one of the tables."""

    async def page(call: Call) -> Reply:
        filters = {wanted: call.line(FILTERS[wanted]) for wanted in TABLES[name].filters}
        try:
            found = await call.ctx.tables.page(
                call.who.user_id,
                name,
                q=call.line(Q),
                filters=filters,
                limit=call.number(LIMIT, PAGE),
                cursor=call.request.query.get(CURSOR.name) or None,
            )
        except BadCursor:
            raise Refusal(400, f"{CURSOR.name} must be {CURSOR.words}.") from None
        return Reply(found["data"], top={"pagination": found["pagination"]})

    return page


async def areas(call: Call) -> Reply:
    """`policy` and `prices` are what an area has of its own; `defaults` is what holds otherwise."""
    rows = await call.ctx.tables.areas(call.who.user_id, call.line(Q))
    defaults = {"policy": msgspec.to_builtins(Policy()), "prices": msgspec.to_builtins(Prices())}
    return Reply(rows, top={"defaults": defaults})


async def driver(call: Call) -> Reply:
    """What one driver has done of late; `earned` counts since the first of these hours began."""
    driver_id, since = call.request.match_info["id"], _since(call)
    if not is_uuid(driver_id):
        raise Refusal(404, "There is no such driver.")
    found = await call.ctx.tables.driver(call.who.user_id, driver_id, since)
    return Reply({**found, "since": since.isoformat()})


def _since(call: Call) -> datetime:
    """When the first of the wanted hours began, this one being the last."""
    hours = call.number(HOURS, 24)
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=hours - 1)


async def figures(call: Call) -> Reply:
    since = _since(call)
    return Reply(await call.ctx.tables.figures(call.who.user_id, since), top={"since": since.isoformat()})


async def heat(call: Call) -> Reply:
    """Of one area the cells with the most going on first, `left` says how many more there are; else all areas. Of
    rides, unless another kind is asked for."""
    area_id, kind, now_s = call.line(AREA), call.word(KIND) or "ride", call.ctx.store_ms() / 1000
    if area_id is None:
        return Reply({"areas": [_of_area(each) for each in call.ctx.heats.all(now_s, kind)]})
    found = call.ctx.heats.get(area_id, now_s, kind)
    if found is None:
        raise Refusal(404, "Nobody has looked at this area lately, or there is none.")
    rows = sorted(range(len(found.cells)), key=lambda row: (-_going_on(found, row), found.cells[row]))
    return Reply(
        {
            "areaId": area_id,
            "at": datetime.fromtimestamp(found.at_s, UTC).isoformat(),
            "cells": [_cell(found, row) for row in rows[:CELLS_MAX]],
            "left": max(0, len(rows) - CELLS_MAX),
        }
    )


def _of_area(heat: Heat) -> dict[str, Any]:
    return {
        "areaId": heat.area_id,
        "at": datetime.fromtimestamp(heat.at_s, UTC).isoformat(),
        "demand": round(sum(heat.forecast), 3),
        "waiting": sum(heat.waiting),
        "supply": sum(heat.supply),
        "factor": max(heat.tenths, default=10) / 10,
    }


def _going_on(heat: Heat, row: int) -> float:
    return heat.tenths[row] + heat.pressure[row] + heat.forecast[row] + heat.waiting[row] + heat.supply[row]


def _cell(heat: Heat, row: int) -> dict[str, Any]:
    """`demand` are requests expected in a quarter of an hour; `boundary` is a ring of [latitude, longitude]."""
    cell = heat.cells[row]
    latitude, longitude = h3.cell_to_latlng(cell)
    return {
        "cell": h3.int_to_str(cell),
        "latitude": round(latitude, 6),
        "longitude": round(longitude, 6),
        "boundary": [[round(lat, 6), round(lng, 6)] for lat, lng in h3.cell_to_boundary(cell)],
        "demand": heat.forecast[row],
        "waiting": heat.waiting[row],
        "supply": heat.supply[row],
        "pressure": heat.pressure[row],
        "factor": heat.tenths[row] / 10,
    }


async def health(call: Call) -> Reply:
    """Each part by itself: one that does not answer is null, and named in `silent`."""
    ctx, asker = call.ctx, call.who.user_id

    async def drain() -> dict[str, Any]:
        lag = await ctx.history.lag(ctx.settings.shard)
        return {
            name: {**stream, "reached_at": str(stream["reached_at"] or "")} for name, stream in lag.items()
        }

    async def nodes() -> dict[str, Any]:
        heard = await ctx.pulses.all()
        return {"now_ms": heard.now_ms, "nodes": [{"node": n, "status": s} for n, s in heard.nodes.items()]}

    parts = {
        "nodes": nodes,
        "redis": ctx.pulses.redis,
        "postgresql": lambda: ctx.tables.database(asker),
        "drain": drain,
    }
    answers = dict(zip(parts, await asyncio.gather(*(_part(ask) for ask in parts.values())), strict=True))
    silent = [name for name, answer in answers.items() if answer is None]
    heard = answers.pop("nodes")
    return Reply(
        {
            "shard": ctx.settings.shard,
            "nodes": heard["nodes"] if heard else None,
            "nowMs": heard["now_ms"] if heard else None,
            **answers,
            "silent": silent,
        }
    )


async def _part(ask: Callable[[], Awaitable[dict[str, Any] | None]]) -> dict[str, Any] | None:
    began_s = time.perf_counter()
    try:
        async with asyncio.timeout(PART_S):
            answer = await ask()
    except (Unavailable, DatabaseUnavailable, TimeoutError):
        return None
    return (
        {**answer, "answeredInMs": round((time.perf_counter() - began_s) * 1000, 1)}
        if answer is not None
        else None
    )
