"""Which node has whom in a job's room, by leases: where volatile events must go, and who is online.

A node says so when a user's first session enters a room or his last one leaves it, and again before the lease
runs out. A node that died is not alive any more after NODE_LEASE_MS, and its members are gone with it.
"""

from collections.abc import Collection
from typing import Any

from storage import keys
from storage.shard import Script, Shard

NODE_LEASE_MS = 5_000
MEMBER_LEASE_MS = 30_000

Member = tuple[str, str]  # room, user
_LOOKOUT = b"~"


def lookout(user: str) -> str:
    """The name of a member who gets what is said in the room, and is not counted among who is there."""
    return _LOOKOUT.decode() + user


class Leases:
    def __init__(self, shard: Shard, node: str) -> None:
        self._shard = shard
        self._node = node
        self._script = Script(shard.client, "present")

    async def say(self, present: Collection[Member], gone: Collection[Member]) -> int:
        """Renews the leases of `present` and of this node, ends those of `gone`; how many other nodes there are.
        Raises Unavailable."""
        s = self._shard.name
        args: list[Any] = [f"{{{s}}}:", self._node, NODE_LEASE_MS, MEMBER_LEASE_MS, len(present)]
        for member in (*present, *gone):
            args += member
        return int(await self._shard.ask(self._script([keys.nodes(s)], args)))

    async def end(self) -> None:
        """This node is no more; what is left of its members runs out. Raises Unavailable."""
        await self._shard.ask(self._shard.client.zrem(keys.nodes(self._shard.name), self._node))

    async def users(self, room: str) -> set[str]:
        """Who stands in the room on nodes that live, but for who only looks. Raises Unavailable."""
        s = self._shard.name
        pipe = self._shard.client.pipeline(transaction=False)
        pipe.time()
        pipe.zrange(keys.nodes(s), 0, -1, withscores=True)
        pipe.zrange(keys.at(s, room), 0, -1, withscores=True)
        (seconds, micros), *leases = await self._shard.ask(pipe.execute())
        now_ms = seconds * 1000 + micros // 1000
        nodes, members = ({name for name, until_ms in of if until_ms >= now_ms} for of in leases)
        return {
            user.decode()
            for node, user in (member.split(b" ", 1) for member in members)
            if node in nodes and not user.startswith(_LOOKOUT)
        }
