"""Any command of the Socket.IO protocol over HTTP: the same gate, the same answer, in an HTTP status.

The gate decides everything (who may, limits, repeats); here only its acknowledgement is put into the
envelope, so that a command sent again over the other way gets the same answer.
"""

from server.http import metrics
from server.http.call import Call
from server.http.envelope import Refusal, Reply

STATUS = {
    "bad_request": 400,
    "unauthenticated": 401,
    "forbidden": 403,
    "not_found": 404,
    "outside_area": 422,
    "no_supply": 409,
    "offer_gone": 409,
    "already_assigned": 409,
    "wrong_state": 409,
    "duplicate": 409,
    "superseded": 409,
    "rate_limited": 429,
    "too_large": 413,
    "unavailable": 503,
    "draining": 503,
}
RETRY_AFTER_S = {429: 1, 503: 1}


async def command(call: Call) -> Reply:
    """`data` is the acknowledgement; a refusal keeps its code and says in `details` whether to try again, and when."""
    ack = await call.ctx.gate.hear_http(call.who, call.request.match_info["event"], await call.body())
    if ack["ok"]:
        metrics.COMMANDS.labels("ok").inc()
        return Reply({key: value for key, value in ack.items() if key != "ok"})
    error = ack["error"]
    metrics.COMMANDS.labels(error["code"]).inc()
    status = STATUS[error["code"]]
    raise Refusal(
        status,
        error["message"],
        code=error["code"],
        details={name: error[name] for name in ("retry", "againInS") if name in error},
        retry_after_s=error.get("againInS", RETRY_AFTER_S.get(status, 0)),
    )
