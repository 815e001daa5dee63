"""Two desks, one Redis, and everything that can go wrong between them: random steps, checked after each.

A step is a number: the seed of what happens (`Play.step`): commands of every kind by everybody, alone or
several at once on both desks, repeated, their replies lost, from superseded devices, while timers run out on
both desks, while time jumps and Redis begins another life. Hypothesis shrinks a failure to the fewest steps
and prints them. `TWO_DESKS_EXAMPLES=5000 ./dev test tests/test_two_desks.py` is the long run.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from dispatch.policy import Policy
from storage import shard as shard_module
from tests.deskkit import Fold, Node, travelling_lua
from tests.deskplay import Play

EXAMPLES = int(os.environ.get("TWO_DESKS_EXAMPLES", "30"))
BROKEN_RUNS_MAX = 100
POLICY = Policy(
    offer_s=10.0,
    offer_grace_s=1.0,
    patience_s=120.0,
    max_offers=4,
    no_show_wait_s=30.0,
    proof_tries=2,
    schedule_lead_s=60.0,
    swap_accepted=True,
    swap_saves_s=1.0,
    finishing_s=180.0,
)
STEPS = st.lists(st.integers(0, 2**32 - 1), min_size=60, max_size=120)

Run = Callable[..., Play]


@contextmanager
def two_desks(redis_url: str) -> Iterator[Run]:
    """Runs a list of steps from an empty Redis; the nodes live on, and see each wipe as another life."""

    async def run(nodes: list[Node], client: "Redis", steps: list[int], settle: bool) -> Play:
        await client.flushall()
        play = Play(nodes, client, Fold(client, POLICY), POLICY)
        try:
            await play.begin()
            for number, step in enumerate(steps):
                await play.step(step)
                await play.fold.catch_up()
                play.look_at_plans()
                if number % 10 == 9:
                    await play.fold.check_live()
            if settle:
                await play.settle()
        except BaseException as error:
            error.add_note("\n".join(play.trace))
            raise
        return play

    async def close(closers: list[Callable[[], Awaitable[None]]]) -> None:
        # a check that failed leaves commands under way; under them no connection may be closed
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for closer in closers:
            await closer()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        nodes = [Node(name, redis_url, POLICY) for name in ("n0", "n1")]
        client = Redis.from_url(redis_url)
        try:
            yield lambda steps, settle=True: runner.run(run(nodes, client, steps, settle))
        finally:
            runner.run(close([node.close for node in nodes] + [client.aclose]))


@pytest.fixture
def lying_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes' own clocks jump by days: only Redis' clock may matter."""
    real, calls = time.time, iter(range(10**12))
    monkeypatch.setattr(time, "time", lambda: real() + (next(calls) * 7919 % 400_001 - 200_000))


@pytest.mark.usefixtures("lying_clocks")
def test_whatever_happens_all_agree(redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "LUA", travelling_lua(tmp_path))
    seen: dict[str, int] = {}
    with two_desks(redis_url) as run:

        @settings(max_examples=EXAMPLES)
        @given(steps=STEPS)
        def holds(steps: list[int]) -> None:
            play = run(steps)
            for what in play.happened:
                seen[what] = seen.get(what, 0) + 1

        holds()
    print(dict(sorted(seen.items())))
    reached = {what for what in seen if what.startswith("state:")}
    missing = {
        f"state:{s}" for s in ("assigned", "completed", "delivered", "cancelled", "no_driver")
    } - reached
    missing |= {"two on one plan", "a plan in another order", "a ride after a ride"} - set(seen)
    missing |= {"taken over", "round beside"} - set(seen)
    assert not missing or EXAMPLES < 20, "the steps no longer come this far, and prove nothing"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(("return { 'conflict', record }", "local _ = record"), id="versions are not compared"),
        pytest.param(("return { 'again', first }", "local _ = first"), id="answers are not remembered"),
        pytest.param(("return { 'late' }", "local _ = now"), id="deadlines are not looked at"),
        pytest.param(
            ("'HINCRBY', head, 'seq', 1", "'HINCRBY', head, 'seq', 1 + now % 2"), id="numbers have gaps"
        ),
        pytest.param(
            ("redis.call('HDEL', spot, driver)", "local _ = spot"), id="the index keeps who has left"
        ),
    ],
)
def test_a_broken_commit_is_noticed(
    broken: tuple[str, str], redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A property that cannot fail proves nothing: each fence of the commit script is taken away once."""
    monkeypatch.setattr(shard_module, "LUA", travelling_lua(tmp_path, commit=broken))
    with two_desks(redis_url) as run, pytest.raises(AssertionError):
        for seed in range(400):
            run([seed * 1_000 + number for number in range(100)])
