"""Parcels of one place that are ready together go to one courier: while he is asked for the first, the others wait.

Pure. A batch gives each courier one parcel at most, so that two of one shop would go to two of them. So what a batch
chose is looked at once more: a parcel is held back where the courier of another one of its place could take it on top
for less than its own would cost. Once he said yes he is a candidate with a plan like any other (carrying.py), at whose
next stop it lies; nobody is bound to anything by this.

| when | then |
|---|---|
| he says no, or nothing | both wait again; the next batch begins anew |
| he could not take it: no room, another size, a block | it is offered as it was chosen |
| its own courier is cheaper | it is offered as it was chosen |
| it has waited for as long as two couriers may think | it is offered as it was chosen |
| a courier with more on his plan is chosen for it | he is asked: what it costs him was counted already |
"""

from collections.abc import Generator, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from dispatch.area import Area
from dispatch.blocks import Blocks
from dispatch.carrying import ready_ms, ways, with_job
from dispatch.eligibility import why_not
from storage.records import Driver, Job, JobId

_TRIED_MAX = 4  # couriers for each parcel, of those who go to its place
_SAME = 4  # digits of a degree: 11 m


class Going(NamedTuple):
    """A courier and the parcel that he is asked for, or is to be asked; `eta_s` is until he is at its pickup."""

    job: Job
    driver: Driver
    area: Area
    eta_s: float = 0.0


def held_back(
    asked: Sequence[Going], chosen: Sequence[Going], blocks: Blocks, now_ms: int, held: set[JobId]
) -> Generator[None, None, None]:
    """Of parcels: puts those of `chosen` into `held` that are to wait for the courier of another. Others may run
    between its steps."""
    at: dict[tuple[float, float], list[Going]] = {}
    for each in asked:
        _goes(at, each, now_ms)
    for each in sorted(chosen, key=lambda each: (each.job.searching_ms, each.job.id)):
        together = [] if each.driver.plan else at.get(_place(each.job), [])
        for number, first in enumerate(together[:_TRIED_MAX]):
            if _fits(first, each, blocks, now_ms):
                yield
                (way,) = ways(each.job, [(first.driver, first.driver.plan[0].place)], each.area, now_ms)
                if way.cost_s + each.area.policy.pickup_overhead_s < each.eta_s:
                    held.add(each.job.id)
                    together[number] = first._replace(driver=_with(first.driver, each, now_ms))
                    break
        else:
            _goes(at, each, now_ms)


def _goes(at: dict[tuple[float, float], list[Going]], each: Going, now_ms: int) -> None:
    taken = each._replace(driver=_with(each.driver, each, now_ms))
    at.setdefault(_place(each.job), []).append(taken)


def _with(driver: Driver, each: Going, now_ms: int) -> Driver:
    plan = with_job(driver, each.job, each.area, now_ms)
    return replace(driver, offer_id=None, plan=plan, load={**driver.load, each.job.id: each.job.units})


def _place(job: Job) -> tuple[float, float]:
    return round(job.pickup.latitude, _SAME), round(job.pickup.longitude, _SAME)


def _fits(first: Going, each: Going, blocks: Blocks, now_ms: int) -> bool:
    policy, job = each.area.policy, each.job
    return (
        now_ms - job.searching_ms < 2_000 * policy.offer_s
        and abs(ready_ms(job) - ready_ms(first.job)) <= policy.bundle_s * 1000
        and not why_not(job, first.driver, policy, blocks, now_ms)
    )
