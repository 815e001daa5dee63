"""One pure rule per command: `decide(state, command) -> Decision`, and the records it wants to see.

`wants` names what the command itself names; what those records point to (a job's driver and offer, a driver's
offer and jobs) is loaded after them, by `follow`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from dispatch import commands as c
from dispatch.decision import Decision, State
from dispatch.rules import (
    answer_offer,
    by_hand,
    cancel_job,
    chat,
    go_offline,
    go_online,
    hold_job,
    make_offer,
    move_job,
    open_job,
    restore_job,
    revive,
    wake_driver,
    wake_job,
)
from storage.records import Driver, Job, Offer, Stored

Wanted = list[tuple[type, str]]


class Rule(NamedTuple):
    wants: Callable[[Any], Wanted]
    decide: Callable[[State, Any], Decision]


def _self(command: c.Command) -> Wanted:
    return [(Driver, command.user)]


def _job(command: Any) -> Wanted:
    return [(Job, command.job_id)]


def _job_and_self(command: Any) -> Wanted:
    return [(Job, command.job_id), (Driver, command.user)]


def _offer(command: Any) -> Wanted:
    return [(Offer, command.offer_id), (Job, c.job_of_offer(command.offer_id)), (Driver, command.user)]


def _pair(command: c.MakeOffer) -> Wanted:
    wanted: Wanted = [(Job, command.job_id), (Driver, command.driver_id)]
    if command.instead and command.instead_of:
        wanted += [(Offer, command.instead), (Driver, command.instead_of)]
    return wanted + ([(Driver, command.beside)] if command.beside else [])


def _lost(command: c.RestoreJob) -> Wanted:
    job, offer = command.job, command.offer
    wanted: Wanted = [(Job, job.id)]
    wanted += [(Driver, job.driver_id)] if job.driver_id else []
    return wanted + ([(Offer, offer.id)] if offer else [])


RULES: dict[type[c.Command], Rule] = {
    c.GoOnline: Rule(_self, go_online.decide),
    c.GoOffline: Rule(_self, go_offline.decide),
    c.Revive: Rule(_self, revive.decide),
    c.OpenJob: Rule(_job, open_job.decide),
    c.CancelJob: Rule(_job, cancel_job.decide),
    c.MakeOffer: Rule(_pair, make_offer.decide),
    c.SeeOffer: Rule(_offer, answer_offer.decide_seen),
    c.AcceptOffer: Rule(_offer, answer_offer.decide_accept),
    c.DeclineOffer: Rule(_offer, answer_offer.decide_decline),
    c.MoveJob: Rule(_job_and_self, move_job.decide),
    c.AssignJob: Rule(lambda m: [(Job, m.job_id), (Driver, m.driver_id)], by_hand.decide_assign),
    c.UnassignJob: Rule(_job, by_hand.decide_unassign),
    c.LiftHold: Rule(_job, by_hand.decide_lift),
    c.WakeJob: Rule(_job, wake_job.decide),
    c.WakeDriver: Rule(lambda m: [(Driver, m.driver_id)], wake_driver.decide),
    c.HoldJob: Rule(_job, hold_job.decide),
    c.RestoreJob: Rule(_lost, restore_job.decide),
    c.SendMessage: Rule(_job, chat.decide_send),
    c.ReadMessages: Rule(_job, chat.decide_read),
}

#: Rules that look no further than what they name.
SELF_CONTAINED = (c.GoOnline, c.Revive, c.OpenJob, c.MakeOffer, c.SeeOffer, c.SendMessage, c.ReadMessages)


def heed_newest_device(command: c.Command, records: dict[tuple[type, str], Stored | None]) -> None:
    """Raises Refusal superseded for what a phone says late, that drove until a newer one of its driver did."""
    driver = records.get((Driver, command.user))
    if command.drove and isinstance(driver, Driver) and driver.device not in ("", command.drove):
        raise c.Refusal("superseded")


def follow(command: c.Command, records: dict[tuple[type, str], Stored | None]) -> Wanted:
    """What the loaded records point to and is not loaded yet."""
    if isinstance(command, SELF_CONTAINED):
        return []
    wanted: dict[tuple[type, str], None] = {}
    for record in records.values():
        if isinstance(record, Job):
            wanted |= dict.fromkeys((Driver, id_) for id_ in (record.driver_id, record.offered_to) if id_)
            if record.offer_id:
                wanted[Offer, record.offer_id] = None
        elif isinstance(record, Driver):
            wanted |= dict.fromkeys((Job, id_) for id_ in record.load)
            if record.offer_id:
                wanted[Offer, record.offer_id] = None
                wanted[Job, c.job_of_offer(record.offer_id)] = None
    return [want for want in wanted if want not in records]
