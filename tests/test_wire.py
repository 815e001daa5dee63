"""What waits for a client, and in which order: reliable frames as they came, of volatile values the newest."""

import asyncio
from typing import Any

from rooms.engine import Wire
from rooms.session import Frame


class End:
    closed = closing = aborted = False

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Any] = asyncio.Queue()

    def written(self) -> list[str]:
        return [self.queue.get_nowait().encode()[1:] for _ in range(self.queue.qsize())]


async def test_the_newest_value_takes_the_place_of_one_that_waits() -> None:
    end = End()
    wire = Wire(end, 256)  # type: ignore[arg-type]
    for text in ("2a", "2b"):
        wire.tell_latest("ride:1", text)
    wire.tell_latest("ride:2", "2c")
    assert end.written() == ["2b", "2c"]
    wire.tell_latest("ride:1", "2d")
    assert end.written() == ["2d"], "what was written is not changed"


async def test_no_value_overtakes_a_fact() -> None:
    end = End()
    wire = Wire(end, 256)  # type: ignore[arg-type]
    wire.tell_latest("ride:1", "2 the first driver is here")
    wire.tell(Frame("2 searching again"))
    wire.tell(Frame("2 the second driver is assigned"))
    wire.tell_latest("ride:1", "2 the second driver is here")
    assert end.written() == [
        "2 the first driver is here",
        "2 searching again",
        "2 the second driver is assigned",
        "2 the second driver is here",
    ]
