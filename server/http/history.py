"""What happened, over HTTP: rides and parcels of the one who asks, of everybody for an administrator.

The queries decide what he may read (storage/history.py); somebody else's job is not found, like one that
never was. Lists are plain arrays, newest first; `pagination.nextCursor` is what `?cursor=` takes. All of it
lags behind the live state by the drain's delay, which a single job names as `historyLagMs`.
"""

from typing import Any

from dispatch.lifecycle import WORDS
from server.http.call import Call
from server.http.envelope import Refusal, Reply
from server.http.fields import Field
from storage import decisions
from storage.history import PAGE_MAX
from storage.keyset import BadCursor

OWN_PAGE = 20
LIMIT = Field("limit", "number", most=PAGE_MAX)
CURSOR = Field("cursor", "cursor")
#: The platform's words and our states.
STATUS = {
    kind: Field("status", "word", choices=tuple(dict.fromkeys([*words.values(), *words])))
    for kind, words in WORDS.items()
}
ROLE = Field("role", "choice", choices=("requester", "driver"))
PAGE = (LIMIT, CURSOR)
JOBS = {kind: (*PAGE, status, ROLE) for kind, status in STATUS.items()}


async def rides(call: Call) -> Reply:
    return await _jobs(call, "ride")


async def packages(call: Call) -> Reply:
    return await _jobs(call, "package")


async def ride(call: Call) -> Reply:
    return await _job(call, "ride")


async def package(call: Call) -> Reply:
    return await _job(call, "package")


async def users(call: Call) -> Reply:
    asker, limit, cursor = _page(call, PAGE_MAX)
    return _list(await _good_cursor(call.ctx.history.all_users(asker, limit=limit, cursor=cursor)))


async def couriers(call: Call) -> Reply:
    asker, limit, cursor = _page(call, PAGE_MAX)
    return _list(await _good_cursor(call.ctx.history.all_couriers(asker, limit=limit, cursor=cursor)))


async def analytics(call: Call) -> Reply:
    """One admin panel reads the figures under `data`, another at the top: they stand in both places."""
    figures = await call.ctx.history.courier_analytics(call.who.user_id) or {}
    return Reply(figures, top=figures)


async def my_decisions(call: Call) -> Reply:
    asker, limit, cursor = _page(call, decisions.PAGE)
    found = decisions.of_driver(call.ctx.database, asker, limit=limit, cursor=cursor)
    return _list(await _good_cursor(found))


async def job_decisions(call: Call) -> Reply:
    asker, limit, cursor = _page(call, decisions.PAGE)
    job_id = call.request.match_info["id"]
    found = decisions.of_job(call.ctx.database, asker, job_id, limit=limit, cursor=cursor)
    return _list(await _good_cursor(found))


async def _jobs(call: Call, kind: str) -> Reply:
    status = call.word(STATUS[kind])
    if call.who.role == "admin":
        asker, limit, cursor = _page(call, PAGE_MAX)  # the panels count rows, so their default is high
        found = call.ctx.history.all_jobs(asker, kind, limit=limit, cursor=cursor, status=status)
        return _list(await _good_cursor(found))
    asker, limit, cursor = _page(call, OWN_PAGE)
    mine = call.ctx.history.my_jobs(
        asker, kind, limit=limit, cursor=cursor, status=status, role=call.word(ROLE)
    )
    return _list(await _good_cursor(mine), f"{kind}s")


async def _job(call: Call, kind: str) -> Reply:
    job = await call.ctx.history.job(call.who.user_id, kind, call.request.match_info["id"])
    if job is None:
        raise Refusal(404, f"There is no such {kind} that you may see.", code=f"{kind.upper()}_NOT_FOUND")
    lag = (await call.ctx.history.lag(call.ctx.settings.shard)).get("facts", {})
    return Reply(job, top={"historyLagMs": lag.get("lag_ms")})


def _page(call: Call, default: int) -> tuple[str, int, str | None]:
    return call.who.user_id, call.number(LIMIT, default), call.request.query.get(CURSOR.name) or None


async def _good_cursor(found: Any) -> dict[str, Any]:
    try:
        page: dict[str, Any] = await found
    except BadCursor:
        raise Refusal(400, f"{CURSOR.name} must be {CURSOR.words}.") from None
    return page


def _list(page: dict[str, Any], key: str = "data") -> Reply:
    return Reply(page[key], top={"pagination": page["pagination"]})
