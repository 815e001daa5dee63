"""`dispatch areas policy …`: an area's policies, one tried beside another, promoted, or taken back.

| when | then |
|---|---|
| there is no such area, nothing to promote or to go back to | said so; nothing was changed |
| the file is no policy, or the one to go back to is none any more (a rule is gone) | said so; nothing was changed |
| two people do it at once | one after the other; who made the second version of a number hears it, and tries again |
| it ends halfway | nothing was changed: one statement, with its line in the audit log, in one transaction |
| a node does not hear of it (PostgreSQL is away) | it goes on with the old one; each decision names its version |
| a shadow that a node does not understand | the node runs the area without it, and says so |
"""

import argparse
import asyncio
from pathlib import Path
from typing import Any, Literal

import msgspec

from server.needs import Stop
from server.settings import Settings

Change = Literal["promote", "rollback", "drop_shadow"]
NOTHING_TO = {
    "promote": "no shadow to promote: `--shadow FILE` makes one",
    "rollback": "no policy that held before",
    "drop_shadow": "no shadow to drop",
}


def add_policy_command(areas: Any, command: Any) -> None:
    about = "an area's policies: list them, try one beside, promote it, go back"
    policy = command("policy", _policy, about, areas)
    policy.add_argument("--area", required=True, metavar="ID")
    change = policy.add_mutually_exclusive_group()
    change.add_argument("--shadow", type=Path, metavar="FILE", help="try the policy of this JSON file beside")
    for name, words in (
        ("promote", "the shadow holds from now on"),
        ("rollback", "the one that held before holds again"),
        ("drop-shadow", "nothing is tried any more"),
    ):
        change.add_argument(
            f"--{name}", dest="change", action="store_const", const=name.replace("-", "_"), help=words
        )


def _policy(arguments: argparse.Namespace, settings: Settings) -> None:
    if arguments.shadow is not None:
        text = asyncio.run(try_policy(settings, arguments.area, _read(arguments.shadow)))
    elif arguments.change:
        text = asyncio.run(change_policy(settings, arguments.area, arguments.change))
    else:
        text = asyncio.run(list_policies(settings, arguments.area))
    print(text)


async def list_policies(settings: Settings, area_id: str) -> str:
    """One line per version, the newest first."""
    from server.chores import transaction
    from storage.areas import policies

    async with transaction(settings) as conn:
        rows = await policies(conn, area_id)
    if not rows:
        raise Stop(f"There is no area {area_id}. `dispatch areas list` names them.")
    return "\n".join(
        f"{row['version']}  {row['made_at']:%Y-%m-%d %H:%M} UTC"
        f"{'  holds' if row['holds'] else ''}{'  shadow' if row['shadow'] else ''}"
        f"  {msgspec.json.encode(row['policy']).decode()}"
        for row in rows
    )


def _read(file: Path) -> Any:
    try:
        return msgspec.json.decode(file.read_bytes())
    except msgspec.DecodeError:
        raise Stop(f"{file} is not JSON. It must hold an object of policy fields.") from None


async def try_policy(settings: Settings, area_id: str, policy: Any) -> str:
    from server.chores import transaction
    from storage import areas

    _checked(policy, "This policy")
    async with transaction(settings) as conn:
        version = await areas.try_policy(conn, area_id, policy)
        if version is None:
            raise Stop(f"There is no area {area_id}. `dispatch areas list` names them.")
        await _audit(conn, "shadow", area_id, version)
    return f"Policy {version} of {area_id} runs in shadow: decisions say what it would have chosen."


async def change_policy(settings: Settings, area_id: str, change: Change) -> str:
    from server.chores import transaction
    from storage import areas

    async with transaction(settings) as conn:
        version = await areas.change_policy(conn, area_id, change)
        if version is None:
            raise Stop(f"Area {area_id} has {NOTHING_TO[change]}.")
        for row in await areas.policies(conn, area_id):
            if row["holds"]:
                _checked(row["policy"], f"Policy {version}")
        await _audit(conn, change, area_id, version)
    return f"Policy {version} of {area_id} holds."


def _checked(policy: Any, what: str) -> None:
    from dispatch.policy import Policy
    from rooms.wording_errors import in_words

    try:
        msgspec.convert(policy, Policy)
    except msgspec.ValidationError as error:
        raise Stop(f"{what} is none: {in_words(str(error), Policy)}") from None


async def _audit(conn: Any, change: str, area_id: str, version: int) -> None:
    from storage.accounts import SQL

    await conn.execute(SQL["audit"], f"areas policy {change}", "area", area_id, {"version": version})
