"""A benchmark as a process, small: its exit code, its figures, and what it said beside them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from server.devstack.app import pids_as_json
from tests.stack import RunningStack
from tests.support import CHECKOUT

BOUND_S = 90.0


async def bench(stack: RunningStack, module: str, *words: str) -> tuple[int, dict[str, Any], str]:
    """One that wants a stack."""
    return await alone(module, *words, env={**stack.app.env, "DISPATCH_PIDS": pids_as_json(stack.app, {})})


async def alone(
    module: str, *words: str, env: Mapping[str, str] = os.environ
) -> tuple[int, dict[str, Any], str]:
    argv, pipe = [sys.executable, "-m", module, *words, "--json"], asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*argv, env=env, cwd=CHECKOUT, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(BOUND_S):
            out, errors = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode in (0, 1), errors.decode()
    return child.returncode, json.loads(out), errors.decode()
