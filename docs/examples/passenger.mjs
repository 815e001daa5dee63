// A passenger, in Node: asks for a ride and tells how it goes. Arguments: URL EMAIL PASSWORD.
import { io } from "socket.io-client";
import { Aryv, login } from "../../server/console/static/client/aryv-client.mjs";

const [url, email, password] = process.argv.slice(2);
const pickup = { latitude: 49.994, longitude: 36.231 }, dropoff = { latitude: 50.005, longitude: 36.25 };
try {
  const { accessToken } = await login(url, email, password);
  const aryv = new Aryv({ io, url, token: () => accessToken }).connect();
  let told = "";
  aryv.on("change", () => {
    for (const job of aryv.jobs.values()) {
      if (job.state !== told) console.log((told = job.state), job.driver?.name ?? "");
      if (job.over) aryv.close();
    }
  });
  await aryv.request("ride", { pickup, dropoff, class: "economy" });
} catch (refused) {
  console.error(refused.message);
  process.exit(1);
}
