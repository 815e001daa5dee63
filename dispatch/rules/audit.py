"""What an admin's command did to a live job, as a record for the audit log: a silent fact of the very commit.

It is added where every decision passes, so no rule can forget it; what changed nothing, or was refused, is not in it.
"""

from typing import Any

from msgspec.structs import replace

from dispatch import commands as c
from dispatch.decision import Decision, State
from storage.facts import Fact
from storage.records import Audit, Job

ACTIONS: dict[type[c.Command], str] = {
    c.CancelJob: "jobs cancel",
    c.MoveJob: "jobs move",
    c.AssignJob: "jobs assign",
    c.UnassignJob: "jobs unassign",
    c.LiftHold: "jobs lift hold",
}


def audited(state: State, command: c.Command, decision: Decision) -> Decision:
    """The decision, with a record of what it does to the job that an admin's command names."""
    action = ACTIONS.get(type(command))
    if not command.audit or action is None:
        return decision
    after = next((r for r in decision.put if isinstance(r, Job) and r.room == command.room), None)
    if after is None:
        return decision
    before = state.job(after.id)
    record = Audit(
        id=command.audit,
        actor_id=command.user,
        action=action,
        subject_type=after.kind,
        subject_id=after.id,
        details={
            "before": _shown(before) if before else None,
            "after": _shown(replace(after, version=after.version + 1)),  # as the commit leaves it
            "reason": getattr(command, "reason", ""),
        },
        at_ms=state.now_ms,
    )
    return replace(decision, facts=(*decision.facts, Fact(room=after.room, records=(record,))))


def _shown(job: Job) -> dict[str, Any]:
    """How a job stands, without its secrets and its places."""
    shown = {"state": job.state, "driverId": job.driver_id, "version": job.version}
    return shown | ({"needsPerson": job.needs_person} if job.needs_person else {})
