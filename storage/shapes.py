"""Rows of history as the apps read them: rides, packages, what was said and where it went. Pure.

Guarantees of every shape: ids are strings, money and distances are JSON numbers in major units and
kilometres (the apps call toFixed on them), times are ISO-8601 UTC with milliseconds, addresses are strings.
There is no platform fee in the tariff yet: where the panel wants one it is 0.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

Row = Mapping[str, Any]
People = Mapping[str, Row]

MESSAGE_KEY = {"ride": "rideId", "package": "packageId"}


def iso(moment: datetime | None) -> str | None:
    """Everything read from the database is UTC."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else None


def ride(row: Row, people: People, vehicles: People) -> dict[str, Any]:
    """A ride of the apps (ARYV 2.4), with what dispatch adds."""
    return {
        "id": row["id"],
        "kind": "ride",
        "driverId": row["driver_id"],
        "vehicleId": row["vehicle_id"],
        "passengerId": row["requester_id"],
        "origin": place(row, "pickup"),
        "destination": place(row, "dropoff"),
        "stops": row["stops"],
        "departureTime": iso(row["scheduled_at"] or row["created_at"]),
        "estimatedDuration": round(row["duration_s"] / 60, 1),
        "distance": km(row["distance_m"]),
        "availableSeats": 0,
        "seats": row["seats"],
        "pricePerSeat": row["fare"],
        "description": row["note"],
        "driver": _driver(row, people),
        "passenger": _person(row["requester_id"], row["requester_name"], people),
        "vehicle": _vehicle(row, vehicles),
        "bookings": [],
        "amenities": [],
        **_dispatch(row),
    }


def package(row: Row, people: People, vehicles: People) -> dict[str, Any]:
    """A package of the apps (ARYV 2.5) with its agreement, if a courier has it."""
    return {
        "id": row["id"],
        "kind": "package",
        "senderId": row["requester_id"],
        "title": title(row),
        "description": row["note"],
        "packageSize": row["size"],
        "weight": row["weight_kg"],
        "fragile": row["fragile"],
        "valuable": False,
        "specialInstructions": row["note"],
        "pickupAddress": row["pickup_address"],
        "pickupCoordinates": [row["pickup_longitude"], row["pickup_latitude"]],
        "dropoffAddress": row["dropoff_address"],
        "dropoffCoordinates": [row["dropoff_longitude"], row["dropoff_latitude"]],
        "dropoffContactName": row["recipient_name"],
        "dropoffContactPhone": row["recipient_phone"],
        "distance": km(row["distance_m"]),
        "senderPriceOffer": row["fare"],
        "systemSuggestedPrice": row["fare"],
        "deliveryTierId": row["tier"],
        "readyAt": iso(row["scheduled_at"]),
        "isActive": row["status"] != "cancelled",
        "trackingCode": tracking_code(row["id"]),
        "deliveryAgreement": _agreement(row, people),
        "vehicle": _vehicle(row, vehicles),
        **_dispatch(row),
    }


def fact(row: Row) -> dict[str, Any]:
    return {
        "room": row["room"],
        "epoch": row["epoch"],
        "seq": row["seq"],
        "event": row["event"],
        "payload": row["payload"],
        "by": row["by_user"],
        "timestamp": iso(row["at"]),
    }


def message(row: Row, kind: str, job_id: str) -> dict[str, Any]:
    return {
        "id": row["id"],
        MESSAGE_KEY[kind]: job_id,
        "senderId": row["sender_id"],
        "senderName": row["sender_name"],
        "message": row["text"],
        "type": row["type"],
        "timestamp": iso(row["sent_at"]),
        "readAt": iso(row["read_at"]),
    }


def track(job: Row, points: list[Row]) -> dict[str, Any]:
    """GeoJSON: where the job began and ends, and the way between, with the moment of each point."""
    features = [
        _point(job["pickup_longitude"], job["pickup_latitude"], "pickup"),
        _point(job["dropoff_longitude"], job["dropoff_latitude"], "dropoff"),
    ]
    if len(points) > 1:
        line = [[point["longitude"], point["latitude"]] for point in points]
        properties = {
            "role": "track",
            "points": points[0]["total"],
            "timestamps": [iso(point["ts"]) for point in points],
        }
        geometry = {"type": "LineString", "coordinates": line}
        features.append({"type": "Feature", "geometry": geometry, "properties": properties})
    return {"type": "FeatureCollection", "features": features}


