"""The line between a parent and one of its workers: the worker says that it is up, and notices when the parent is gone.

It is a socket, one end of it the worker's standard input. The parent never writes; the line ends when it dies,
however it dies, so no worker outlives it and holds the port.
"""

import asyncio
import os
import socket
from collections.abc import Callable

UP = b"1"


class Tether:
    """The worker's end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def on_end(self, act: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._descriptor)
            act()

        loop.add_reader(self._descriptor, ended)

    def up(self) -> None:
        """This worker listens."""
        try:
            os.write(self._descriptor, UP)
        except OSError:
            pass  # the parent has gone, which `on_end` hears


async def came_up(end: socket.socket) -> bool:
    """The parent's end: whether the worker listened before it ended."""
    try:
        return await asyncio.get_running_loop().sock_recv(end, 1) == UP
    except OSError:
        return False
