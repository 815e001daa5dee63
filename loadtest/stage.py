"""Sets the stage of a run through the server's own command line: an area, and people with tokens.

The load generator imports nothing of the server; it runs `dispatch` as an operator would, as a child
process with this process's environment.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from loadtest.person import Account

COMMAND_TIMEOUT_S = 120.0


class StageError(Exception):
    """A command of the server failed; the text is what it said."""


async def put_area(feature: dict[str, Any]) -> None:
    """`dispatch areas put`."""
    with tempfile.NamedTemporaryFile(suffix=".geojson") as file:
        file.write(msgspec.json.encode(feature))
        file.flush()
        await _dispatch("areas", "put", file.name)


async def make_people(role: str, count: int) -> list[Account]:
    """`dispatch users token`: new people of one role, with tokens that need no login."""
    if count == 0:
        return []
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/tokens.jsonl"
        await _dispatch("users", "token", "--count", str(count), "--role", role, "--out", file)
        people = read_people(Path(file))
    if len(people) != count:
        raise StageError(f"asked for {count} tokens of role {role}, got {len(people)}")
    return people


def read_people(file: Path) -> list[Account]:
    """A tokens file: one JSON object a line."""
    decoder = msgspec.json.Decoder(Account)
    return [decoder.decode(line) for line in file.read_bytes().splitlines() if line.strip()]


async def _dispatch(*words: str) -> None:
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.cli",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            said, _ = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise StageError(f"dispatch {' '.join(words)}: no end after {COMMAND_TIMEOUT_S:g} s") from None
    if child.returncode != 0:
        raise StageError(f"dispatch {' '.join(words)} failed:\n{said.decode(errors='replace')[-2000:]}")
