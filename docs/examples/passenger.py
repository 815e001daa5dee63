"""A passenger: asks for a ride, watches the car, sees it through. Arguments: URL EMAIL PASSWORD."""
import asyncio, sys, uuid, aiohttp, socketio

async def main(url, email, password):
    async with aiohttp.ClientSession() as http:
        answer = await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})
        login = await answer.json()
    if not login["success"]:
        return login["error"]
    sio, states, mine = socketio.AsyncClient(), asyncio.Queue(), {"rideId": str(uuid.uuid4())}
    sio.on("driver_assigned", lambda e: print(e["seq"], "assigned:", e["driverName"], e["vehicle"]))
    sio.on("driver_location", lambda e: print("car at", e["latitude"], e["longitude"], e["etaSeconds"], "s away"))
    sio.on("ride_status_update", lambda e: mine.items() <= e.items() and states.put_nowait(e))

    await sio.connect(url, auth={"token": login["data"]["accessToken"]}, transports=["websocket"])
    here, there = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
    print(e := await sio.call("request_ride", {**mine, "pickup": here, "dropoff": there, "class": "economy"}))
    try:
        while e.get("status") not in ("completed", "cancelled", None):  # None: the request was refused
            print((e := await states.get())["seq"], e["state"])
    finally:  # after Ctrl-C no driver shall come for nobody; a ride that is over stays as it is
        await sio.call("cancel_ride", mine)
        await sio.disconnect()
    return e.get("error", {}).get("message")

try:
    sys.exit(asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 4 else __doc__)
except aiohttp.ClientError as error:
    sys.exit(f"No dispatch server answers at {sys.argv[1]}: {error}")
