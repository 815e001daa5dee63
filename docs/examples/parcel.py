"""A parcel from hand to hand. Sender and courier are one program here, because the code has to get from one to the
other. It ends where a connection is lost; outlive.py goes on. Arguments: URL SENDER_EMAIL SENDER_PASSWORD
COURIER_EMAIL COURIER_PASSWORD."""
import asyncio, sys, time, uuid, aiohttp, socketio

WAIT_S = 10  # what is said while the connection is away comes by `sync` only: waiting for it here has an end

async def connect(url, email, password, event, heard):
    async with aiohttp.ClientSession() as http:
        answer = await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})
        login = await answer.json()
    if not login["success"]:
        sys.exit(f"{email}: {login['error']}")
    sio = socketio.AsyncClient(handle_sigint=False)
    sio.on(event, heard.put)
    await sio.connect(url, auth={"token": login["data"]["accessToken"]}, transports=["websocket"])
    return sio

async def ask(sio, event, payload):
    print(event, answer := await sio.call(event, payload, timeout=WAIT_S))
    if not answer["ok"]:
        sys.exit(f"{event} was refused: {answer['error']['message']}")

async def main(url, *logins):
    codes, offers = asyncio.Queue(), asyncio.Queue()
    sender = await connect(url, *logins[:2], "notification", codes)
    courier = await connect(url, *logins[2:], "offer", offers)
    here, there = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
    to = {"name": "Ada Byron", "phone": "+15550100123"}
    # a UUID of version 7 says when it was made: a new one is taken while PostgreSQL is away, too
    step = {"packageId": str(uuid.UUID(int=time.time_ns() // 10**6 << 80 | 7 << 76 | uuid.uuid4().int % 2**76))}
    parcel = {**step, "pickup": here, "dropoff": there, "size": "small", "recipient": to}
    try:
        await ask(courier, "go_online", {"classes": ["parcel"], **here})
        await ask(sender, "request_package", parcel)
        while (offer := await asyncio.wait_for(offers.get(), WAIT_S))["job"].get("packageId") != step["packageId"]:
            await ask(courier, "decline_offer", {"offerId": offer["offerId"]})  # somebody else's
        await ask(courier, "accept_offer", {"offerId": offer["offerId"]})
        for status in ("arrived_pickup", "picked_up", "arrived_dropoff"):
            await ask(courier, "package_status_update", {**step, "status": status})
        code = (await asyncio.wait_for(codes.get(), WAIT_S))["data"]["code"]  # for the recipient, to show at the door
        await ask(courier, "package_status_update", {**step, "status": "delivered", "proof": {"code": code}})
    finally:  # no courier shall come for nobody; a parcel that was delivered stays as it is
        if sender.connected:
            await sender.call("cancel_package", step, timeout=WAIT_S)
        await asyncio.gather(sender.disconnect(), courier.disconnect())

try:
    asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 6 else sys.exit(__doc__)
except aiohttp.ClientError as error:
    sys.exit(f"No dispatch server answers at {sys.argv[1]}: {error}")
except (TimeoutError, socketio.exceptions.SocketIOError):
    sys.exit(f"The connection was lost, or nothing came for {WAIT_S} s.")
except KeyboardInterrupt:
    pass
