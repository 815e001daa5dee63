"""Chat: between the parties of a job, while somebody carries it; it changes nothing, and is fenced all the same."""

from typing import Any

import pytest

from dispatch import commands as c
from tests.invariants import NOBODYS, OVER
from tests.rules.build import ANN, DEE, EVERY, JOB, NOW, PAT, XAN, a_driver, room, scene, the_fact

WHO = {"P": PAT, "D": DEE, "A": ANN, "X": XAN}


def say(kind: str, by: str, **more: Any) -> c.SendMessage:
    values = {"user": WHO[by], "room": room(kind), "job_id": JOB, "kind": kind}
    line = {"message_id": "m1", "name": by, "type": "text", "text": "I am here"}
    return c.SendMessage(**{**values, **line, **more})


def read(kind: str, by: str, **more: Any) -> c.ReadMessages:
    values = {"user": WHO[by], "room": room(kind), "job_id": JOB, "kind": kind, "message_id": "m1"}
    return c.ReadMessages(**{**values, **more})


@pytest.mark.parametrize("by", WHO)
@pytest.mark.parametrize(("kind", "state"), EVERY)
def test_every_state_by_every_party(kind: str, state: str, by: str) -> None:
    world = scene(kind, state)
    party = by == "P" or (by == "D" and world.job.driver_id == DEE)
    spoken = "ok" if state not in NOBODYS | OVER else "wrong_state"
    assert world.code(say(kind, by)) == (spoken if party else "not_found")
    assert world.code(read(kind, by)) == ("ok" if party else "not_found")
    other = "package" if kind == "ride" else "ride"
    for command in (say(other, by), read(other, by), say(kind, by, job_id="j"), read(kind, by, job_id="j")):
        assert world.code(command) == "not_found"


@pytest.mark.parametrize("by", ["P", "D"])
@pytest.mark.parametrize("kind", ["ride", "package"])
def test_what_the_room_hears(kind: str, by: str) -> None:
    world = scene(kind, "assigned")
    decision = world.decide(say(kind, by))
    fact = the_fact(decision, "new_message")
    field = "rideId" if kind == "ride" else "packageId"
    assert fact.room == room(kind) and fact.payload["senderId"] == WHO[by]
    assert (fact.payload["id"], fact.payload[field], fact.payload["message"]) == ("m1", JOB, "I am here")
    (message,) = fact.records
    assert (message.sender_id, message.sent_ms, message.text) == (WHO[by], NOW, "I am here")  # type: ignore[union-attr]
    assert decision.read == (world.job,) and not decision.put, "fenced: a party no longer is not heard"


def test_a_read_mark() -> None:
    world = scene("ride", "in_progress")
    decision = world.decide(read("ride", "P"))
    fact = the_fact(decision, "message_read")
    assert (fact.payload["readerId"], fact.payload["messageId"]) == (PAT, "m1")
    assert decision.read == (world.job,) and decision.answer == {"messageId": "m1"}


def test_a_read_mark_after_the_end_is_kept_and_told_to_nobody() -> None:
    """The fact that ended the job was its room's last: whoever left must hear nothing more of it."""
    world = scene("ride", "completed")
    decision = world.decide(read("ride", "P"))
    (fact,) = decision.facts
    assert (fact.event, fact.payload, len(fact.records)) == ("", {}, 1)
    assert decision.answer == {"messageId": "m1"}


def test_who_gave_the_job_back_is_no_party_any_more() -> None:
    world = scene("ride", "searching", excluded=(DEE,), driver=a_driver())
    assert world.code(say("ride", "D")) == world.code(read("ride", "D")) == "not_found"
