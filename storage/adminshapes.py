"""Rows of history as the admin panel's simple lists read them (ARYV 2.9). Pure; the guarantees of shapes.py."""

from typing import Any

from storage.shapes import Row, iso, km, place, title, tracking_code

_RIDE = {"pending": "active", "confirmed": "active", "in_progress": "active"}


def admin_user(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": f"{row['first_name']} {row['last_name']}",
        "email": row["email"],
        "role": row["role"],
        "status": "active" if row["status"] == "active" else "blocked",
        "verified": row["is_email_verified"],
        "joinDate": iso(row["created_at"]),
        "lastActive": iso(row["last_active_at"]),
    }


def admin_ride(row: Row) -> dict[str, Any]:
    status = "scheduled" if row["state"] == "scheduled" else _RIDE.get(row["status"], row["status"])
    return {
        "id": row["id"],
        "driverId": row["driver_id"],
        "driverName": row["driver_name"],
        "route": {"from": row["pickup_address"], "to": row["dropoff_address"]},
        "departureTime": iso(row["scheduled_at"] or row["created_at"]),
        "status": status,
        "state": row["state"],
        "passengers": {"booked": row["seats"], "capacity": row["seats"]},
        "price": row["fare"],
        "distance": km(row["distance_m"]),
        "created": iso(row["created_at"]),
    }


def admin_package(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "title": title(row),
        "description": row["note"],
        "size": row["size"],
        "weight": row["weight_kg"],
        "fragile": row["fragile"],
        "pickup": place(row, "pickup"),
        "dropoff": place(row, "dropoff"),
        "price": row["fare"],
        "platformFee": 0,
        "status": row["status"],
        "state": row["state"],
        "trackingCode": tracking_code(row["id"]),
        "sender": {"name": row["requester_name"], "email": row["requester_email"]},
        "courier": row["driver_name"] or None,
        "createdAt": iso(row["created_at"]),
    }


def admin_courier(row: Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": f"{row['first_name']} {row['last_name']}",
        "email": row["email"],
        "phone": row["phone"],
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


def courier_numbers(row: Row) -> dict[str, Any]:
    """The courier dashboard (ARYV 2.9)."""
    return {
        "packages": {
            "total": row["total"],
            "pending": row["pending"],
            "inTransit": row["in_transit"],
            "completed": row["completed"],
            "totalRevenue": row["revenue"],
            "totalFees": 0,
            "avgDistance": row["avg_distance_km"],
        },
        "couriers": {
            "total": row["couriers"],
            "active": row["active"],
            "available": row["available"],
            "avgRating": row["avg_rating"],
            "totalDeliveries": row["delivered"],
            "totalEarnings": row["earnings"],
        },
        "today": {"packages": row["today"], "revenue": row["revenue_today"]},
    }


def decision(row: Row) -> dict[str, Any]:
    """A decision of the match with all whom it looked at, by rank; seconds by the policy that held, and by the one
    that was tried; `offer` is what came of it: open, accepted, declined, expired, withdrawn or lost."""
    return {
        "id": row["id"],
        "at": iso(row["at"]),
        "kind": row["kind"],
        "class": row["vehicle_class"],
        "areaId": row["area_id"],
        "policy": row["policy"],
        "path": row["path"],
        "driverId": row["driver_id"],
        "considered": row["considered"],
        "more": row["more"],
        "offer": None
        if row["offer_state"] is None
        else {
            "state": row["offer_state"],
            "reason": row["offer_reason"],
            "seenAt": iso(row["seen_at"]),
            "endedAt": iso(row["ended_at"]),
        },
        "shadow": None
        if row["shadow"] is None
        else {"policy": row["shadow"], "driverId": row["shadow_driver_id"]},
    }
