"""Quotes that need no memory: the fare, signed, for exactly this trip, user and time.

A `quoteId` is opaque to clients: the name of a key of the ring (rooms/identity.py), and base64 of what was quoted
with a MAC over it. Whoever changes a letter of it, or uses it for another trip, has no quote. Every node signs
with the current key and verifies with every key on the ring, so that a rotation makes no quote invalid.
"""

import base64
import hashlib
import hmac
from typing import Any, Protocol

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


class Keys(Protocol):
    """The key ring, as far as quotes use it."""

    def signing(self) -> tuple[str, bytes]: ...
    def secret(self, kid: str) -> bytes: ...


def _mac(secret: bytes, body: bytes) -> bytes:
    """The ring's secrets sign tokens; what signs quotes is made from them, and opens nothing else."""
    return hmac.digest(hashlib.sha256(b"quote" + secret).digest(), body, "sha256")[:MAC_BYTES]


class Quotes:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def issue(self, quoted: Quoted) -> str:
        body = msgspec.json.encode(quoted)
        kid, secret = self._keys.signing()
        return f"{kid}.{base64.urlsafe_b64encode(_mac(secret, body) + body).decode().rstrip('=')}"

    def fare_minor(self, quote_id: str, user: str, trip: str, now_ms: int) -> int:
        """The quoted fare. Raises Refusal bad_request for anything but our own, current quote of this trip."""
        kid, _, text = quote_id.rpartition(".")
        try:
            raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            body = raw[MAC_BYTES:]
            if not hmac.compare_digest(_mac(self._keys.secret(kid), body), raw[:MAC_BYTES]):
                raise ValueError
            quoted = msgspec.json.decode(body, type=Quoted)
        except (KeyError, ValueError, msgspec.DecodeError):
            raise Refusal("bad_request", "quoteId is not one of ours: ask for a new quote.") from None
        if quoted.user != user or quoted.trip != trip:
            raise Refusal("bad_request", "quoteId is for another trip: ask for a new quote.")
        if now_ms > quoted.until_ms:
            raise Refusal("bad_request", "The quote has expired: ask for a new one.")
        return quoted.fare_minor
