"""A driver enters supply: the newest device takes the lease, whatever the older one says later."""

from msgspec.structs import replace

from dispatch.commands import GoOnline, Refusal, not_one_of
from dispatch.decision import Decision, State
from dispatch.eligibility import bad_papers
from storage.records import Driver, UserId

PARCEL_CLASS = "parcel"
CAPACITY_MAX = 20


def decide(state: State, command: GoOnline) -> Decision:
    """A new generation of the driver's lease; jobs and an open offer stay with him, and who was online has been idle
    as long as before. A ride on board keeps the whole vehicle, however large it is now."""
    area = state.areas.find(command.latitude, command.longitude)
    if area is None:
        raise Refusal("outside_area")
    served = {*area.prices.rides, PARCEL_CLASS}
    if not command.classes or not served.issuperset(command.classes):
        raise not_one_of("each of classes", served)
    before = state.driver(command.user) or _nobody(command.user)
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


def _nobody(user: UserId) -> Driver:
    return Driver(id=user, name="", area_id="", classes=(), capacity=0, online=False, generation=0)


def _serves(classes: tuple[str, ...]) -> list[str]:
    """The kinds of job that he can be offered: a courier who names no `parcel` waits for parcels in vain."""
    kinds = {"package" if name == PARCEL_CLASS else "ride" for name in classes}
    return sorted(kinds)
