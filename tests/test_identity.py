"""Access tokens: only what this ring signed, for this audience, and not yet expired, is believed."""

import base64
import hashlib
import hmac
import json
import os
from pathlib import Path
from typing import Any

import jwt
import pytest

from rooms.identity import BadKeys, BadToken, Claims, KeyRing, Ring, bearer

NOW_S = 1_700_000_000.0
LIFE_S = 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "keys.json"
    Ring.new().write(file)
    return file


@pytest.fixture
def ring(path: Path) -> KeyRing:
    return KeyRing.load(path, issuer="us", audience="apps")


def payload(**changes: Any) -> dict[str, Any]:
    claims: dict[str, Any] = {
        "iss": "us", "aud": "apps", "sub": "u1", "userId": "u1", "role": "driver", "sid": "s1",
        "jti": "j1", "iat": int(NOW_S), "exp": int(NOW_S) + LIFE_S,
    }  # fmt: skip
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


def signed(ring: KeyRing, claims: dict[str, Any], **header: Any) -> str:
    """A token with any claims, signed with the ring's real key."""
    kid = ring.ring.current
    secret = base64.b64decode(ring.ring.keys[kid])
    return jwt.encode(claims, secret, algorithm="HS256", headers={"kid": kid, **header})


def b64(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


def refused(ring: KeyRing, token: str, now_s: float = NOW_S) -> None:
    with pytest.raises(BadToken, match=r"^The token is not valid\.$"):
        ring.verify(token, now_s)


def test_a_minted_token_says_who_it_is_until_it_expires(ring: KeyRing) -> None:
    token = ring.mint("u1", "courier", "s1", now_s=NOW_S, life_s=LIFE_S)
    claims = ring.verify(token, NOW_S)
    assert claims == Claims("u1", "courier", "s1", claims.token_id, int(NOW_S), int(NOW_S) + LIFE_S)
    assert jwt.decode(token, options={"verify_signature": False})["userId"] == "u1"
    assert ring.verify(token, NOW_S + LIFE_S - 1).user_id == "u1"
    refused(ring, token, NOW_S + LIFE_S)


def test_two_tokens_of_one_session_differ(ring: KeyRing) -> None:
    first, second = (ring.mint("u1", "driver", "s1", now_s=NOW_S, life_s=60) for _ in range(2))
    assert first != second


def test_the_helper_signs_what_verify_accepts(ring: KeyRing) -> None:
    """Else the refusals below would prove nothing."""
    assert ring.verify(signed(ring, payload()), NOW_S).user_id == "u1"


@pytest.mark.parametrize("claim", ["iss", "aud", "sub", "userId", "role", "sid", "jti", "iat", "exp"])
def test_each_claim_is_required(ring: KeyRing, claim: str) -> None:
    refused(ring, signed(ring, payload(**{claim: None})))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "others"},
        {"aud": ["apps", "others"]},
        {"iss": "them"},
        {"userId": "u2"},
        {"role": "root"},
        {"exp": str(int(NOW_S) + 60)},
        {"exp": True},
        {"exp": 1e300},
        {"iat": int(NOW_S) + 3600, "exp": int(NOW_S) + 7200},
        {"sub": 7, "userId": 7},
    ],
)
def test_wrong_claims_are_refused(ring: KeyRing, changes: dict[str, Any]) -> None:
    refused(ring, signed(ring, payload(**changes)))


def test_a_forged_signature_is_refused(ring: KeyRing) -> None:
    head, body, signature = signed(ring, payload()).split(".")
    other = b64(payload(role="admin"))
    refused(ring, f"{head}.{other}.{signature}")
    refused(ring, f"{head}.{body}.")
    refused(ring, f"{head}.{body}.{'A' * len(signature)}")
    stranger = jwt.encode(payload(), os.urandom(32), algorithm="HS256", headers={"kid": ring.ring.current})
    refused(ring, stranger)


@pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE"])
def test_alg_none_is_refused(ring: KeyRing, name: str) -> None:
    head = b64({"alg": name, "typ": "JWT", "kid": ring.ring.current})
    refused(ring, f"{head}.{b64(payload())}.")
    refused(ring, f"{head}.{b64(payload())}.e30")


