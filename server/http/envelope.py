"""What every HTTP answer of the server looks like: the envelope of the platform's apps.

`{success, data?, message?, error?, code?, details?, timestamp}`; a failure is never 2xx and carries its text
both as `error` and as `message`, because half of the clients read one and half the other. Handlers return a
`Reply` or raise a `Refusal`; both are turned into bytes here and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

CODES: dict[int, str] = {
    400: "VALIDATION_ERROR",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "PAYLOAD_TOO_LARGE",
    429: "RATE_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "UNAVAILABLE",
}


@dataclass(frozen=True)
class Reply:
    """A success. `top` goes beside `data`, for the clients that look there."""

    data: Any = None
    status: int = 200
    message: str = ""
    top: Mapping[str, Any] = field(default_factory=dict)


class Refusal(Exception):
    """A failure that the client may read; `text` says what is wrong, never what is inside the server."""

    def __init__(
        self, status: int, text: str, *, code: str = "", details: Any = None, retry_after_s: int = 0
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code or CODES[status]
        self.details = details
        self.retry_after_s = retry_after_s


def iso(at: datetime | None) -> str | None:
    """UTC with milliseconds and Z, as the apps write it."""
    if at is None:
        return None
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def answer(reply: Reply) -> web.Response:
    body: dict[str, Any] = {"success": True}
    if reply.data is not None:
        body["data"] = reply.data
    if reply.message:
        body["message"] = reply.message
    body.update(reply.top)
    return _json(reply.status, body, {})


def refuse(refusal: Refusal) -> web.Response:
    body = {"success": False, "error": refusal.text, "message": refusal.text, "code": refusal.code}
    if refusal.details is not None:
        body["details"] = refusal.details
    headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s else {}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _json(refusal.status, body, headers)


def _json(status: int, body: dict[str, Any], headers: Mapping[str, str]) -> web.Response:
    body["timestamp"] = iso(datetime.now(UTC))
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        # Answers are about one person: nothing between here and the app may keep them.
        headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **headers},
    )
