"""The life of a ride and of a package, as two tables: {state: {next state: who may cause it}}.

P passenger or sender, D the assigned (or offered) driver, S the system, A an admin. A missing pair is a
refusal, `wrong_state`; a present pair by somebody else is `forbidden`. Nothing else decides what may follow
what. The platform's apps know fewer words than we have states: WORDS maps ours to theirs.
"""

from collections.abc import Iterable

from dispatch.commands import Refusal

RIDE: dict[str, dict[str, str]] = {
    "scheduled": {"searching": "S", "cancelled": "PA"},
    "searching": {"offered": "S", "assigned": "A", "no_driver": "S", "cancelled": "PAS"},
    "offered": {"assigned": "DA", "searching": "DS", "cancelled": "PA"},
    "assigned": {"arrived": "D", "searching": "DSA", "cancelled": "PA"},
    "arrived": {"in_progress": "D", "no_show": "DS", "searching": "DSA", "cancelled": "PA"},
    "in_progress": {"completed": "DA", "cancelled": "A"},
}

PACKAGE: dict[str, dict[str, str]] = {
    "scheduled": {"searching": "S", "cancelled": "PA"},
    "searching": {"offered": "S", "assigned": "A", "no_courier": "S", "cancelled": "PAS"},
    "offered": {"assigned": "DA", "searching": "DS", "cancelled": "PA"},
    "assigned": {"arrived_pickup": "D", "searching": "DSA", "cancelled": "PA"},
    "arrived_pickup": {"picked_up": "D", "searching": "DSA", "cancelled": "PA"},
    "picked_up": {"arrived_dropoff": "D", "failed": "DA"},
    "arrived_dropoff": {"delivered": "DA", "failed": "DA"},
    "failed": {"arrived_dropoff": "D", "returning": "DSA"},
    "returning": {"returned": "DA"},
}

TABLES = {"ride": RIDE, "package": PACKAGE}
OVER = {
    "ride": frozenset({"completed", "cancelled", "no_driver", "no_show"}),
    "package": frozenset({"delivered", "cancelled", "no_courier", "returned"}),
}
#: A driver is on his way to the pickup: he can still be replaced.
BEFORE_PICKUP = {
    "ride": frozenset({"assigned", "arrived"}),
    "package": frozenset({"assigned", "arrived_pickup"}),
}
#: Nobody drives yet: what a driver answers here is an offer.
UNASSIGNED = frozenset({"scheduled", "searching", "offered"})
NO_SUPPLY = {"ride": "no_driver", "package": "no_courier"}

WORDS: dict[str, dict[str, str]] = {
    "ride": {
        "scheduled": "pending",
        "searching": "pending",
        "offered": "pending",
        "assigned": "confirmed",
        "arrived": "confirmed",
        "in_progress": "in_progress",
        "completed": "completed",
        "cancelled": "cancelled",
        "no_driver": "cancelled",
        "no_show": "cancelled",
    },
    "package": {
        "scheduled": "pending",
        "searching": "pending",
        "offered": "pending",
        "assigned": "pending_pickup",
        "arrived_pickup": "pending_pickup",
        "picked_up": "in_transit",
        "arrived_dropoff": "in_transit",
        "failed": "in_transit",
        "returning": "in_transit",
        "delivered": "completed",
        "cancelled": "cancelled",
        "no_courier": "cancelled",
        "returned": "cancelled",
    },
}

#: Of an admin every step needs it: it stands in the audit log.
WHY = "An administrator says why: give a reason."

#: What must come with the step to a state, as the field is named on the wire; an admin needs none of it. A code
#: is asked for only where the job has one.
NEEDS = {
    "in_progress": "otp",
    "delivered": "proof.code",
    "failed": "reason",
    "returning": "reason",
    "returned": "proof",
}

PARTIES = {"P": "its requester", "D": "its driver", "S": "the system", "A": "an administrator"}

#: Words of a client that are not a state: to what they move a job that is in the given state.
FROM_WORD: dict[str, dict[str, dict[str, str]]] = {
    "ride": {
        "confirmed": {"assigned": "arrived"},
        "driver_arrived": {"assigned": "arrived"},
    },
    "package": {"in_transit": {"arrived_pickup": "picked_up"}, "completed": {"arrived_dropoff": "delivered"}},
}


def step(kind: str, state: str, to: str, by: str) -> str:
    """`to`, if the party `by` (one of P D S A) may move a job of `kind` from `state` there.
    Raises Refusal wrong_state or forbidden."""
    allowed = TABLES[kind].get(state, {})
    if to not in allowed:
        raise Refusal("wrong_state", _no_way(kind, state, to, by))
    if by not in allowed[to]:
        raise Refusal(
            "forbidden", f"From {state} to {to} a {kind} is moved by {_named(allowed[to])}, not by you."
        )
    return to


def _no_way(kind: str, state: str, to: str, by: str) -> str:
    """Whoever never moves a job there hears whose that is; others where they can move it from here."""
    if state in OVER[kind]:
        return f"The {kind} is {state}, and so over: it cannot go to {to}."
    who = {party for steps in TABLES[kind].values() for party in steps.get(to, "")}
    if who and by not in who:
        movers = _named(party for party in PARTIES if party in who)
        return f"The {kind} is {state}; to {to} it is moved by {movers}, not by you."
    ways = " or ".join(each for each, parties in TABLES[kind][state].items() if by in parties) or "nothing"
    return f"From {state} you can move the {kind} to {ways}; not to {to}."


def _named(parties: Iterable[str]) -> str:
    return " or ".join(PARTIES[party] for party in parties)


def tellers(kind: str, state: str, to: str) -> str:
    """Who may say this step as a status: of those who may cause it, all but the system and who has a command of its
    own for it (to take a job, or to give it by hand)."""
    if to == "assigned":
        return ""
    parties = TABLES[kind].get(state, {}).get(to, "")
    return "".join(p for p in parties if p != "S" and not (p == "D" and state in UNASSIGNED))


def told(kind: str) -> list[str]:
    """The words that move a job of this kind when somebody says them."""
    states = [to for to in WORDS[kind] if any(tellers(kind, at, to) for at in TABLES[kind])]
    return [*states, *FROM_WORD[kind]]


def from_client(kind: str, state: str, word: str) -> str:
    """A client's word or state as a state. Raises Refusal bad_request with the list of allowed ones."""
    if word in WORDS[kind]:
        return word
    meant = FROM_WORD[kind].get(word, {})
    if state in meant:
        return meant[state]
    if meant:
        raise Refusal("wrong_state", f"'{word}' means nothing for a {kind} that is {state}.")
    raise Refusal("bad_request", f"Unknown status for a {kind}. Allowed: {', '.join(told(kind))}.")
