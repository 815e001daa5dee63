"""A driver leaves supply; an offer he holds goes to the next. Who carries a job cannot leave."""

from msgspec.structs import replace

from dispatch.commands import GoOffline, Refusal
from dispatch.decision import Decision, State
from dispatch.rules.release import offer_returned, without_offer
from storage.records import Driver


def decide(state: State, command: GoOffline) -> Decision:
    driver = state.driver(command.user)
    if driver is None or not driver.online:
        return Decision(answer={"state": "offline"})
    if driver.device != command.device:
        raise Refusal("superseded")
    if driver.load:
        raise Refusal("wrong_state", "You carry a job: finish or cancel it first.")
    answer = {"state": "offline", "version": driver.version + 1}
    offline = replace(without_offer(driver, state.now_ms), online=False, stale=False)
    offer = state.offer(driver.offer_id)
    job = state.job(offer.job_id) if offer else None
    if job is None or job.offer_id != driver.offer_id:
        return Decision(answer=answer, put=(offline,))
    records, facts = offer_returned(state, job, "lost", "driver went offline")
    return Decision(
        answer=answer, put=(offline, *(r for r in records if not isinstance(r, Driver))), facts=facts
    )
