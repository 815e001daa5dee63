"""By their numbers history knows the rows of a `location_batch` again, should Redis forget that it was kept."""

from rooms.handlers.backlog import Timed, _rows
from rooms.messages import PastFix
from storage.records import JobId


def test_a_fix_has_its_number_whatever_jobs_he_has_when_the_batch_comes_again() -> None:
    kept = [
        Timed(place * 1_000, place, PastFix(latitude=0.5, longitude=0.5, timestamp=place * 1_000))
        for place in range(500)
    ]
    twenty = {JobId(f"p{number}"): 250_000 for number in range(20)}
    first, *again = (
        {row[:3] for row in _rows("d", "b", some, jobs)}
        for some, jobs in ((kept, twenty), (kept, {}), (kept[9:], dict([*twenty.items()][:1])))
    )
    assert len(first) == 250 + 250 * 20 and all(numbers < first for numbers in again)
