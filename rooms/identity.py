"""Who is speaking: access tokens (JWT, HS256) and the key ring that signs them.

A token names a user, a role and a session that can be revoked; `verify` proves only that we signed it for
this audience and that it has not expired, and asks no database. Everything wrong with a token is the same
`BadToken` with the same text, so that a forger learns nothing. Refresh tokens are not made here: they are
opaque random strings (storage/accounts.py), and neither kind passes for the other.

The ring is a JSON file {"current": kid, "keys": {kid: base64 secret}}. New tokens are signed with the
current key, every key on the ring verifies; a running server notices a changed file within a second, so
that rotation needs no restart. A file that cannot be read leaves the last good ring in use.
"""

import base64
import binascii
import logging
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import jwt
import msgspec

from storage.records import UserId

log = logging.getLogger(__name__)

ALGORITHM = "HS256"
SECRET_BYTES = 32
TOKEN_MAX_CHARS = 2048  # ours are about 450; a longer one is refused before anything looks at it
FUTURE_S = 60  # how far another node's clock may run ahead of ours
LOOK_EVERY_S = 1.0

Role = Literal["passenger", "driver", "courier", "admin"]

_jws = jwt.PyJWS(algorithms=[ALGORITHM])


class BadToken(Exception):
    """The token proves nothing; the text never says why."""

    def __init__(self) -> None:
        super().__init__("The token is not valid.")


class BadKeys(Exception):
    """The key ring cannot be used; the text says what to do."""


class _Payload(msgspec.Struct, frozen=True, rename={"user_id": "userId"}):
    """The claims as they travel; msgspec refuses a missing one or a wrong type."""

    iss: str
    aud: str
    sub: str
    user_id: str
    role: Role
    sid: str
    jti: str
    iat: int
    exp: int


class Claims(msgspec.Struct, frozen=True):
    """What a verified token says. Whether the session still lives is asked of the accounts."""

    user_id: UserId
    role: Role
    session_id: str
    token_id: str
    issued_s: int
    expires_s: int


class Ring(msgspec.Struct, frozen=True):
    """The ring file."""

    current: str
    keys: dict[str, str]

    @classmethod
    def new(cls) -> "Ring":
        kid = _new_kid()
        return cls(current=kid, keys={kid: _new_secret()})

    def rotated(self) -> "Ring":
        """A new current key; the one so far still verifies, older ones are dropped."""
        kid = _new_kid()
        return Ring(current=kid, keys={self.current: self.keys[self.current], kid: _new_secret()})

    def write(self, path: Path) -> None:
        """Replaces the file in one step; nobody but its owner may read it, not even for a moment."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(self) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)

    @classmethod
    def read(cls, path: Path) -> "Ring":
        try:
            ring = msgspec.json.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise BadKeys(
                f"Cannot read the key ring {path}: {error.strerror}. `dispatch keys init` makes one."
            ) from None
        except msgspec.DecodeError:
            raise BadKeys(f'The key ring {path} is not JSON of {{"current": …, "keys": {{…}}}}.') from None
        if ring.current not in ring.keys:
            raise BadKeys(f"The current key of {path} is not among its keys.")
        for secret in ring.keys.values():
            _secret_bytes(secret, path)
        return ring


@dataclass
class KeyRing:
    """Mints and verifies. One instance per process; give it the ring's path through `load`."""

    issuer: str
    audience: str
    ring: Ring
    path: Path
    _secrets: dict[str, bytes] = field(default_factory=dict)
    _changed_ns: int = 0
    _looked_s: float = 0.0

    @classmethod
    def load(cls, path: str | Path, *, issuer: str, audience: str) -> "KeyRing":
        """Raises BadKeys where there is no usable ring."""
        if not str(path):
            raise BadKeys("No key ring is set. Set DISPATCH_KEYS_FILE; `dispatch keys init` makes the file.")
        where = Path(path)
        keyring = cls(issuer=issuer, audience=audience, ring=Ring.read(where), path=where)
        keyring._adopt(keyring.ring)
        return keyring

    def mint(self, user_id: str, role: str, session_id: str, *, now_s: float, life_s: int) -> str:
        """An access token that lives `life_s` seconds from `now_s` (Unix seconds)."""
        kid, secret = self.signing()
        payload = _Payload(
            iss=self.issuer,
            aud=self.audience,
            sub=user_id,
            user_id=user_id,
            role=msgspec.convert(role, Role),
            sid=session_id,
            jti=secrets.token_urlsafe(12),
            iat=int(now_s),
            exp=int(now_s) + life_s,
        )
        return _jws.encode(msgspec.json.encode(payload), secret, algorithm=ALGORITHM, headers={"kid": kid})

    def verify(self, token: str, now_s: float) -> Claims:
        """The claims of a token that this ring signed and that lives at `now_s`; else BadToken."""
        if not token or len(token) > TOKEN_MAX_CHARS or not token.isascii():
            raise BadToken
        try:
            secret = self.secret(_jws.get_unverified_header(token)["kid"])
            payload = msgspec.json.decode(_jws.decode(token, secret, algorithms=[ALGORITHM]), type=_Payload)
        except (jwt.PyJWTError, msgspec.DecodeError, KeyError, TypeError, ValueError, RecursionError):
            raise BadToken from None
        if payload.iss != self.issuer or payload.aud != self.audience or payload.sub != payload.user_id:
            raise BadToken
        if payload.exp <= now_s or payload.iat > now_s + FUTURE_S:
            raise BadToken
        return Claims(
            user_id=UserId(payload.sub),
            role=payload.role,
            session_id=payload.sid,
            token_id=payload.jti,
            issued_s=payload.iat,
            expires_s=payload.exp,
        )

    def signing(self) -> tuple[str, bytes]:
        """The name and the secret of the current key."""
        self._look(LOOK_EVERY_S)
        return self.ring.current, self._secrets[self.ring.current]

    def secret(self, kid: str) -> bytes:
        """The secret of a key on the ring. Raises KeyError. A name we do not know makes us look at the file, for
        another node may have taken up a new key before us."""
        self._look(LOOK_EVERY_S if kid in self._secrets else 0.0)
        return self._secrets[kid]

    def _look(self, every_s: float) -> None:
        """Takes up a changed ring file, unless it was looked at just now."""
        if time.monotonic() - self._looked_s < every_s:
            return
        self._looked_s = time.monotonic()
        try:
            if self.path.stat().st_mtime_ns != self._changed_ns:
                self._adopt(Ring.read(self.path))
        except (OSError, BadKeys):
            log.warning("The key ring file cannot be read; the keys read before stay in use.")

    def _adopt(self, ring: Ring) -> None:
        self.ring = ring
        self._secrets = {kid: _secret_bytes(secret, self.path) for kid, secret in ring.keys.items()}
        self._changed_ns = self.path.stat().st_mtime_ns
        self._looked_s = time.monotonic()


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization: Bearer …` header; None where there is none."""
    scheme, _, token = (header or "").strip().partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _new_kid() -> str:
    return f"{time.strftime('%Y%m%d', time.gmtime())}-{secrets.token_hex(4)}"


def _new_secret() -> str:
    return base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


def _secret_bytes(secret: str, path: Path) -> bytes:
    try:
        raw = base64.b64decode(secret, validate=True)
    except (binascii.Error, ValueError):
        raise BadKeys(f"A key of {path} is not base64. `dispatch keys init` makes a new ring.") from None
    if len(raw) < SECRET_BYTES:
        raise BadKeys(
            f"A key of {path} is shorter than {SECRET_BYTES} bytes. Rotate it: `dispatch keys rotate`."
        )
    return raw
