"""The Socket.IO transport: from the wire to a handler, and from whoever tells to the wire, without a task, a queue or
a second encoding.

```
 wire ─ websocket.py ┐                                          ┌ hear(socket, text)   the layer above: SocketIO here,
        polling.py   ┴─ socket.py (one client) ─ engine.py (all) ┤                     rooms/sockets.py with the gate
 wire ─ flush, once a turn ◂─ tell(frame), tell_latest(key, f.) ─┘
```
`frames.py` is what is on the wire, `delay.py` the timers, `manager.py` the rooms, `server.py` python-socketio's API.
Each file says which seams of its libraries it stands on.
"""

from rooms.transport.frames import Frame
from rooms.transport.server import SocketIO
from rooms.transport.socket import Socket

__all__ = ["Frame", "Socket", "SocketIO"]
