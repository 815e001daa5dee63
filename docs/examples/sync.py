"""Tells every fact of a person's jobs once and in order, whatever the line does. Arguments: URL EMAIL PASSWORD."""
import asyncio, sys, aiohttp, socketio

async def main(url, email, password):
    async with aiohttp.ClientSession() as http:
        answer = await http.post(f"{url}/api/auth/login", json={"email": email, "password": password})
        login = await answer.json()
    if not login["success"]:
        sys.exit(login["error"])
    sio = socketio.AsyncClient(handle_sigint=False, reconnection_delay=0.5)
    at = {}  # (epoch, seq) of each room's last fact

    def hear(event, fact):
        if "seq" not in fact:  # a position, somebody typing: the next one makes up for it
            return
        room, epoch, seq = fact["room"], fact["epoch"], fact["seq"]
        known, last = at.setdefault(room, (epoch, seq - 1))
        if (epoch, seq) == (known, last + 1):
            at[room] = epoch, seq
            print(room, seq, event, fact.get("state", ""), flush=True)
        elif epoch != known or seq > last:  # a hole
            sio.start_background_task(sync, [room])

    async def sync(rooms):
        answer = await sio.call("sync", {"rooms": [[room, *at[room]] for room in rooms if room in at]})
        if not answer["ok"]:
            await asyncio.sleep(1)
            sio.start_background_task(sync, rooms)
        for each in answer.get("rooms", ()):
            if "error" in each and each["error"]["retry"]:
                sio.start_background_task(sync, [each["room"]])
            elif "error" in each:  # no party of it any more
                at.pop(each["room"], None)
            elif not each["recovered"]:  # what was missed cannot be told: this is how it stands now
                at[each["room"]] = each["epoch"], each["seq"]
                print(each["room"], each["seq"], each["last"], flush=True)
            for event, fact in each.get("events", ()):
                hear(event, fact)

    async def connected(hello):
        stands = {each["room"]: (each["epoch"], each["seq"]) for each in (hello, *hello["jobs"])}
        await sync([room for room in at if at[room] != stands.get(room)])
        at.update({room: place for room, place in stands.items() if room not in at})
        print("connected, hears", *at, flush=True)

    sio.on("*", hear)
    sio.on("connected", connected)
    await sio.connect(url, auth={"token": login["data"]["accessToken"]}, transports=["websocket"])
    try:
        await asyncio.shield(sio.wait())  # Ctrl-C would end its connection before it is closed
    finally:
        await sio.disconnect()

try:
    asyncio.run(main(*sys.argv[1:])) if len(sys.argv) == 4 else sys.exit(__doc__)
except aiohttp.ClientError as error:
    sys.exit(f"No dispatch server answers at {sys.argv[1]}: {error}")
except KeyboardInterrupt:
    pass
