"""A driver enters supply: the newest device takes the lease, whatever the older one says later.

The newest is the one that was heard last, not the one whose commit came last: a node with a slow way to Redis may
still be at work for a line that was lost when the phone is at work on another. Nodes' clocks differ by what an answer
of Redis takes (rooms/tick.py): of two that come closer together than that either may be refused, and the other drives.
A lease of the future is by a clock that is no more, of the Redis before a failover, and stops nobody.
"""

from msgspec.structs import replace

from dispatch.commands import GoOnline, Refusal, not_one_of
from dispatch.decision import Decision, State
from dispatch.eligibility import bad_papers
from storage.records import Driver, UserId

PARCEL_CLASS = "parcel"
CAPACITY_MAX = 20
CLOCKS_DIFFER_MS = 1_000  # and no more, those of nodes that read the same Redis


def decide(state: State, command: GoOnline) -> Decision:
    """A new generation of the driver's lease; jobs and an open offer stay with him, and who was online has been idle
    as long as before. A ride on board keeps the whole vehicle, however large it is now."""
    area = state.areas.find(command.latitude, command.longitude)
    if area is None:
        raise Refusal("outside_area")
    served = {*area.prices.rides, PARCEL_CLASS}
    if not command.classes or not served.issuperset(command.classes):
        raise not_one_of("each of classes", served)
    before = _before(state, command)
    # who carries a job may come back with another phone, and finish it
    if not before.load and (bad := bad_papers(command.papers, area.policy, state.now_ms)):
        raise Refusal(
            "forbidden",
            f"{area.name} needs valid papers; yours have expired or are missing: {', '.join(bad)}.",
        )
    whole = {stop.job_id for stop in before.plan if stop.kind == "ride"}
    carried = sum(units for job_id, units in before.load.items() if job_id not in whole)
    if not max(1, carried) <= command.capacity <= CAPACITY_MAX:
        raise Refusal("bad_request", f"capacity must be from {max(1, carried)} to {CAPACITY_MAX}.")
    driver = replace(
        before,
        name=command.name,
        area_id=area.id,
        classes=command.classes,
        capacity=command.capacity,
        load={
            job_id: command.capacity if job_id in whole else units for job_id, units in before.load.items()
        },
        online=True,
        stale=False,
        generation=before.generation + 1,
        node=command.node,
        device=command.device,
        leased_ms=command.heard_ms,
        vehicle_id=command.vehicle_id,
        vehicle=command.vehicle,
        seats=command.seats,
        sizes=command.sizes,
        max_weight_kg=command.max_weight_kg,
        papers=command.papers,
        tells_seen=command.tells_seen,
        silence_ms=int(area.policy.stale_s * 1000),
        idle_since_ms=before.free_since_ms if before.online else state.now_ms,
        changed_ms=state.now_ms,
    )
    return Decision(
        answer={
            "state": driver.state,
            "generation": driver.generation,
            "version": driver.version + 1,
            "areaId": area.id,
            "serves": _serves(command.classes),
            "jobs": list(driver.load),
            "staleAfterS": area.policy.stale_s,
        },
        put=(driver,),
        # the index may hold him where an older device left him
        reseat=(driver.id,),
    )


def _before(state: State, command: GoOnline) -> Driver:
    """His record, or that of nobody yet. Raises Refusal superseded where a device has been heard since this one."""
    before = state.driver(command.user) or _nobody(command.user)
    its_own = (before.node, before.device) == (command.node, command.device)
    by_this_clock = before.leased_ms <= state.now_ms + CLOCKS_DIFFER_MS
    if command.heard_ms < before.leased_ms and by_this_clock and not its_own:
        raise Refusal("superseded")
    return before


def _nobody(user: UserId) -> Driver:
    return Driver(id=user, name="", area_id="", classes=(), capacity=0, online=False, generation=0)


def _serves(classes: tuple[str, ...]) -> list[str]:
    """The kinds of job that he can be offered: a courier who names no `parcel` waits for parcels in vain."""
    kinds = {"package" if name == PARCEL_CLASS else "ride" for name in classes}
    return sorted(kinds)
