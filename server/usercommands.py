"""`dispatch users …`: accounts made, blocked, given another role, and tokens for load clients.

What a command needs is imported when it runs, as in server/cli.py.
"""

import argparse
import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from server.needs import Stop, whole_number
from server.settings import Settings

ROLES = ("passenger", "driver", "courier", "admin")
MAX_TOKENS = 100_000
REASON = "why, for the audit log"
PAPERS = ("licence", "insurance", "registration")


def add_user_commands(users: Any, command: Any) -> None:
    """`users` is the group of these commands, `command` adds one: (name, run, about, group)."""
    add = command("add", _users_add, "make an account; its password is printed once", users)
    add.add_argument("--role", required=True, choices=ROLES)
    add.add_argument("--email", required=True)
    add.add_argument("--first-name", default="New")
    add.add_argument("--last-name", default="User")
    add.add_argument("--phone", help="+ and 2 to 15 digits")
    block = command("block", _users_block, "let somebody in no more; open sockets close in seconds", users)
    block.add_argument("--email", required=True)
    block.add_argument("--reason", required=True, help=REASON)
    unblock = command("unblock", _users_unblock, "let somebody in again", users)
    unblock.add_argument("--email", required=True)
    unblock.add_argument("--reason", required=True, help=REASON)
    role = command("role", _users_role, "give somebody another role; open sockets close and come back", users)
    role.add_argument("--email", required=True)
    role.add_argument("--role", required=True, choices=ROLES)
    paper = command("paper", _users_paper, "note until when a driver's or his vehicle's paper is good", users)
    paper.add_argument("--email", required=True)
    paper.add_argument("--kind", required=True, choices=PAPERS)
    paper.add_argument("--until", type=_day, required=True, metavar="YYYY-MM-DD", help="its last day, by UTC")
    paper.add_argument("--plate", help="of this vehicle of his; else it is his own")
    courier = command("courier", _users_courier, "the parcels that a courier takes", users)
    courier.add_argument("--email", required=True)
    courier.add_argument("--sizes", help="sizes of the areas' prices, with commas; '' for all")
    courier.add_argument("--max-weight-kg", type=float, help="of all that he has at once")
    token = command("token", _users_token, "make accounts without passwords and mint their tokens", users)
    token.add_argument("--role", required=True, choices=ROLES)
    token.add_argument("--count", type=whole_number(MAX_TOKENS), required=True, help=f"1 to {MAX_TOKENS}")
    token.add_argument("--out", type=Path, required=True, help="JSON lines, readable by you alone")


def _day(text: str) -> datetime:
    """The end of a day."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is no day like 2027-12-31") from None


def _users_add(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import add_user

    password = asyncio.run(
        add_user(
            settings,
            role=arguments.role,
            email=arguments.email,
            first_name=arguments.first_name,
            last_name=arguments.last_name,
            phone=arguments.phone,
        )
    )
    print(f"{arguments.email} is a new {arguments.role}. The password, shown only now: {password}")


def _reason(arguments: argparse.Namespace) -> str:
    reason: str = arguments.reason.strip()
    if not reason:
        raise Stop("A reason has words.")
    return reason


def _users_block(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_user

    reason = _reason(arguments)
    asyncio.run(change_user(settings, "users block", arguments.email, status="suspended", reason=reason))
    print(f"{arguments.email} is blocked.")


def _users_unblock(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_user

    reason = _reason(arguments)
    asyncio.run(change_user(settings, "users unblock", arguments.email, status="active", reason=reason))
    print(f"{arguments.email} is active.")


def _users_role(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_user

    asyncio.run(change_user(settings, "users role", arguments.email, role=arguments.role))
    print(f"{arguments.email} is a {arguments.role} now.")


def _users_paper(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import put_paper

    asyncio.run(put_paper(settings, arguments.email, arguments.kind, arguments.until, arguments.plate))
    print(f"The {arguments.kind} is good until {arguments.until:%Y-%m-%d %H:%M} UTC.")


def _users_courier(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import change_courier

    sizes = None if arguments.sizes is None else [word for word in arguments.sizes.split(",") if word]
    asyncio.run(change_courier(settings, arguments.email, sizes, arguments.max_weight_kg))
    print(f"{arguments.email} takes them from his next login on, or once he names his vehicle.")


def _users_token(arguments: argparse.Namespace, settings: Settings) -> None:
    from server.chores import mint_tokens

    asyncio.run(mint_tokens(settings, arguments.role, arguments.count, arguments.out))
    print(f"Wrote {arguments.count} tokens to {arguments.out}, good for {settings.access_s / 3600:g} h.")
