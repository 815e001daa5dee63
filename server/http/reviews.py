"""Stars for the other party of a finished job, from whoever was in it."""

from server.http.call import Call
from server.http.envelope import Refusal, Reply
from server.http.fields import Field, Fields
from storage.reviews import rate

COMMENT_CHARS = 2_000
RATE = (Field("rating", "number", required=True, most=5), Field("comment", most=COMMENT_CHARS))


async def rate_ride(call: Call) -> Reply:
    return await _rate(call, "ride")


async def rate_package(call: Call) -> Reply:
    return await _rate(call, "package")


async def _rate(call: Call, kind: str) -> Reply:
    """The same stars again are harmless, others are refused. What the history has not heard of yet says when to ask
    again."""
    fields = Fields(await call.body())
    rating, comment = fields.read(*RATE)
    fields.refuse_if_wrong()
    job_id = call.request.match_info["id"]
    asker = call.who.user_id
    outcome = await rate(call.ctx.database, asker, kind, job_id, rating=rating, comment=comment or "")
    if outcome == "not_found":
        raise Refusal(404, f"There is no such {kind} of yours.", code=f"{kind.upper()}_NOT_FOUND")
    if outcome == "other_stars":
        raise Refusal(409, "You have given other stars already.", code="ALREADY_RATED")
    if outcome == "never":
        raise Refusal(409, f"This {kind} was not carried out.", code="NOT_COMPLETED")
    if outcome == "not_finished":
        text = f"This {kind} is not finished, as far as the history knows. Try again in a moment."
        raise Refusal(409, text, code="NOT_FINISHED", retry_after_s=1)
    return Reply({"rating": rating}, status=201)
