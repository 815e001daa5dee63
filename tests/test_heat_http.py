"""What the console reads of demand: the cells with the most going on, never more than a page of them."""

from __future__ import annotations

from pathlib import Path

import h3.api.basic_int as h3
from msgspec.structs import replace

from dispatch.demand import demand_cell
from dispatch.heat import FRESH_S, Heat
from server.http import admin
from tests.support_http import http_server

#: By the store's clock, which is not the node's.
NOW_S = 1_000_000.0


async def test_the_hottest_cells_come_first_and_the_rest_is_counted(
    database_url: str, tmp_path: Path
) -> None:
    cells = sorted(int(cell) for cell in h3.grid_disk(demand_cell(50.0, 36.2), 14))
    count = len(cells)
    assert count > admin.CELLS_MAX
    heat = Heat(
        area_id="a",
        at_s=NOW_S,
        cells=cells,
        forecast=[0.0] * count,
        waiting=[0] * count,
        supply=[1] * count,
        pressure=[float(number) for number in range(count)],
        tenths=[10] * (count - 1) + [15],
        up_since_s=[0.0] * count,
        down_since_s=[0.0] * count,
    )
    async with http_server(database_url, tmp_path) as server:
        _, boss = await server.person("boss@example.com", "admin")
        server.ctx.heats.put([heat, replace(heat, area_id="old", at_s=NOW_S - FRESH_S - 1.0)])
        object.__setattr__(server.ctx, "store_ms", lambda: int(NOW_S * 1000))
        answer = await server.get("/api/admin/heat?area=a", token=boss)
        data = answer.body["data"]
        assert len(data["cells"]) == admin.CELLS_MAX and data["left"] == count - admin.CELLS_MAX
        hottest = data["cells"][0]
        assert hottest["cell"] == h3.int_to_str(cells[-1]) and hottest["factor"] == 1.5
        assert len(hottest["boundary"]) in (5, 6) and abs(hottest["latitude"] - 50.0) < 0.5
        [area] = (await server.get("/api/admin/heat", token=boss)).body["data"]["areas"]
        assert (area["areaId"], area["supply"], area["factor"]) == ("a", count, 1.5)
        assert [cell["pressure"] for cell in data["cells"]] == sorted(
            (cell["pressure"] for cell in data["cells"]), reverse=True
        )
        assert (await server.get("/api/admin/heat?area=old", token=boss)).status == 404
        # the parcels have a map of their own, where a node of this version has looked
        assert (await server.get("/api/admin/heat?area=a&kind=package", token=boss)).status == 404
        assert (await server.get("/api/admin/heat?kind=package", token=boss)).body["data"]["areas"] == []
        packages = replace(heat, cells=cells[:1], tenths=[20])
        server.ctx.heats.put([replace(heat, at_s=NOW_S + 1.0, packages=packages)])
        answer = await server.get("/api/admin/heat?area=a&kind=package", token=boss)
        assert [cell["factor"] for cell in answer.body["data"]["cells"]] == [2.0]
        [area] = (await server.get("/api/admin/heat?kind=package", token=boss)).body["data"]["areas"]
        assert area["factor"] == 2.0
        [area] = (await server.get("/api/admin/heat?kind=ride", token=boss)).body["data"]["areas"]
        assert area["factor"] == 1.5
        bad = ("?area=" + "x" * 65, 400), ("?area=b", 404), ("?area=%00", 400), ("?kind=bicycle", 400)
        for query, status in bad:
            assert (await server.get(f"/api/admin/heat{query}", token=boss)).status == status
