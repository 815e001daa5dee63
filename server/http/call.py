"""One request as a handler sees it: who asks, and a body and query that were bounded and decoded.

Unknown keys of either are ignored (the apps add `_t` and whole objects); what is read is checked here, so
that a handler never meets a wrong type, and PostgreSQL never a text it cannot hold.
"""

import asyncio
import ipaddress
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from server.http.context import Context
from server.http.envelope import Refusal
from server.http.fields import Field
from server.proxies import client_of, trusted
from storage.accounts import Who

BODY_KIB = 64
BODY_S = 8.0


@dataclass(frozen=True)
class Call:
    ctx: Context
    request: web.Request
    caller: Who | None

    @property
    def who(self) -> Who:
        """Who asks; only routes that let no stranger in may use it."""
        if self.caller is None:
            raise Refusal(401, "Log in first.")
        return self.caller

    @property
    def address(self) -> str:
        """The peer of the transport, or whom a trusted proxy names. An IPv6 host has a whole /64 to itself."""
        forwarded = self.request.headers.getall("X-Forwarded-For", [])
        proxies = trusted(self.ctx.settings.trusted_proxies)
        peer = client_of((self.request.remote or "local").partition("%")[0], forwarded, proxies)
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return peer
        if address.version == 6 and address.ipv4_mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        return peer

    async def body(self) -> dict[str, Any]:
        """The JSON object that was sent; nothing at all counts as an empty one."""
        try:
            async with asyncio.timeout(BODY_S):
                raw = await self._raw(BODY_KIB * 1024)
        except TimeoutError:
            raise Refusal(408, f"The body did not come within {BODY_S:g} s.") from None
        if not raw.strip():
            return {}
        try:
            body = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Refusal(400, "The body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise Refusal(400, "The body must be a JSON object.")
        return body

    async def _raw(self, limit: int) -> bytes:
        too_large = Refusal(413, f"The body is larger than {limit // 1024} KiB.")
        if (self.request.content_length or 0) > limit:
            raise too_large
        parts, size = [], 0
        async for part in self.request.content.iter_any():
            size += len(part)
            if size > limit:
                raise too_large
            parts.append(part)
        return b"".join(parts)

    def number(self, field: Field, default: int) -> int:
        """A whole number of the query; one that is too large means the largest."""
        text = self.request.query.get(field.name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and int(text) >= 1):
            raise Refusal(400, f"{field.name} must be {field.words}.")
        return min(int(text), field.most)

    def line(self, field: Field) -> str | None:
        """A line of text of the query, trimmed."""
        text = self.request.query.get(field.name, "").strip()
        if len(text) > field.most or not text.isprintable():
            raise Refusal(400, f"{field.name} must be {field.words}.")
        return text or None

    def word(self, field: Field) -> str | None:
        """One of the field's choices, if the query has it."""
        text = self.request.query.get(field.name, "")
        if text and text not in field.choices:
            raise Refusal(400, f"{field.name} must be {field.words}.")
        return text or None
