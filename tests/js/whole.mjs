// A whole ride between two stock socket.io-client clients, in Node or in a browser.
import { io } from "socket.io-client";

const TRANSPORTS = { websocket: ["websocket"], polling: ["polling"], upgrade: ["polling", "websocket"] };
const PATIENCE_MS = 15_000;

class Phone {
  constructor(url, transport, token, fail) {
    this.log = [];
    this.waiting = [];
    this.socket = io(url, { auth: { token }, transports: TRANSPORTS[transport], reconnection: false });
    this.socket.onAny((event, payload) => this.hear(event, payload));
    this.socket.on("connect_error", (error) => fail(new Error(`connect_error: ${error.message}`)));
    this.socket.on("disconnect", (reason) => this.hear("disconnect", { reason }));
  }

  hear(event, payload) {
    this.log.push([event, payload]);
    this.waiting = this.waiting.filter(({ wants, resolve }) => !(wants(event, payload) && (resolve(payload), true)));
  }

  hears(event, match = () => true) {
    const found = this.log.find(([name, payload]) => name === event && match(payload));
    if (found) return Promise.resolve(found[1]);
    return new Promise((resolve) => {
      this.waiting.push({ wants: (name, payload) => name === event && match(payload), resolve });
    });
  }

  async call(event, payload) {
    const answer = await this.socket.timeout(PATIENCE_MS).emitWithAck(event, payload);
    if (!answer.ok) throw new Error(`${event}: ${JSON.stringify(answer)}`);
    return answer;
  }
}

async function upgraded(phone, transport) {
  const engine = phone.socket.io.engine;
  if (transport === "upgrade" && engine.transport.name !== "websocket") {
    await new Promise((resolve) => engine.once("upgrade", resolve));
  }
  return phone.socket.io.engine.transport.name;
}

async function ride(driver, passenger, transport, pickup) {
  const north = (metres) => ({ ...pickup, latitude: pickup.latitude + metres / 111_195 });
  await Promise.all([driver.hears("connected"), passenger.hears("connected")]);
  const spoken = [await upgraded(driver, transport), await upgraded(passenger, transport)];
  await driver.call("go_online", { classes: ["economy"], ...north(300) });
  const { rideId } = await passenger.call("request_ride", { class: "economy", pickup, dropoff: north(2000) });
  const offer = await driver.hears("offer", (o) => o.job.rideId === rideId);
  await driver.call("accept_offer", { offerId: offer.offerId });
  await Promise.all([driver.hears("driver_assigned"), passenger.hears("driver_assigned")]);
  await driver.call("location_update", { ...north(220), heading: 180, speed: 7.5 });
  await passenger.hears("driver_location", (fix) => fix.rideId === rideId);
  await passenger.call("send_message", { rideId, message: "Де ви? 🚕" });
  await driver.hears("new_message", (line) => line.rideId === rideId);
  for (const status of ["arrived", "in_progress", "completed"]) {
    await driver.call("ride_status_update", { rideId, status });
    await passenger.hears("ride_status_update", (said) => said.state === status);
  }
  await driver.hears("ride_status_update", (said) => said.state === "completed");
  return { rideId, transports: spoken };
}

// What both heard, as one object; it fails with what went wrong.
export function wholeRide([url, transport, driverToken, passengerToken, latitude, longitude]) {
  return new Promise((resolve, fail) => {
    setTimeout(() => fail(new Error("the ride did not end in time")), PATIENCE_MS);
    const [driver, passenger] = [driverToken, passengerToken].map((token) => new Phone(url, transport, token, fail));
    ride(driver, passenger, transport, { latitude: Number(latitude), longitude: Number(longitude) })
      .then((result) => {
        resolve({ ...result, driver: [...driver.log], passenger: [...passenger.log] });
        driver.socket.close();
        passenger.socket.close();
      }, fail);
  });
}
