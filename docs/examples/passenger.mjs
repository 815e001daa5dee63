// A passenger, in Node: asks for a ride and tells how it goes. Arguments: URL EMAIL PASSWORD.
import { io } from "socket.io-client";
import { Aryv, login } from "../../server/console/static/client/aryv-client.mjs";

const [url, email, password] = process.argv.slice(2);
const pickup = { latitude: 49.994, longitude: 36.231 }, dropoff = { latitude: 50.005, longitude: 36.25 };
try {
  const { accessToken } = await login(url, email, password);
  const aryv = new Aryv({ io, url, token: () => accessToken }).connect();
  const { id } = await aryv.request("ride", { pickup, dropoff, class: "economy" });
  let told = "";
  aryv.on("change", () => {
    const ride = aryv.jobs.get(id);
    if (ride.state !== told) console.log((told = ride.state), ride.driver?.name ?? "");
    if (ride.over) aryv.close();
  });
} catch (refused) {
  console.error(refused.message);
  process.exit(1);
}
