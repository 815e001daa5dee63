"""A phone of the fault bench keeps up with its rooms by the rules of the protocol page."""

from __future__ import annotations

from typing import Any

from loadtest.faults.rooms import Rooms

ROOM = "ride:x"


def at(seq: int, epoch: str = "e", **more: Any) -> dict[str, Any]:
    return {"room": ROOM, "epoch": epoch, "seq": seq, **more}


def connected(*jobs: dict[str, Any]) -> dict[str, Any]:
    return {"room": "user:me", "epoch": "e", "seq": 0, "jobs": list(jobs)}


def gives(rooms: Rooms, **said: Any) -> list[int]:
    answer = {"ok": True, "rooms": [{"room": ROOM, "epoch": "e", "recovered": True, "events": [], **said}]}
    return [payload["seq"] for _, payload in rooms.answered(answer)]


def heard(*seqs: int) -> Rooms:
    rooms = Rooms()
    for seq in seqs:
        rooms.hear("new_message", at(seq))
    return rooms


def test_the_next_is_taken_and_the_old_is_dropped() -> None:
    rooms = heard(1, 2, 1, 2, 3)
    assert rooms.at[ROOM] == ("e", 3) and rooms.wants() == []


def test_a_hole_and_another_epoch_are_asked_about() -> None:
    assert heard(1, 3).wants() == [[ROOM, "e", 1]]
    rooms = heard(1)
    rooms.hear("new_message", at(1, "f"))
    assert rooms.wants() == [[ROOM, "e", 1]]


def test_connected_tells_what_to_ask_for() -> None:
    rooms = heard(1)
    rooms.hear("connected", connected(at(1)))
    assert rooms.wants() == []
    rooms.hear("connected", connected(at(2)))
    assert rooms.wants() == [[ROOM, "e", 1]]
    rooms = heard(1)
    rooms.hear("connected", connected())
    assert rooms.wants() == [[ROOM, "e", 1]], "not announced any more"


def test_an_answer_is_taken_as_if_heard_and_each_of_it_once() -> None:
    rooms = heard(1, 3)
    assert gives(rooms, seq=3, events=[["new_message", at(2)], ["new_message", at(3)]]) == [2, 3]
    assert rooms.at[ROOM] == ("e", 3) and rooms.wants() == []
    rooms.hear("new_message", at(4))
    assert rooms.at[ROOM] == ("e", 4)


def test_what_cannot_be_told_begins_anew() -> None:
    rooms = heard(1, 3)
    assert gives(rooms, epoch="f", seq=9, recovered=False) == []
    assert rooms.at[ROOM] == ("f", 9) and rooms.wants() == []


def test_a_room_that_is_refused_for_now_is_asked_again_and_for_good_is_forgotten() -> None:
    rooms = heard(1, 3)
    list(
        rooms.answered(
            {"ok": True, "rooms": [{"room": ROOM, "error": {"code": "unavailable", "retry": True}}]}
        )
    )
    assert rooms.wants() == [[ROOM, "e", 1]]
    list(
        rooms.answered(
            {"ok": True, "rooms": [{"room": ROOM, "error": {"code": "not_found", "retry": False}}]}
        )
    )
    assert rooms.wants() == [] and ROOM not in rooms.at


def test_the_end_of_a_job_is_the_end_of_its_room() -> None:
    rooms = heard(1, 3)
    gives(rooms, seq=3, events=[["new_message", at(2)], ["ride_status_update", at(3, state="completed")]])
    assert ROOM not in rooms.at and rooms.wants() == []
    rooms = heard(1, 3)
    gives(rooms, epoch="f", seq=3, recovered=False, last={"job": {"state": "cancelled"}})
    assert ROOM not in rooms.at and rooms.wants() == []


def test_a_server_without_sync_leaves_the_snapshot_as_the_start() -> None:
    rooms = heard(1)
    rooms.hear("connected", connected(at(5)))
    assert list(rooms.answered({"ok": False, "error": {"code": "bad_request", "retry": False}})) == []
    assert rooms.at[ROOM] == ("e", 5) and rooms.wants() == []
