"""What waits for a client, and in which order: reliable frames as they came, of volatile values the newest."""

import pytest

from rooms.transport import Frame, socket
from rooms.transport.socket import LONG_FRAME
from tests.wirekit import Channel, a_socket


def frame(text: str) -> Frame:
    return Frame(text.encode())


async def test_the_newest_value_takes_the_place_of_one_that_waits() -> None:
    end, channel = a_socket()
    for text in ("a", "b"):
        end.tell_latest("ride:1", frame(text))
    end.tell_latest("ride:2", frame("c"))
    end.flush()
    assert channel.written == ["b", "c"]
    end.tell_latest("ride:1", frame("d"))
    end.flush()
    assert channel.written == ["b", "c", "d"], "what was written is not changed"


async def test_no_value_overtakes_a_fact_and_one_of_each_waits() -> None:
    end, channel = a_socket()
    end.tell_latest("ride:1", frame("the first driver is here"))
    end.tell(frame("searching again"))
    end.tell(frame("the second driver is assigned"))
    end.tell_latest("ride:1", frame("the second driver is here"))
    end.tell_latest("ride:1", frame("and now here"))
    end.flush()
    assert channel.written == ["searching again", "the second driver is assigned", "and now here"]


async def test_who_does_not_read_is_closed_at_the_bound_of_frames_and_of_bytes() -> None:
    for bounds, size in (({"frames_max": 8}, 1), ({"bytes_max": 8_000}, 1_000)):
        end, channel = a_socket(**bounds)
        channel.ready = False
        for _ in range(8):
            end.tell(Frame(b"x" * size))
        assert not end.closed
        end.tell(Frame(b"x" * size))
        assert end.closed and channel.aborted and channel.written == []


async def test_who_reads_is_told_any_number_in_one_turn() -> None:
    end, channel = a_socket(frames_max=8)
    for number in range(100):
        end.tell(frame(str(number)))
    end.flush()
    assert channel.written == [str(number) for number in range(100)] and not end.closed


async def test_values_of_many_things_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "LATEST_MAX", 3)
    end, channel = a_socket()
    channel.ready = False
    for round_ in range(3):
        for key in range(5):
            end.tell_latest(str(key), frame(f"{key} {round_}"))
    channel.ready = True
    end.flush()
    assert channel.written == ["0 2", "1 2", "2 2"]


async def test_an_end_is_laden_until_its_long_frame_is_written() -> None:
    end, channel = a_socket()
    channel.ready = False
    end.tell(Frame(b"x" * LONG_FRAME))
    assert not end.laden()
    end.tell(Frame(b"x" * (LONG_FRAME + 1)))
    end.flush()
    assert end.laden()
    channel.ready = True
    end.flush()
    assert not end.laden()


async def test_who_is_to_go_takes_what_waits_first() -> None:
    end, channel = a_socket()
    channel.ready = False
    end.tell(frame("the last word"))
    end.end("draining")
    assert not end.closed and not channel.finished
    channel.ready = True
    end.flush()
    assert channel.written == ["the last word"] and channel.finished and end.closed


def test_the_channel_is_the_real_ones_shape() -> None:
    from rooms.transport.polling import Polling
    from rooms.transport.websocket import WebSocket

    for kind in (Polling, WebSocket):
        for name in ("write", "write_now", "finish", "abort", "pause_reading", "resume_reading"):
            assert callable(getattr(kind, name)) and callable(getattr(Channel, name))
