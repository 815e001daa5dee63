// A whole ride; what the two heard is printed as one JSON object.
// node ride.mjs URL TRANSPORT DRIVER_TOKEN PASSENGER_TOKEN LATITUDE LONGITUDE
import { wholeRide } from "./whole.mjs";

try {
  console.log(JSON.stringify(await wholeRide(process.argv.slice(2))));
  process.exit(0);
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