@pytest.mark.parametrize("name", ["HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256", ""])
def test_another_algorithm_is_refused_even_with_our_key(ring: KeyRing, name: str) -> None:
    kid = ring.ring.current
    secret = base64.b64decode(ring.ring.keys[kid])
    text = f"{b64({'alg': name, 'typ': 'JWT', 'kid': kid})}.{b64(payload())}"
    digest = hashlib.sha512 if name == "HS512" else hashlib.sha384 if name == "HS384" else hashlib.sha256
    mac = hmac.new(secret, text.encode(), digest).digest()
    refused(ring, f"{text}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}")


def test_a_header_without_our_kid_is_refused(ring: KeyRing) -> None:
    refused(ring, signed(ring, payload(), kid="unknown"))
    refused(ring, signed(ring, payload(), kid="../../dev/null"))
    secret = base64.b64decode(ring.ring.keys[ring.ring.current])
    refused(ring, jwt.encode(payload(), secret, algorithm="HS256"))
    refused(ring, f"{b64({'alg': 'HS256', 'kid': ['list']})}.{b64(payload())}.e30")


@pytest.mark.parametrize(
    "token",
    ["", "x", "..", "a.b.c", "a.b.c.d", "é.é.é", "\ud800.a.b", "x" * 1_000_000, "e30.e30.e30",
     "bnVsbA.e30.e30", base64.urlsafe_b64encode(b'{"alg":' + b"[" * 1400).decode() + ".e30.e30"],
)  # fmt: skip
def test_rubbish_is_refused(ring: KeyRing, token: str) -> None:
    refused(ring, token)


def test_rotation_keeps_the_old_key_for_verification_then_drops_it(path: Path) -> None:
    first = KeyRing.load(path, issuer="us", audience="apps")
    old = first.mint("u1", "driver", "s1", now_s=NOW_S, life_s=LIFE_S)
    Ring.read(path).rotated().write(path)
    second = KeyRing.load(path, issuer="us", audience="apps")
    assert second.ring.current != first.ring.current
    assert second.verify(old, NOW_S).user_id == "u1"
    new = second.mint("u1", "driver", "s1", now_s=NOW_S, life_s=LIFE_S)
    Ring.read(path).rotated().write(path)
    third = KeyRing.load(path, issuer="us", audience="apps")
    assert third.verify(new, NOW_S).user_id == "u1"
    refused(third, old)


def test_a_running_server_takes_up_a_changed_ring(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rooms.identity.LOOK_EVERY_S", 0.0)
    running = KeyRing.load(path, issuer="us", audience="apps")
    old = running.mint("u1", "driver", "s1", now_s=NOW_S, life_s=LIFE_S)
    Ring.read(path).rotated().write(path)
    fresh = KeyRing.load(path, issuer="us", audience="apps").mint(
        "u1", "driver", "s1", now_s=NOW_S, life_s=LIFE_S
    )
    assert running.verify(fresh, NOW_S).user_id == running.verify(old, NOW_S).user_id == "u1"
    path.write_text("half a fi")
    assert running.verify(fresh, NOW_S).user_id == "u1"
    path.unlink()
    assert running.verify(fresh, NOW_S).user_id == "u1"


def test_the_ring_file_is_the_owners_alone(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"current": "a", "keys": {}}', '{"current": "a", "keys": {"a": "c2hvcnQ="}}',
     '{"current": "a", "keys": {"a": "not base64!"}}'],
)  # fmt: skip
def test_an_unusable_ring_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(text)
    with pytest.raises(BadKeys):
        KeyRing.load(file, issuer="us", audience="apps")


def test_a_missing_ring_names_the_command() -> None:
    with pytest.raises(BadKeys, match="dispatch keys init"):
        KeyRing.load("", issuer="us", audience="apps")
    with pytest.raises(BadKeys, match="dispatch keys init"):
        KeyRing.load("/nowhere/keys.json", issuer="us", audience="apps")


def test_the_bearer_header() -> None:
    assert bearer("Bearer abc") == bearer("bearer  abc ") == "abc"
    assert bearer(None) is bearer("") is bearer("Bearer ") is bearer("Basic abc") is None
