"""What a rule is given and what it gives back; both are plain values.

`State` holds the records a rule asked for, as they were at `now_ms` of Redis' clock. `Decision` is all that
shall change, or nothing: records to store (each with the version it was read at; those of `anew`, which Redis
has lost, with the last that is known), records that must be
unchanged, facts to tell, and the answer to the one who asked. A decision with a `refusal` is committed too,
and answered with a no (a wrong code is counted and refused).
"""

from typing import Any

import msgspec

from dispatch.area import Area, Areas
from dispatch.blocks import Blocks
from dispatch.commands import Refusal
from storage.facts import Fact
from storage.records import Driver, Job, Offer, Stored, UserId


class State(msgspec.Struct, frozen=True):
    now_ms: int
    records: dict[tuple[type, str], Stored | None]
    due_ms: dict[tuple[type, str], int]
    areas: Areas
    blocks: Blocks = Blocks()

    def job(self, id_: str | None) -> Job | None:
        return self.records.get((Job, id_ or ""))  # type: ignore[return-value]

    def driver(self, id_: str | None) -> Driver | None:
        return self.records.get((Driver, id_ or ""))  # type: ignore[return-value]

    def offer(self, id_: str | None) -> Offer | None:
        return self.records.get((Offer, id_ or ""))  # type: ignore[return-value]

    def area(self, area_id: str) -> Area:
        """The area of a record. An area that was deleted since is an outage of its jobs, not a crash."""
        area = self.areas.get(area_id)
        if area is None:
            raise Refusal("unavailable", "This job's area is not configured here.")
        return area


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    answer: dict[str, Any] = {}
    put: tuple[Stored, ...] = ()
    anew: tuple[tuple[type, str], ...] = ()
    read: tuple[Stored, ...] = ()
    facts: tuple[Fact, ...] = ()
    reseat: tuple[UserId, ...] = ()
    latest_ms: int = 0
    refusal: Refusal | None = None


NOTHING = Decision()
