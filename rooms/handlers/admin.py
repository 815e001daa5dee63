"""What only admins may do: people let in or not, jobs by hand, areas, dead letters.

What touches a live job goes over the desk, and its line of the audit log with it (dispatch/rules/audit.py); the rest is
PostgreSQL's, in one transaction with its line (storage/operators.py). Open sockets of somebody who is blocked close
within seconds (rooms/logins.py), and an area's change reaches every node as fast.
"""

import secrets
from collections.abc import Awaitable
from typing import Any

import msgspec
from msgspec import UNSET

from dispatch import commands as c
from dispatch.commands import Refusal
from dispatch.policy import Policy
from dispatch.pricing import Prices
from rooms import messages as m
from rooms.gate import Answer, House, content_of
from rooms.handlers import common
from rooms.session import Session
from rooms.wording_errors import in_words
from storage.operators import AreaNow, Command, Missing, NotAdmin, NotTheSame, Stands
from storage.records import UserId


async def _on_job(house: House, session: Session, message: m.OfJob, kind: Any, **more: Any) -> Answer:
    of, job_id = common.job_ref(message.ride_id, message.package_id)
    command = kind(
        user=session.user_id,
        room=common.room(of, job_id),
        key="" if message.command_id is UNSET else f"c:{message.command_id}",
        content=content_of(message),
        audit=common.audit_id(session.role),
        job_id=job_id,
        kind=of,
        reason=message.reason,
        **more,
    )
    return await house.desk.run(command)


async def assign_job(house: House, session: Session, message: m.AssignJob) -> Answer:
    code = f"{secrets.randbelow(1_000_000):06d}"
    driver_id = UserId(message.driver_id.lower())
    return await _on_job(house, session, message, c.AssignJob, driver_id=driver_id, code=code)


async def unassign_job(house: House, session: Session, message: m.OfJob) -> Answer:
    return await _on_job(house, session, message, c.UnassignJob)


async def lift_hold(house: House, session: Session, message: m.OfJob) -> Answer:
    return await _on_job(house, session, message, c.LiftHold)


def _command(session: Session, message: Any, action: str, subject_type: str, subject_id: str) -> Command:
    return Command(
        actor=session.user_id,
        action=action,
        subject_type=subject_type,
        subject_id=subject_id,
        reason=message.reason,
        id="" if message.command_id is UNSET else message.command_id,
        content=f"{action} {content_of(message)}",
    )


async def _kept(done: Awaitable[Answer]) -> Answer:
    """The answer of a command that PostgreSQL owns. Raises Refusal."""
    try:
        return await done
    except NotAdmin:
        raise Refusal("forbidden") from None
    except NotTheSame:
        raise Refusal("duplicate") from None
    except Missing:
        raise Refusal("not_found") from None
    except Stands as stands:
        raise Refusal("wrong_state", str(stands)) from None


async def block_user(house: House, session: Session, message: m.BlockUser) -> Answer:
    command = _command(session, message, "users block", "user", message.user_id.lower())
    return await _kept(house.operators.set_status(command, "suspended"))


async def unblock_user(house: House, session: Session, message: m.BlockUser) -> Answer:
    command = _command(session, message, "users unblock", "user", message.user_id.lower())
    return await _kept(house.operators.set_status(command, "active"))


async def keep_apart(house: House, session: Session, message: m.KeepApart) -> Answer:
    command = _command(session, message, "users keep apart", "user", message.user_id.lower())
    return await _kept(house.operators.set_apart(command, message.other_id.lower(), apart=True))


async def let_meet(house: House, session: Session, message: m.KeepApart) -> Answer:
    command = _command(session, message, "users let meet", "user", message.user_id.lower())
    return await _kept(house.operators.set_apart(command, message.other_id.lower(), apart=False))


async def pause_area(house: House, session: Session, message: m.PauseArea) -> Answer:
    command = _command(session, message, "areas pause", "area", message.area_id)
    return await _kept(house.operators.change_area(command, lambda was: _with(was, paused=True)))


async def resume_area(house: House, session: Session, message: m.PauseArea) -> Answer:
    command = _command(session, message, "areas resume", "area", message.area_id)
    return await _kept(house.operators.change_area(command, lambda was: _with(was, paused=False)))


def _with(was: AreaNow, **more: Any) -> AreaNow:
    return msgspec.structs.replace(was, **more)


async def edit_area(house: House, session: Session, message: m.EditArea) -> Answer:
    """Only what makes sense to the rules is kept, and only on top of what the admin had read."""
    changes = {
        name: _understood(name, kind, given)
        for name, kind, given in (("policy", Policy, message.policy), ("prices", Prices, message.prices))
        if given is not UNSET
    }

    def changed(was: AreaNow) -> AreaNow:
        if message.version != was.version:
            raise Stands(f"The area is at version {was.version} by now; look at it again.")
        return _with(was, **changes)

    command = _command(session, message, "areas edit", "area", message.area_id)
    return await _kept(house.operators.change_area(command, changed))


def _understood(name: str, kind: Any, given: Any) -> dict[str, Any]:
    """As it was given, once the dispatch floor understands it."""
    try:
        msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise Refusal("bad_request", f"The {name} cannot be: {in_words(str(error), kind)}") from None
    understood: dict[str, Any] = given
    return understood


async def retry_letter(house: House, session: Session, message: m.LetterRef) -> Answer:
    command = _command(session, message, "letters retry", "letter", message.letter_id.lower())
    return await _kept(house.operators.retry_letter(command))


async def discard_letter(house: House, session: Session, message: m.LetterRef) -> Answer:
    command = _command(session, message, "letters discard", "letter", message.letter_id.lower())
    return await _kept(house.operators.discard_letter(command))


def watch_city(house: House, session: Session, message: m.WatchCity) -> Answer:
    house.city.watch(session, message.n)
    return {}


def unwatch_city(house: House, session: Session, message: m.Nothing) -> Answer:
    house.city.unwatch(session)
    return {}
