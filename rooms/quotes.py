"""Quotes that need no memory: the fare, signed, for exactly this trip, user and time.

A `quoteId` is opaque to clients: base64 of what was quoted, and a MAC over it. Whoever changes a letter of it,
or uses it for another trip, has no quote.
"""

import base64
import hashlib
import hmac
from typing import Any

import msgspec

from dispatch.commands import Refusal

MAC_BYTES = 16


class Quoted(msgspec.Struct, frozen=True, array_like=True):
    """`trip` is a digest of everything the fare depends on; `until_ms` of the shard's clock."""

    user: str
    trip: str
    fare_minor: int
    until_ms: int


def trip_digest(*parts: Any) -> str:
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=9).hexdigest()


class Quotes:
    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.sha256(b"quote" + secret).digest()

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:MAC_BYTES]

    def issue(self, quoted: Quoted) -> str:
        body = msgspec.json.encode(quoted)
        return base64.urlsafe_b64encode(self._mac(body) + body).decode().rstrip("=")

    def fare_minor(self, quote_id: str, user: str, trip: str, now_ms: int) -> int:
        """The quoted fare. Raises Refusal bad_request for anything but our own, current quote of this trip."""
        try:
            raw = base64.urlsafe_b64decode(quote_id + "=" * (-len(quote_id) % 4))
            body = raw[MAC_BYTES:]
            if not hmac.compare_digest(self._mac(body), raw[:MAC_BYTES]):
                raise ValueError
            quoted = msgspec.json.decode(body, type=Quoted)
        except (ValueError, msgspec.DecodeError):
            raise Refusal("bad_request", "quoteId is not one of ours: ask for a new quote.") from None
        if quoted.user != user or quoted.trip != trip:
            raise Refusal("bad_request", "quoteId is for another trip: ask for a new quote.")
        if now_ms > quoted.until_ms:
            raise Refusal("bad_request", "The quote has expired: ask for a new one.")
        return quoted.fare_minor
