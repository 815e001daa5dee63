"""Whose address counts behind a proxy: the rightmost one that no proxy of ours has, and only a trusted peer's word."""

from pathlib import Path

import pytest

from server.http.context import LOGIN_TRIES
from server.proxies import client_of, trusted
from server.settings import BadSetting, Settings, load
from tests.support_http import PASSWORD, http_server


async def test_behind_a_trusted_proxy_each_client_has_tries_of_its_own(
    database_url: str, tmp_path: Path
) -> None:
    settings = Settings(bcrypt_cost=4, trusted_proxies="10.0.0.0/8, 127.0.0.1")
    async with http_server(database_url, tmp_path, settings=settings) as client:
        await client.person("ada@example.org")

        async def tried(forwarded: str = "", password: str = "Wrong-Horse-7@") -> int:
            login = {"email": "ada@example.org", "password": password}
            headers = {"X-Forwarded-For": forwarded} if forwarded else {}
            return (await client.post("/api/auth/login", login, headers=headers)).status

        # what the client claims to the left of its own address opens nothing
        for number in range(LOGIN_TRIES):
            assert await tried(f"198.51.100.{number}, 203.0.113.7") == 401
        assert await tried("198.51.100.99, 203.0.113.7", password=PASSWORD) == 429
        assert await tried("203.0.113.7, 10.1.1.1", password=PASSWORD) == 429
        assert await tried("203.0.113.8", password=PASSWORD) == 200
        assert await tried(password=PASSWORD) == 200


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("203.0.113.1", ["198.51.100.1"], "203.0.113.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6, 198.51.100.1, 10.0.0.2,10.0.0.3"], "198.51.100.1"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.1", "10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ["10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        ("10.0.0.1", ["6.6.6.6, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["", ",", "x" * 5000], "10.0.0.1"),
        ("10.0.0.1", [", ".join(["6.6.6.6"] + ["10.0.0.2"] * 40)], "10.0.0.2"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::1", ["2001:db8::7"], "2001:db8::7"),
        ("local", ["198.51.100.1"], "local"),
    ],
)
def test_the_rightmost_address_that_no_proxy_of_ours_has(peer: str, forwarded: list[str], found: str) -> None:
    assert client_of(peer, forwarded, trusted("10.0.0.0/8, fd00::/8")) == found
    assert client_of(peer, forwarded, trusted("")) == peer


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", "10.0.0.1;10.0.0.2"])
def test_proxies_that_are_no_addresses_stop_the_start(text: str) -> None:
    with pytest.raises(BadSetting, match="DISPATCH_TRUSTED_PROXIES"):
        load({"DISPATCH_TRUSTED_PROXIES": text})
