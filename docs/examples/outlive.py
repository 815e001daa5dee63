"""A driver and a passenger talk while you kill workers, and count what they heard. Arguments: URL [LINES]."""
import asyncio, secrets, sys, time, uuid, aiohttp, socketio

HERE, THERE = {"latitude": 49.994, "longitude": 36.231}, {"latitude": 50.005, "longitude": 36.25}
WAIT_S = 60
FAILS = (socketio.exceptions.SocketIOError, asyncio.TimeoutError)

class Phone:
    """Keeps up with the room of one ride: takes the next number, drops what it has, asks `sync` for what it missed."""
    def __init__(self, name):
        self.name, self.said, self.room, self.offers, self.syncs = name, [], None, asyncio.Queue(), asyncio.Lock()
        self.sio = socketio.AsyncClient(handle_sigint=False, reconnection_delay=0.2, reconnection_delay_max=1)
        self.sio.on("*", self.hear)

    async def come(self, http, url):
        person = {"role": self.name, "firstName": "Ada", "lastName": "Byron", "email": f"{uuid.uuid4()}@example.org",
                  "phone": f"+1555{secrets.randbelow(10**7):07d}", "password": secrets.token_hex(8) + "!aA1"}
        login = await (await http.post(f"{url}/api/auth/register", json=person)).json()
        if not login["success"]:
            sys.exit(login["error"])
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

    async def do(self, event, payload):
        if not (answer := await self.ask(event, payload))["ok"]:
            sys.exit(f"{self.name}: {event} was refused: {answer['error']['message']}")
        return answer

    async def hear(self, event, payload):
        if event == "offer":
            self.offers.put_nowait(payload)
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

    async def accept(self, ride):
        while True:
            offer = await self.offers.get()
            if offer["job"].get("rideId") != ride["rideId"]:  # somebody else's
                await self.ask("decline_offer", {"offerId": offer["offerId"]})
            elif (await self.ask("accept_offer", {"offerId": offer["offerId"]}))["ok"]:
                return

    async def enter(self, ride):
        at = await self.do("join_ride", ride)
        self.room, self.epoch, self.seq = at["room"], at["epoch"], at["seq"]

async def main(url, lines="100"):
    driver, passenger = both = Phone("driver"), Phone("passenger")
    async with aiohttp.ClientSession() as http:
        for phone in both:
            await phone.come(http, url)
    # a UUID of version 7 says when it was made: a new one is taken while PostgreSQL is away, too
    ride = {"rideId": str(uuid.UUID(int=time.time_ns() // 10**6 << 80 | 7 << 76 | uuid.uuid4().int % 2**76))}
    try:
        await driver.do("go_online", {"classes": ["economy"], **HERE})
        await passenger.do("request_ride", {**ride, "pickup": HERE, "dropoff": THERE, "class": "economy"})
        await asyncio.wait_for(driver.accept(ride), WAIT_S)
        for phone in both:
            await phone.enter(ride)
        for number in range(int(lines)):
            line = {**ride, "id": str(uuid.uuid4()), "type": "text", "message": str(number)}
            await both[number % 2].do("send_message", line)
            await asyncio.sleep(0.2)
    finally:  # also after Ctrl-C: the next run shall meet neither of them
        await passenger.ask("cancel_ride", ride)
        await driver.ask("go_offline", {})
        for phone in both:
            await phone.sio.disconnect()
    wanted = [str(number) for number in range(int(lines))]
    for phone in both:
        word = "every line once and in order" if phone.said == wanted else f"NOT ALL: {phone.said}"
        print(f"{phone.name}: {len(wanted)} lines were acked, {len(phone.said)} heard: {word}", flush=True)
    return 0 if driver.said == passenger.said == wanted else 1

try:
    sys.exit(asyncio.run(main(*sys.argv[1:])) if len(sys.argv) in (2, 3) else __doc__)
except aiohttp.ClientError as error:
    sys.exit(f"No dispatch server answers at {sys.argv[1]}: {error}")
except TimeoutError:
    sys.exit(f"The ride was not offered to its driver within {WAIT_S} s: is another driver online there?")
except KeyboardInterrupt:
    pass
