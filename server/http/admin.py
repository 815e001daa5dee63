"""The administrator's simple lists: users, couriers, and parcels in figures. Rows as the admin panels read them.

Every list is a plain array in `data`, newest first, and continues after the id in `pagination.next`.
"""

from collections.abc import Sequence
from typing import Any

from server.http.call import Call
from server.http.envelope import Reply, iso

PAGE = 1_000  # the panels count rows with `data.length`, so the default is high
PAGE_MOST = 5_000
BLOCKED = ("suspended", "deactivated")


async def users(call: Call) -> Reply:
    limit = call.number("limit", PAGE, PAGE_MOST)
    rows = await call.ctx.accounts.list_users(call.after(), limit)
    data = [
        {
            "id": row["id"],
            "name": f"{row['first_name']} {row['last_name']}",
            "email": row["email"],
            "role": row["role"],
            "status": "blocked" if row["status"] in BLOCKED else "active",
            "verified": row["is_email_verified"],
            "joinDate": iso(row["created_at"]),
            "lastActive": iso(row["last_active_at"]),
        }
        for row in rows
    ]
    return page(data, limit)


async def couriers(call: Call) -> Reply:
    limit = call.number("limit", PAGE, PAGE_MOST)
    rows = await call.ctx.accounts.list_couriers(call.after(), limit)
    data = [
        {
            "id": row["id"],
            "name": f"{row['first_name']} {row['last_name']}",
            "email": row["email"],
            "phone": row["phone"] or "",
            "isActive": row["is_active"],
            "isAvailable": row["is_available"],
            "rating": row["rating"],
            "totalDeliveries": row["delivered"],
            "successRate": row["success_rate"],
            "earnings": row["earnings"],
            "vehicleType": row["vehicle_type"],
            "maxWeight": row["max_weight_kg"],
            "deliveryRadius": row["delivery_radius_km"],
            "joinDate": iso(row["created_at"]),
        }
        for row in rows
    ]
    return page(data, limit)


async def courier_analytics(call: Call) -> Reply:
    """One panel reads the figures under `data`, another at the top: they stand in both places."""
    row = await call.ctx.accounts.courier_totals()
    figures = {
        "packages": {
            "total": row["total"],
            "pending": row["pending"],
            "inTransit": row["in_transit"],
            "completed": row["completed"],
            "totalRevenue": row["total_revenue"],
            "totalFees": row["total_fees"],
            "avgDistance": row["avg_distance_km"],
        },
        "couriers": {
            "total": row["couriers"],
            "active": row["couriers_active"],
            "available": row["couriers_available"],
            "avgRating": row["avg_rating"],
            "totalDeliveries": row["deliveries"],
            "totalEarnings": row["earnings"],
        },
        "today": {"packages": row["today_packages"], "revenue": row["today_revenue"]},
    }
    return Reply(figures, top=figures)


def page(data: Sequence[dict[str, Any]], limit: int) -> Reply:
    """`next` is null at the end; else it is what `?after=` takes."""
    following = data[-1]["id"] if len(data) == limit else None
    return Reply(data, top={"pagination": {"limit": limit, "count": len(data), "next": following}})
