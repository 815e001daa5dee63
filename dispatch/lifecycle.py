"""The life of a ride and of a package, as two tables: {state: {next state: who may cause it}}.

P passenger or sender, D the assigned (or offered) driver, S the system, A an admin. A missing pair is a
refusal, `wrong_state`; a present pair by somebody else is `forbidden`. Nothing else decides what may follow
what. The platform's apps know fewer words than we have states: WORDS maps ours to theirs.
"""

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
        ways = ", ".join(allowed) or "nothing: it is over"
        raise Refusal("wrong_state", f"From {state} the {kind} can go to {ways}; not to {to}.")
    if by not in allowed[to]:
        may = " or ".join(PARTIES[party] for party in allowed[to])
        raise Refusal("forbidden", f"From {state} to {to} a {kind} is moved by {may}, not by you.")
    return to


def from_client(kind: str, state: str, word: str) -> str:
    """A client's word or state as a state. Raises Refusal bad_request with the list of allowed ones."""
    if word in WORDS[kind]:
        return word
    meant = FROM_WORD[kind].get(word, {})
    if state in meant:
        return meant[state]
    if meant:
        raise Refusal("wrong_state", f"'{word}' means nothing for a {kind} that is {state}.")
    raise Refusal("bad_request", f"Unknown status for a {kind}. Allowed: {', '.join(WORDS[kind])}.")
