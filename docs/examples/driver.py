"""A driver: goes online, takes the first offer, drives, completes. Arguments: URL EMAIL PASSWORD."""
import asyncio, contextlib, sys, aiohttp, socketio

async def main(url, email, password):
    async with aiohttp.ClientSession() as http:
        login = await (await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})).json()
    if not login["success"]:
        return login["error"]
    sio, done = socketio.AsyncClient(handle_sigint=False), asyncio.Event()

    @sio.on("offer")
    async def offer(o):
        print(await sio.call("accept_offer", {"offerId": o["offerId"]}))
        await sio.call("location_update", {k: o["pickup"][k] for k in ("latitude", "longitude")})
        for status in ("arrived", "in_progress", "completed"):
            print(await sio.call("ride_status_update", {"rideId": o["job"]["rideId"], "status": status}))
        done.set()

    await sio.connect(url, auth={"token": login["data"]["accessToken"]}, transports=["websocket"])
    print(online := await sio.call("go_online", {"classes": ["economy"], "latitude": 49.9935, "longitude": 36.2304}))
    if online["ok"]:
        with contextlib.suppress(asyncio.CancelledError):  # Ctrl-C
            await done.wait()
    await sio.disconnect()
    return online.get("error", {}).get("message")

try:
    sys.exit(asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 4 else __doc__)
except aiohttp.ClientError as error:
    sys.exit(f"No dispatch server answers at {sys.argv[1]}: {error}")
