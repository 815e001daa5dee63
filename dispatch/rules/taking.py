"""A job comes to a driver, by his word or an admin's: both records as that leaves them. Others say whether it may."""

import numpy as np
from msgspec.structs import replace

from dispatch.area import Area
from dispatch.carrying import with_job
from storage.records import Driver, Job


def taken(
    job: Job, driver: Driver, now_ms: int, area: Area, fresh_code: str, *, latest_s: float = np.inf
) -> tuple[Job, Driver]:
    """The job as his, and him with it on his plan (carrying.py).

    `fresh_code` is its secret where its kind or area asks for one. A parcel's pickup is to begin `latest_s` after his
    next stop, if that can be.
    """
    assigned = replace(
        job,
        state="assigned",
        driver_id=driver.id,
        driver_name=driver.name,
        vehicle_id=driver.vehicle_id,
        vehicle=driver.vehicle,
        offer_id=None,
        offered_to=None,
        moved_from=(),
        assigned_ms=now_ms,
        wake_ms=0,
        code=fresh_code if job.kind == "package" or area.policy.otp_required else "",
        code_tries=0,
    )
    busy = replace(
        driver,
        offer_id=None,
        load={**driver.load, job.id: job.units or driver.capacity},
        plan=with_job(driver, job, area, now_ms, latest_s),
        changed_ms=now_ms,
    )
    return assigned, busy
