"""The fault bench as a whole, short: a cluster is broken under load, and nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from loadtest.faults.report import MUST_BE_ZERO
from rooms.identity import Ring
from server.devstack.find import find_or_install
from tests.support import CHECKOUT

MINUTES = 0.3
BOUND_S = 150.0


async def test_a_short_run_loses_nothing(database_url: str, tmp_path: Path) -> None:
    Ring.new().write(tmp_path / "keys.json")
    redis = find_or_install(postgres=False).redis
    env = {
        **os.environ,
        **redis.env,
        "DISPATCH_DATABASE_URL": database_url,
        "DISPATCH_KEYS_FILE": str(tmp_path / "keys.json"),
        "DISPATCH_REDIS_PROGRAM": str(redis.path),
        "DISPATCH_LOGS": str(tmp_path),
    }
    only = "node_killed,node_stopped,drain_killed,redis_killed,redis_connections_killed,link_cut"
    words = f"--seed 5 --minutes {MINUTES} --nodes 2 --drains 1 --drivers 8 --riders 8 --json --only {only}"
    argv = [sys.executable, "-m", "loadtest.faults", *words.split()]
    pipe = asyncio.subprocess.PIPE
    bench = await asyncio.create_subprocess_exec(*argv, env=env, cwd=CHECKOUT, stdout=pipe, stderr=pipe)
    try:
        async with asyncio.timeout(BOUND_S):
            said, errors = await bench.communicate()
    finally:
        if bench.returncode is None:
            bench.terminate()
            await bench.wait()
    assert bench.returncode in (0, 1), errors.decode()
    line = json.loads(said)
    assert not any(line[name] for name in MUST_BE_ZERO), errors.decode()
    # one late answer of some hundred is more than the bench allows among its tens of thousands
    assert line["acked_share_outside_windows"] >= 0.99, errors.decode()
    assert list(line)[:12] == [
        *("seed", "faults", "acked", "assignments", "lost", "duplicated", "out_of_order", "foreign"),
        *("double_assignments", "lost_in_window", "worst_recovery_s", "acked_share_outside_windows"),
    ]
    assert line["faults"] >= 3 and line["acked"] >= 100 and line["assignments"] >= 5, line