def tracking_code(package_id: str) -> str:
    """A short name for people; ids are looked up by the whole id. The end of an id is its random part."""
    return package_id.replace("-", "")[-10:].upper()


def _dispatch(row: Row) -> dict[str, Any]:
    return {
        "status": row["status"],
        "state": row["state"],
        "version": row["version"],
        "class": row["vehicle_class"],
        "areaId": row["area_id"],
        "fare": {"amount": row["fare_minor"], "currency": row["currency"]},
        "offers": row["offers"],
        "routeKm": None if row["route_m"] is None else km(row["route_m"]),
        "assignedAt": iso(row["assigned_at"]),
        "arrivedAt": iso(row["arrived_at"]),
        "startedAt": iso(row["started_at"]),
        "endedAt": iso(row["ended_at"]),
        "reason": row["reason"],
        "createdAt": iso(row["created_at"]),
        "updatedAt": iso(row["committed_at"]),
    }


def _agreement(row: Row, people: People) -> dict[str, Any] | None:
    if row["driver_id"] is None:
        return None
    courier = people.get(row["driver_id"])
    return {
        "id": row["id"],
        "packageId": row["id"],
        "courierId": row["driver_id"],
        "agreedPrice": row["fare"],
        "platformFee": 0,
        "escrowAmount": row["fare"],
        "status": row["status"],
        "createdAt": iso(row["assigned_at"]),
        "pickupConfirmedAt": iso(row["started_at"]),
        "deliveryConfirmedAt": iso(row["ended_at"]) if row["state"] == "delivered" else None,
        "courier": {
            **_person(row["driver_id"], row["driver_name"], people),
            "phone": courier["phone"] if courier else None,
        },
    }


def _person(user_id: str, name: str, people: People) -> dict[str, Any]:
    """A party of a job; the name that the job was made under when the account is gone."""
    known = people.get(user_id)
    first, _, last = name.partition(" ")
    return {
        "id": user_id,
        "firstName": known["first_name"] if known else first,
        "lastName": known["last_name"] if known else last,
        "profilePicture": known["profile_picture"] if known else None,
    }


def _driver(row: Row, people: People) -> dict[str, Any] | None:
    if row["driver_id"] is None:
        return None
    known = people.get(row["driver_id"])
    numbers = {
        "rating": known["rating"] if known else 0,
        "totalRides": known["total_rides"] if known else 0,
    }
    return {**_person(row["driver_id"], row["driver_name"], people), **numbers}


def _vehicle(row: Row, vehicles: People) -> dict[str, Any] | None:
    known = vehicles.get(row["vehicle_id"] or "")
    if known is None:
        return None
    names = ("id", "make", "model", "year", "color", "capacity")
    return {**{name: known[name] for name in names}, "licensePlate": known["license_plate"]}


def place(row: Row, which: str) -> dict[str, Any]:
    return {
        "latitude": row[f"{which}_latitude"],
        "longitude": row[f"{which}_longitude"],
        "address": row[f"{which}_address"],
    }


def _point(longitude: float, latitude: float, role: str) -> dict[str, Any]:
    geometry = {"type": "Point", "coordinates": [longitude, latitude]}
    return {"type": "Feature", "geometry": geometry, "properties": {"role": role}}


def title(row: Row) -> str:
    return f"{str(row['size']).capitalize()} package"


def km(metres: float) -> float:
    return round(metres / 1000, 3)


def my_decision(row: Row) -> dict[str, Any]:
    """What came of a driver when the match looked at him."""
    return {
        "id": row["id"],
        "at": iso(row["at"]),
        "kind": row["kind"],
        "class": row["vehicle_class"],
        "areaId": row["area_id"],
        "policy": row["policy"],
        "path": row["path"],
        "rank": row["rank"],
        "reason": row["reason"],
        "etaMinutes": int(row["eta_min"]),
        "jobId": row["job_id"],
    }
