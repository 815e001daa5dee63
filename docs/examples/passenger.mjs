// A passenger, in Node: asks for a ride and tells how it goes. Arguments: URL EMAIL PASSWORD.
import { io } from "socket.io-client";
import { Aryv, login } from "../../server/console/static/client/aryv-client.mjs";

const [url, email, password] = process.argv.slice(2);
const pickup = { latitude: 49.994, longitude: 36.231 }, dropoff = { latitude: 50.005, longitude: 36.25 };
try {
  if (!password) throw new Error("Arguments: URL EMAIL PASSWORD.");
  const { accessToken } = await login(url, email, password);
  const aryv = new Aryv({ io, url, token: () => accessToken }).connect();
  const { id } = await aryv.request("ride", { pickup, dropoff, class: "economy" });
  let told = 0;
  aryv.on("change", () => {
    const ride = aryv.jobs.get(id);
    for (const { state } of ride.story.slice(told)) console.log(state, (state === "assigned" && ride.driver?.name) || "");
    told = ride.story.length; // several may have come since the last change
    if (ride.over) aryv.close();
  });
} catch (refused) {
  console.error(refused.message);
  process.exit(1);
}
