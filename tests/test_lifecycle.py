"""The lifecycle as tables: closed, every state reachable and able to end, every state with the platform's word."""

import pytest

from dispatch.commands import CODES, Refusal
from dispatch.lifecycle import (
    BEFORE_PICKUP,
    NO_SUPPLY,
    OVER,
    TABLES,
    WORDS,
    from_client,
    step,
)

KINDS = ("ride", "package")
UNASSIGNED = frozenset({"scheduled", "searching", "offered"})  # nobody carries the job
# PROTOCOL.md "Vocabulary", written down again from there: word, then the states it stands for.
SPOKEN = {
    "ride": {
        "pending": "scheduled searching offered",
        "confirmed": "assigned arrived",
        "in_progress": "in_progress",
        "completed": "completed",
        "cancelled": "cancelled no_driver no_show",
    },
    "package": {
        "pending": "scheduled searching offered",
        "pending_pickup": "assigned arrived_pickup",
        "in_transit": "picked_up arrived_dropoff failed returning",
        "completed": "delivered",
        "cancelled": "cancelled no_courier returned",
    },
}
# From a client: a word that is no state, the one state in which it means something, and what it means there.
MEANT = [
    ("ride", "confirmed", "assigned", "arrived"),
    ("ride", "driver_arrived", "assigned", "arrived"),
    ("package", "in_transit", "arrived_pickup", "picked_up"),
    ("package", "completed", "arrived_dropoff", "delivered"),
]
#: What somebody may say, be it with a reason; nobody says that it is assigned, offered, or that nobody was found.
ALLOWED = {
    "ride": {
        *("searching", "cancelled", "arrived", "no_show", "in_progress", "completed"),
        *("confirmed", "driver_arrived"),
    },
    "package": {
        *("searching", "cancelled", "arrived_pickup", "picked_up", "arrived_dropoff", "delivered"),
        *("failed", "returning", "returned", "in_transit", "completed"),
    },
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_has_the_platforms_word(kind: str) -> None:
    assert WORDS[kind] == {state: word for word, states in SPOKEN[kind].items() for state in states.split()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_closed(kind: str) -> None:
    table = TABLES[kind]
    targets = {to for steps in table.values() for to in steps}
    assert table.keys() | targets == WORDS[kind].keys()
    assert targets - table.keys() == OVER[kind], "what has no way on is over"
    assert targets | {"scheduled", "searching"} == WORDS[kind].keys(), "everything is reached"
    assert all(set(by) <= set("PDSA") and by for steps in table.values() for by in steps.values())
    assert BEFORE_PICKUP[kind] | UNASSIGNED <= table.keys() and NO_SUPPLY[kind] in OVER[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_state_can_end(kind: str) -> None:
    for state in TABLES[kind]:
        seen, reached = set(), {state}
        while reached - seen:
            seen |= reached
            reached = reached | {to for at in reached for to in TABLES[kind].get(at, {})}
        assert reached & OVER[kind], state


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_lost_before_the_pickup_is_replaced_and_after_it_is_not(kind: str) -> None:
    gives_back = {at for at, steps in TABLES[kind].items() if "searching" in steps and at not in UNASSIGNED}
    assert gives_back == BEFORE_PICKUP[kind]
    assert all(TABLES[kind][state]["searching"] == "DSA" for state in gives_back)


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_there_is_and_every_one_there_is_not(kind: str) -> None:
    for state in WORDS[kind]:
        for to in WORDS[kind]:
            allowed = TABLES[kind].get(state, {}).get(to)
            for by in "PDSA":
                code = "wrong_state" if allowed is None else "ok" if by in allowed else "forbidden"
                assert said(kind, state, to, by) == code, (state, to, by)


def test_who_may_not_is_told_who_may() -> None:
    with pytest.raises(Refusal, match="a ride is moved by its driver, not by you"):
        step("ride", "assigned", "arrived", "P")


@pytest.mark.parametrize(
    ("state", "to", "by", "words"),
    [
        (
            "searching",
            "completed",
            "P",
            "to completed it is moved by its driver or an administrator, not by you",
        ),
        ("searching", "no_driver", "P", "is moved by the system, not by you"),
        ("assigned", "completed", "D", "From assigned you can move the ride to arrived or searching; not to"),
        ("in_progress", "searching", "P", "to searching it is moved by its driver"),
        ("completed", "cancelled", "P", "The ride is completed, and so over: it cannot go to cancelled"),
    ],
)
def test_who_asks_for_a_step_there_is_not_hears_what_is_his(state: str, to: str, by: str, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        step("ride", state, to, by)


def said(kind: str, state: str, to: str, by: str) -> str:
    try:
        assert step(kind, state, to, by) == to
    except Refusal as refusal:
        return refusal.code
    return "ok"


@pytest.mark.parametrize("kind", KINDS)
def test_a_client_may_say_every_state(kind: str) -> None:
    for state in WORDS[kind]:
        assert all(from_client(kind, at, state) == state for at in WORDS[kind])


@pytest.mark.parametrize(("kind", "word", "at", "meaning"), MEANT)
def test_a_word_means_something_in_one_state_only(kind: str, word: str, at: str, meaning: str) -> None:
    for state in WORDS[kind]:
        if word in WORDS[kind]:
            assert from_client(kind, state, word) == word
        elif state == at:
            assert from_client(kind, state, word) == meaning
        else:
            with pytest.raises(Refusal, match="wrong_state"):
                from_client(kind, state, word)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("word", ["pending", "pending_pickup", "", "ARRIVED", "deleted", "arrived "])
def test_ambiguous_and_unknown_words_are_refused_with_the_list(kind: str, word: str) -> None:
    with pytest.raises(Refusal, match="bad_request") as refused:
        from_client(kind, "assigned", word)
    said = refused.value.message.partition("Allowed: ")[2].removesuffix(".").split(", ")
    assert set(said) == ALLOWED[kind]


def test_refusals_say_whether_to_retry() -> None:
    assert {code for code, (_, retry) in CODES.items() if retry} == {"unavailable", "draining"}
    assert Refusal("offer_gone").message == CODES["offer_gone"][0] and Refusal("draining").retry
