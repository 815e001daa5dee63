"""Whom a user does not want to meet again, of the people of his trips. What an administrator keeps apart is a command
of the protocol (`keep_apart`), with its reason in the audit log.

Who is blocked hears nothing of it, and nobody is told whether a person exists whom he has never met.
"""

from server.http.call import Call
from server.http.envelope import Refusal, Reply, iso
from storage import blocks


async def block(call: Call) -> Reply:
    outcome = await blocks.block(call.ctx.database, call.who.user_id, call.request.match_info["id"])
    if outcome == "not_met":
        raise Refusal(404, "There is no such person to block.", code="USER_NOT_FOUND")
    if outcome == "too_many":
        text = f"At most {blocks.BLOCKS_MAX} people can be blocked; unblock somebody first."
        raise Refusal(409, text, code="TOO_MANY_BLOCKS")
    return Reply({"blocked": True})


async def unblock(call: Call) -> Reply:
    await blocks.unblock(call.ctx.database, call.who.user_id, call.request.match_info["id"])
    return Reply({"blocked": False})


async def blocked(call: Call) -> Reply:
    rows = await blocks.blocked_by(call.ctx.database, call.who.user_id)
    return Reply([{"id": r["id"], "firstName": r["first_name"], "since": iso(r["changed_at"])} for r in rows])
