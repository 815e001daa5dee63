"""A passenger: asks for a ride, watches the car, sees it through. Arguments: URL EMAIL PASSWORD."""
import asyncio, sys, uuid, aiohttp, socketio

async def main(url, email, password):
    async with aiohttp.ClientSession() as http:
        login = await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})
        login.raise_for_status()
        token = (await login.json())["data"]["accessToken"]
    sio, done = socketio.AsyncClient(), asyncio.Event()
    sio.on("driver_assigned", lambda e: print("assigned:", e["driverName"], e["vehicle"], e["etaSeconds"], "s"))
    sio.on("driver_location", lambda e: print("car at", e["latitude"], e["longitude"], e["etaSeconds"], "s away"))

    @sio.on("ride_status_update")
    def status(e):
        print(e["seq"], e["state"])
        if e["status"] in ("completed", "cancelled"):
            done.set()

    await sio.connect(url, auth={"token": token}, transports=["websocket"])
    here, there = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
    ride = {"rideId": str(uuid.uuid4()), "pickup": here, "dropoff": there, "class": "economy"}
    print(await sio.call("request_ride", ride))
    await done.wait()
    await sio.disconnect()

asyncio.run(main(*sys.argv[1:]))
