"""Who does not want to meet whom: a user about a person of his trips, an administrator about any two.

Who is blocked hears nothing of it, and nobody is told whether a person exists whom he has never met.
"""

from server.http.call import Call
from server.http.envelope import Refusal, Reply, iso
from storage import blocks
from storage.areas import Asks


async def block(call: Call) -> Reply:
    return await _block(call.ctx.database, call.who.user_id, call.request.match_info["id"])


async def unblock(call: Call) -> Reply:
    await blocks.unblock(call.ctx.database, call.who.user_id, call.request.match_info["id"])
    return Reply({"blocked": False})


async def blocked(call: Call) -> Reply:
    rows = await blocks.blocked_by(call.ctx.database, call.who.user_id)
    return Reply([{"id": r["id"], "firstName": r["first_name"], "since": iso(r["changed_at"])} for r in rows])


async def admin_block(call: Call) -> Reply:
    info = call.request.match_info
    async with call.ctx.database.transaction() as conn:
        reply = await _block(conn, info["id"], info["other"], by_admin=True)
        await blocks.audit(conn, call.who.user_id, "block", info["id"], info["other"])
    return reply


async def admin_unblock(call: Call) -> Reply:
    info = call.request.match_info
    async with call.ctx.database.transaction() as conn:
        await blocks.unblock(conn, info["id"], info["other"], by_admin=True)
        await blocks.audit(conn, call.who.user_id, "unblock", info["id"], info["other"])
    return Reply({"blocked": False})


async def _block(db: Asks, blocker: str, blocked: str, *, by_admin: bool = False) -> Reply:
    outcome = await blocks.block(db, blocker, blocked, by_admin=by_admin)
    if outcome == "not_met":
        raise Refusal(404, "There is no such person to block.", code="USER_NOT_FOUND")
    if outcome == "too_many":
        text = f"At most {blocks.BLOCKS_MAX} people can be blocked; unblock somebody first."
        raise Refusal(409, text, code="TOO_MANY_BLOCKS")
    return Reply({"blocked": True})
