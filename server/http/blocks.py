"""Who does not want to meet whom: a user about a person of his trips, an administrator about any two.

Who is blocked hears nothing of it, and nobody is told whether a person exists whom he has never met.
"""

from server.http.call import Call
from server.http.envelope import Refusal, Reply, iso
from storage import blocks


async def block(call: Call) -> Reply:
    return await _block(call, call.who.user_id, call.request.match_info["id"])


async def unblock(call: Call) -> Reply:
    await blocks.unblock(call.ctx.database, call.who.user_id, call.request.match_info["id"])
    return Reply({"blocked": False})


async def blocked(call: Call) -> Reply:
    rows = await blocks.blocked_by(call.ctx.database, call.who.user_id)
    return Reply([{"id": r["id"], "firstName": r["first_name"], "since": iso(r["changed_at"])} for r in rows])


async def admin_block(call: Call) -> Reply:
    info = call.request.match_info
    reply = await _block(call, info["id"], info["other"], by_admin=True)
    await _audit(call, "block")
    return reply


async def admin_unblock(call: Call) -> Reply:
    info = call.request.match_info
    await blocks.unblock(call.ctx.database, info["id"], info["other"])
    await _audit(call, "unblock")
    return Reply({"blocked": False})


async def _audit(call: Call, action: str) -> None:
    info = call.request.match_info
    await blocks.audit(call.ctx.database, call.who.user_id, action, info["id"], info["other"])


async def _block(call: Call, blocker: str, blocked: str, *, by_admin: bool = False) -> Reply:
    outcome = await blocks.block(call.ctx.database, blocker, blocked, by_admin=by_admin)
    if outcome == "not_met":
        raise Refusal(404, "There is no such person to block.", code="USER_NOT_FOUND")
    if outcome == "too_many":
        text = f"At most {blocks.BLOCKS_MAX} people can be blocked; unblock somebody first."
        raise Refusal(409, text, code="TOO_MANY_BLOCKS")
    return Reply({"blocked": True})
