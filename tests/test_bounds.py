"""What the match does not do more of, so that no city, however full, makes a search or a round longer than may be."""

from __future__ import annotations

import asyncio

import msgspec
import numpy as np
import pytest

from dispatch import match, proposal, rounds
from dispatch.area import Areas
from dispatch.blocks import Blocks
from dispatch.candidates import at_once
from dispatch.etatable import EtaTable
from dispatch.match import nearest
from dispatch.policy import Policy
from rooms import metrics
from rooms.rounds import Leader
from storage import keys
from storage.fleet import Position
from storage.records import Place, UserId
from tests.deskkit import CENTRE, TRAVELLED, S
from tests.rules.build import NOW, a_driver
from tests.support import wait_until
from tests.test_carrying import TOWN, assigned, east, parcel
from tests.test_cells import moved
from tests.test_rounds import Counted, Town, town

__all__ = ["town"]


def rules(town: Town, policy: Policy, eta: EtaTable | None = None) -> None:
    """What holds in the area from now on."""
    desk = town.nodes[0].desk
    (area,) = list(desk.areas)
    desk.areas = Areas([msgspec.structs.replace(area, policy=policy, eta=eta)])


@pytest.mark.parametrize(("most", "moved_on"), [(1, 1), (2, 2)])
async def test_so_many_open_offers_are_looked_at_again(
    town: Town, monkeypatch: pytest.MonkeyPatch, most: int, moved_on: int
) -> None:
    """Those with the most time left."""
    for number in range(2):
        await town.driver(f"far{number}", 12_000.0 * number + 2_500.0)
        await town.ride(f"r{number}", 12_000.0 * number)
        assert (await town.nodes[0].rounds.go(2.0)).asked == {"ok": 1}
        await town.client.incrby(TRAVELLED, 1)
    for number in range(2):
        await town.driver(f"near{number}", 12_000.0 * number + 100.0)
    monkeypatch.setattr(rounds, "ASKED_MAX", most)
    assert (await town.nodes[0].rounds.go(2.0)).asked == {"moved": moved_on}
    assert await town.asked("r0", "r1") == ["far0" if most == 1 else "near0", "near1"]


@pytest.mark.parametrize(("most", "by"), [(5, None), (6, "d0")])
async def test_so_many_drivers_are_counted_before_the_batch_is_asked(
    town: Town, monkeypatch: pytest.MonkeyPatch, most: int, by: str | None
) -> None:
    """Two wait, so six are wanted, where four are read at first."""
    rules(town, Policy(plenty=3.0, candidates=4))
    for number in range(6):
        await town.driver(f"d{number}", 50.0 * number)
    await town.ride("r", 0.0)
    await town.ride("other", 300.0)
    monkeypatch.setattr(match, "COUNTED_MAX", most)
    assert await town.nodes[0].match.at_once("r") is (by is not None)
    assert await town.asked("r") == [by]


@pytest.mark.parametrize(("looks", "by"), [(3, None), (4, "d3")])
async def test_so_many_looks_for_one_who_fits(
    town: Town, monkeypatch: pytest.MonkeyPatch, looks: int, by: str | None
) -> None:
    """One by one; the nearest three are in the index only."""
    rules(town, Policy(plenty=0.0, candidates=1))
    for number in range(4):
        await town.driver(f"d{number}", 50.0 * number)
    await town.client.delete(*(keys.driver(S, f"d{number}") for number in range(3)))
    await town.ride("r", 0.0)
    monkeypatch.setattr(match, "LOOKS", looks)
    assert await town.nodes[0].match.at_once("r") is (by is not None)
    assert await town.asked("r") == [by]


@pytest.mark.parametrize(("most", "first"), [(3, "d0"), (4, "sooner")])
async def test_so_many_are_looked_at_who_may_be_sooner_from_farther_away(
    town: Town, monkeypatch: pytest.MonkeyPatch, most: int, first: str
) -> None:
    """By learned times the one who is farthest is there first; the other three stand nearer."""
    policy = Policy(plenty=0.0, candidates=1)
    table = EtaTable(policy)
    for number in range(400):
        for east_m, seconds in ((3_000.0, 600.0), (4_500.0, 300.0)):
            table.learn(moved(*CENTRE, 1.5708, east_m), CENTRE, 1e9 + 60.0 * number, seconds)
    rules(town, policy, table)
    for number in range(3):
        await town.driver(f"d{number}", 3_000.0 + 5.0 * number)
    await town.driver("sooner", 4_500.0)
    monkeypatch.setattr(match, "FARTHER_MAX", most)
    desk = town.nodes[0].desk
    (area,) = list(desk.areas)
    now_ms = await town.nodes[0].log.now_ms()
    found = await nearest(desk, "economy", Place(*CENTRE), area, now_ms=now_ms)
    assert [each.driver_id for each in found] == [first]


@pytest.mark.parametrize(("most", "by"), [(1, "near courier"), (2, "far courier")])
def test_so_many_couriers_with_parcels_are_looked_at_for_one_more(
    monkeypatch: pytest.MonkeyPatch, most: int, by: str
) -> None:
    """The nearest; of the others it is said that they are farther, though to one of them it may cost less."""
    monkeypatch.setattr(proposal, "BUSY_MAX", most)
    new, on_board = parcel("new", 0.0, 2_000.0), parcel("old", 100.0, 2_100.0)
    couriers = {
        id_: assigned(a_driver(UserId(id_), capacity=5), on_board) for id_ in ("near courier", "far courier")
    }
    stand = {"near courier": east(-300.0), "far courier": east(-600.0)}
    found = {id_: Position(id_, at.latitude, at.longitude, NOW, None) for id_, at in stand.items()}
    made = proposal.Proposal([(new, TOWN)], {"parcel": found}, NOW, {}, np.zeros(1))
    assert sorted(at_once(made.candidates())) == ["far courier", "near courier"]
    for _ in (*made.judge({str(id_): each for id_, each in couriers.items()}, Blocks()), *made.choose()):
        pass
    assert made.pairs == most and [each.to.driver_id for each in made.offers()] == [by]
    said = {each.driver_id: each.reason for each in made.look(0).considered}
    assert (said["far courier"] == "farther") is (most == 1)


async def test_a_round_that_is_longer_than_its_lease_is_ended(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And counted; the next beat begins anew."""
    monkeypatch.setattr("rooms.rounds.LEASE_S", 0.1)
    work, node, before = Counted(), town.nodes[0], metrics.ROUNDS.n["overran",]
    work.hang = True
    leading = asyncio.create_task(Leader(work, node.log.waiting, node.name).run(0.02))  # type: ignore[arg-type]
    try:
        await wait_until(lambda: metrics.ROUNDS.n["overran",] >= before + 2)
        empty, work.hang = metrics.ROUNDS.n["empty",], False
        await wait_until(lambda: metrics.ROUNDS.n["empty",] > empty)
    finally:
        leading.cancel()
        await asyncio.gather(leading, return_exceptions=True)
    assert work.done >= 3
