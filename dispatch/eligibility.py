"""May this driver be offered this job? One pure answer, with the reason: for the match, the commit and the record.

`why_not` is "" or one of REASONS, the first that holds: what does not pass comes before what does. The match asks it
of whom it looks at, and the commit of an offer asks it again of the records as they are then.
"""

from dispatch.blocks import Blocks
from dispatch.policy import Policy
from storage.records import Driver, Job

#: What a reason says of a driver, behind his name. He himself is never told that somebody blocks him.
REASONS = {
    "requester": "asked for it himself",
    "excluded": "was asked for it before, or gave it back",
    "passed": "did not see its offer; he is asked again later",
    "moved": "was asked for it until a better one was; he may be again, should that one not take it",
    "blocked": "and the requester are kept apart",
    "class": "does not serve this class",
    "papers": "has a paper that has expired, or lacks one that the area asks for",
    "seats": "has too few seats",
    "size": "does not take parcels of this size",
    "weight": "does not carry so much weight",
    "offline": "is not online",
    "stale": "has been silent for too long",
    "offered": "is thinking about an offer of another job",
    "full": "has no room for it",
}


def why_not(
    job: Job, driver: Driver, policy: Policy, blocks: Blocks, now_ms: int, *, rest_s: float | None = None
) -> str:
    """`policy` is the job's area's. A ride (units 0) wants the whole vehicle, or comes after the one that he has on
    board, if that is over in `rest_s` (None: nobody looked)."""
    if driver.id == job.requester_id:
        return "requester"
    if driver.id in job.excluded:
        return "excluded"
    if job.passed.get(driver.id, 0) > now_ms:
        return "passed"
    if driver.id in job.moved_from:
        return "moved"
    if blocks.between(job.requester_id, driver.id):
        return "blocked"
    if job.vehicle_class not in driver.classes:
        return "class"
    if bad_papers(driver.papers, policy, now_ms):
        return "papers"
    if job.kind == "ride" and job.seats > (driver.seats or policy.usual_seats):
        return "seats"
    if job.parcel is not None and (unfit := _unfit(job, driver)):
        return unfit
    if not driver.online:
        return "offline"
    if driver.stale:
        return "stale"
    if driver.offer_id is not None:
        return "offered"
    if driver.spare < job.units if job.units else driver.load or driver.spare < 1:
        return "" if job.kind == "ride" and _ends_soon(driver, policy, rest_s) else "full"
    return ""


def _ends_soon(driver: Driver, policy: Policy, rest_s: float | None) -> bool:
    """By the record and by what was foretold; with a `finishing_s` of 0 never, however near he is."""
    return driver.finishing and rest_s is not None and 0.0 < policy.finishing_s >= rest_s


def _unfit(job: Job, driver: Driver) -> str:
    assert job.parcel is not None
    if driver.sizes and job.parcel.size not in driver.sizes:
        return "size"
    return "weight" if too_heavy(job, driver) else ""


def too_heavy(job: Job, driver: Driver) -> bool:
    """With all that he carries and is to pick up; whoever names no limit takes what the area allows."""
    if job.parcel is None or not driver.max_weight_kg:
        return False
    # to the gram: three of 0.1 kg are 0.3
    return round(driver.load_kg + job.parcel.weight_kg - driver.max_weight_kg, 3) > 0.0


def bad_papers(papers: dict[str, int], policy: Policy, now_ms: int) -> tuple[str, ...]:
    """Which of a driver's papers (kind -> Redis ms until which it is good) have expired, and which that the area asks
    for he does not have. What nobody registered is only missed where the area asks for it."""
    expired = {kind for kind, until_ms in papers.items() if until_ms <= now_ms}
    return tuple(sorted(expired | (set(policy.papers) - papers.keys())))
