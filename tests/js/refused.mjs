// What the stock client hears when its token is not good: prints message and data of connect_error.
// node refused.mjs URL TOKEN
import { io } from "socket.io-client";

const [url, token] = process.argv.slice(2);
const socket = io(url, { auth: { token }, transports: ["websocket"], reconnection: false });
setTimeout(() => process.exit(2), 15_000).unref();
socket.on("connect", () => process.exit(1));
socket.on("connect_error", (error) => {
  console.log(JSON.stringify({ message: error.message, data: error.data ?? null }));
  socket.close();
});
