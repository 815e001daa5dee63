"""Which requests were lost for want of a driver, by a real PostgreSQL: as in the simulator, whose patience ran out.

What somebody calls off at once says nothing of drivers, and would bind every pickup where enough people do (worth.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from server.matchbench.recorded import PATIENCE_S
from storage import demand as kept
from storage.postgis import Database
from storage.records import Parcel
from tests.historykit import Town

ANN, ADMIN = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000009"
START_S = 1_767_614_400.0
NOBODY = {"state": "no_driver", "driver_id": None, "ended_by": None}


@pytest_asyncio.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    db = await Database.open(database_url, size=1, timeout_s=5.0)
    yield db
    await db.close()


@pytest.mark.parametrize(
    ("gone", "after_s", "lost"),
    [
        pytest.param(NOBODY, 30.0, 1, id="nobody was found"),
        pytest.param(NOBODY, 200.0, 1, id="nobody was found for long"),
        pytest.param({"driver_id": None}, 10.0, 0, id="he changed his mind"),
        pytest.param({"driver_id": None}, 119.9, 0, id="a little before nobody came"),
        pytest.param({"driver_id": None}, 120.0, 1, id="nobody came, and he gave up"),
        pytest.param({"driver_id": None}, 500.0, 1, id="long after it"),
        pytest.param({}, 500.0, 0, id="he had a driver"),
        pytest.param({"driver_id": None, "ended_by": None}, 500.0, 0, id="the system ended it"),
        pytest.param({"driver_id": None, "ended_by": ADMIN}, 500.0, 0, id="an admin ended it"),
        pytest.param({"driver_id": None, "state": "searching", "ended_ms": 0}, 500.0, 0, id="it goes on"),
        pytest.param({"state": "completed"}, 500.0, 0, id="it was done"),
    ],
)
@pytest.mark.parametrize("kind", ["ride", "package"])
async def test_who_was_lost_for_want_of_a_driver(
    db: Database, kind: str, gone: dict[str, Any], after_s: float, lost: int
) -> None:
    town = Town(None, db)
    town.ann = town.bob = ANN
    words = {"no_driver": "no_courier", "completed": "delivered"} if kind == "package" else {}
    what = {"state": "cancelled", "ended_by": ANN, "ended_ms": int((START_S + after_s) * 1000)} | gone
    what["state"] = words.get(what["state"], what["state"])
    what |= {"parcel": Parcel(size="small")} if kind == "package" else {}
    await town.keep(town.job(kind, created_ms=int(START_S * 1000), area_id="a", vehicle_class="any", **what))
    async with db.connection() as conn:
        assert await kept.ended(conn, "main", START_S) == [("a", "any", 1, lost)]


def test_the_least_patient_are_those_of_the_simulator() -> None:
    assert PATIENCE_S[0] == kept.GIVES_UP_S
