// A whole ride between two stock socket.io-client clients. What they heard is printed as one JSON object.
// node ride.mjs URL TRANSPORT DRIVER_TOKEN PASSENGER_TOKEN LATITUDE LONGITUDE
import { io } from "socket.io-client";

const [url, transport, driverToken, passengerToken, latitude, longitude] = process.argv.slice(2);
const TRANSPORTS = { websocket: ["websocket"], polling: ["polling"], upgrade: ["polling", "websocket"] };
const PATIENCE_MS = 15_000;
const pickup = { latitude: Number(latitude), longitude: Number(longitude) };
const north = (metres) => ({ ...pickup, latitude: pickup.latitude + metres / 111_195 });

class Phone {
  constructor(token) {
    this.log = [];
    this.waiting = [];
    this.socket = io(url, { auth: { token }, transports: TRANSPORTS[transport], reconnection: false });
    this.socket.onAny((event, payload) => this.hear(event, payload));
    this.socket.on("connect_error", (error) => fail(`connect_error: ${error.message}`));
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
    if (!answer.ok) fail(`${event}: ${JSON.stringify(answer)}`);
    return answer;
  }
}

function fail(text) {
  console.error(text);
  process.exit(1);
}

async function upgraded(phone) {
  const engine = phone.socket.io.engine;
  if (transport === "upgrade" && engine.transport.name !== "websocket") {
    await new Promise((resolve) => engine.once("upgrade", resolve));
  }
  return phone.socket.io.engine.transport.name;
}

async function ride(driver, passenger) {
  await Promise.all([driver.hears("connected"), passenger.hears("connected")]);
  const spoken = [await upgraded(driver), await upgraded(passenger)];
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

setTimeout(() => fail("the ride did not end in time"), PATIENCE_MS).unref();
const driver = new Phone(driverToken);
const passenger = new Phone(passengerToken);
const result = await ride(driver, passenger);
console.log(JSON.stringify({ ...result, driver: driver.log, passenger: passenger.log }));
driver.socket.close();
passenger.socket.close();
