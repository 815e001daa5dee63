"""A job comes to a driver, by his word or an admin's: both records as that leaves them. Others say whether it may."""

from msgspec.structs import replace

from dispatch.policy import Policy
from storage.records import Driver, Job, Stop


def taken(job: Job, driver: Driver, now_ms: int, policy: Policy, fresh_code: str) -> tuple[Job, Driver]:
    """The job as his, and him with it on his plan. `fresh_code` is its secret where its kind or area asks for one."""
    assigned = replace(
        job,
        state="assigned",
        driver_id=driver.id,
        driver_name=driver.name,
        vehicle_id=driver.vehicle_id,
        vehicle=driver.vehicle,
        offer_id=None,
        offered_to=None,
        assigned_ms=now_ms,
        wake_ms=0,
        code=fresh_code if job.kind == "package" or policy.otp_required else "",
        code_tries=0,
    )
    stops = (
        Stop(job.kind, job.id, "pickup", job.pickup),
        *(Stop(job.kind, job.id, "stop", place) for place in job.stops),
        Stop(job.kind, job.id, "dropoff", job.dropoff),
    )
    busy = replace(
        driver,
        offer_id=None,
        load={**driver.load, job.id: job.units or driver.capacity},
        plan=(*driver.plan, *stops),
        changed_ms=now_ms,
    )
    return assigned, busy
