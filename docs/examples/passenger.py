"""A passenger: asks for a ride, watches the car, sees it through. Arguments: URL EMAIL PASSWORD."""
import asyncio, sys, time, uuid, aiohttp, socketio

SHOWN = ("seq", "event", "state", "driverName", "vehicle", "latitude", "longitude", "etaSeconds")

async def main(url, email, password):
    async with aiohttp.ClientSession() as http:
        login = await (await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})).json()
    if not login["success"]:
        return login["error"]
    sio, heard, e = socketio.AsyncClient(handle_sigint=False), asyncio.Queue(), {}
    mine = {"rideId": str(uuid.UUID(int=time.time_ns() // 10**6 << 80 | 7 << 76 | uuid.uuid4().int % 2**76))}  # UUIDv7
    sio.on("*", lambda event, e: mine.items() <= e.items() and heard.put_nowait({**e, "event": event}))

    await sio.connect(url, auth={"token": login["data"]["accessToken"]}, transports=["websocket"])
    here, there = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
    try:
        print(e := await sio.call("request_ride", {**mine, "pickup": here, "dropoff": there, "class": "economy"}))
        while e.get("ok", True) and e.get("status") not in ("completed", "cancelled"):
            e = await heard.get()
            print(*(e[field] for field in SHOWN if field in e))
    except asyncio.CancelledError:  # Ctrl-C: no driver shall come for nobody
        print(await sio.call("cancel_ride", mine))
    await sio.disconnect()
    return e.get("error", {}).get("message")

try:
    sys.exit(asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 4 else __doc__)
except aiohttp.ClientError as error:
    sys.exit(f"No dispatch server answers at {sys.argv[1]}: {error}")
