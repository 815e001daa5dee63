"""A driver and a passenger talk while you kill workers, and count what they heard. Arguments: URL [LINES]."""
import asyncio, secrets, sys, uuid, aiohttp, socketio

HERE, THERE = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
FAILS = (socketio.exceptions.SocketIOError, asyncio.TimeoutError)

class Phone:
    """Keeps up with the room of one ride: takes the next number, drops what it has, asks `sync` for what it missed."""
    def __init__(self, name):
        self.name, self.said, self.room, self.offer, self.syncs = name, [], None, asyncio.Queue(), asyncio.Lock()
        self.sio = socketio.AsyncClient(reconnection_delay=0.2, reconnection_delay_max=1)
        self.sio.on("*", self.hear)

    async def come(self, http, url):
        person = {"role": self.name, "firstName": "Ada", "lastName": "Byron", "email": f"{uuid.uuid4()}@example.org",
                  "phone": f"+1555{secrets.randbelow(10**7):07d}", "password": secrets.token_hex(8) + "!aA1"}
        login = await (await http.post(f"{url}/api/auth/register", json=person)).json()
        await self.sio.connect(url, auth={"token": login["data"]["accessToken"]}, transports=["websocket"])

    async def ask(self, event, payload):
        while True:  # the same command with the same id, until somebody answers: it has one effect
            error = {}
            try:
                answer = await self.sio.call(event, payload, timeout=2)
                error = answer.get("error", {})
                if answer["ok"] or not (error["retry"] or "againInS" in error):
                    return answer
            except FAILS:
                pass
            await asyncio.sleep(error.get("againInS", 0.1))

    async def hear(self, event, payload):
        if event == "offer":
            self.offer.put_nowait(payload["offerId"])
        elif event == "connected":
            print(f"{self.name}: connected to {payload['node']}", flush=True)
            if self.room:
                await self.catch_up()
        elif payload.get("room") == self.room and "seq" in payload and not self.take(event, payload):
            await self.catch_up()

    def take(self, event, payload):
        if payload["epoch"] != self.epoch or payload["seq"] > self.seq + 1:
            return False
        if payload["seq"] == self.seq + 1:
            self.seq += 1
            if event == "new_message":
                self.said.append(payload["message"])
        return True

    async def catch_up(self):
        async with self.syncs:
            told = (await self.ask("sync", {"rooms": [[self.room, self.epoch, self.seq]]}))["rooms"][0]
            fresh = [each for each in told["events"] if each[1]["seq"] > self.seq]
            print(f"{self.name}: sync gives {len(fresh)} that were missed", flush=True)
            assert told["recovered"] and all(self.take(*each) for each in fresh)

    async def enter(self, ride):
        at = await self.ask("join_ride", {"rideId": ride})
        self.room, self.epoch, self.seq = at["room"], at["epoch"], at["seq"]

async def main(url, lines="100"):
    driver, passenger = both = Phone("driver"), Phone("passenger")
    async with aiohttp.ClientSession() as http:
        for phone in both:
            await phone.come(http, url)
    await driver.ask("go_online", {"classes": ["economy"], **HERE})
    ride = str(uuid.uuid4())
    await passenger.ask("request_ride", {"rideId": ride, "pickup": HERE, "dropoff": THERE, "class": "economy"})
    await driver.ask("accept_offer", {"offerId": await asyncio.wait_for(driver.offer.get(), 60)})
    for phone in both:
        await phone.enter(ride)
    for number in range(int(lines)):
        line = {"id": str(uuid.uuid4()), "rideId": ride, "type": "text", "message": str(number)}
        assert (await both[number % 2].ask("send_message", line))["ok"]
        await asyncio.sleep(0.2)
    await passenger.ask("cancel_ride", {"rideId": ride})
    await driver.ask("go_offline", {})
    wanted = [str(number) for number in range(int(lines))]
    for phone in both:
        word = "every line once and in order" if phone.said == wanted else f"NOT ALL: {phone.said}"
        print(f"{phone.name}: {len(wanted)} lines were acked, {len(phone.said)} heard: {word}", flush=True)
        await phone.sio.disconnect()
    return 0 if driver.said == passenger.said == wanted else 1

sys.exit(asyncio.run(main(*sys.argv[1:])) if len(sys.argv) in (2, 3) else __doc__)
