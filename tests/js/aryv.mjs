// Two phones on the shared client module, and a ride that goes on while the server is killed under them. Says "kill" when
// it is time, and in the end what both know as one JSON object.
// node aryv.mjs URL DRIVER_TOKEN PASSENGER_TOKEN LATITUDE LONGITUDE
import { io } from "socket.io-client";

import { Aryv, Refused } from "../../server/console/static/client/aryv-client.mjs";

const [url, driverToken, passengerToken, latitude, longitude] = process.argv.slice(2);
const PATIENCE_MS = 30_000;
const at = (metres) => ({ latitude: Number((Number(latitude) + metres / 111_195).toFixed(6)), longitude: Number(longitude) });
setTimeout(() => (console.error("it did not end in time"), process.exit(1)), PATIENCE_MS).unref();

/** Resolves with what `look` finds, after whichever change it is there. */
const until = (aryv, look) =>
  new Promise((resolve) => {
    const stop = aryv.on("change", () => {
      const found = look();
      if (found) stop(), resolve(found);
    });
    aryv._change();
  });

const driver = new Aryv({ io, url, token: driverToken }).connect();
const passenger = new Aryv({ io, url, token: () => passengerToken }).connect();
const facts = [];
passenger.on("fact", ({ event, payload, missed }) => facts.push([event, payload.room, payload.epoch, payload.seq, missed]));
await Promise.all([driver, passenger].map((each) => until(each, () => each.state === "online")));

await driver.goOnline({ classes: ["economy"], offerSeen: true }, at(300));
const asked = passenger.request("ride", { class: "economy", pickup: at(0), dropoff: at(2_000) });
const requesting = [...passenger.jobs.values()][0].state;
const { id } = await asked;
const offer = await until(driver, () => [...driver.offers.values()][0]);
const refused = await driver.accept("nonsense.1").catch((error) => error instanceof Refused && error.code);
await driver.seen(offer.offerId);
await driver.accept(offer.offerId);
await until(driver, () => driver.jobs.get(id)?.state === "assigned");
driver.fix(at(250));
await until(passenger, () => passenger.jobs.get(id).position?.latitude === at(250).latitude);
await passenger.say(id, "before");

console.log("kill");
await Promise.all([driver, passenger].map((each) => until(each, () => each.state === "connecting")));
const said = [];
for (let number = 0; number < 5; number++) {
  said.push(passenger.say(id, `passenger ${number}`), driver.say(id, `driver ${number}`));
  driver.fix(at(240 - number * 40));
  await new Promise((resolve) => setTimeout(resolve, 60));
}
const waiting = passenger.jobs.get(id).messages.filter((line) => line.state === "waiting").length;
const moved = driver.move(id, "arrived");
await Promise.all([...said, moved]);
await until(passenger, () => passenger.jobs.get(id).state === "arrived" && passenger.jobs.get(id).messages.length === 11);
await until(driver, () => driver.jobs.get(id).messages.length === 11);
const again = new Aryv({ io, url, token: passengerToken }).connect(); // an app that was installed anew
await until(again, () => again.state === "online");
const chats = [driver, passenger, again].map((each) => each.jobs.get(id).messages.map((line) => [line.text, line.state]));

for (const status of ["in_progress", "completed"]) await driver.move(id, status);
await until(passenger, () => passenger.jobs.get(id).over);
await Promise.all([passenger.rate(id, 5, "Smooth."), driver.rate(id, 4)]);
const otherStars = await passenger.rate(id, 1).catch((error) => error.code);
const shift = driver.shift;
const stranger = new Aryv({ io, url, token: "nonsense" });
const denied = await new Promise((resolve) => (stranger.on("denied", (error) => resolve([error.code, stranger.state])), stranger.connect()));
await driver.goOffline();
console.log(JSON.stringify({ id, requesting, refused, waiting, chats, facts, otherStars, denied, shift, job: passenger.jobs.get(id) }));
for (const each of [driver, passenger, again]) each.close();
