"""A driver: goes online, takes the first offer, drives, completes. Arguments: URL EMAIL PASSWORD."""
import asyncio, sys, aiohttp, socketio

async def main(url, email, password):
    async with aiohttp.ClientSession() as http:
        login = await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})
        login.raise_for_status()
        token = (await login.json())["data"]["accessToken"]
    sio, done = socketio.AsyncClient(), asyncio.Event()

    @sio.on("offer")
    async def offer(o):
        print(await sio.call("accept_offer", {"offerId": o["offerId"]}))
        await sio.call("location_update", {k: o["pickup"][k] for k in ("latitude", "longitude")})
        for status in ("arrived", "in_progress", "completed"):
            print(await sio.call("ride_status_update", {"rideId": o["job"]["rideId"], "status": status}))
        done.set()

    await sio.connect(url, auth={"token": token}, transports=["websocket"])
    print(await sio.call("go_online", {"classes": ["economy"], "latitude": 49.9935, "longitude": 36.2304}))
    await done.wait()
    await sio.disconnect()

asyncio.run(main(*sys.argv[1:]))
