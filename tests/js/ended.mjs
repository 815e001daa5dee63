// A stock client whose login ends: prints what it heard, why it was let go, and that it has stopped trying.
// node ended.mjs URL TOKEN
import { io } from "socket.io-client";

const [url, token] = process.argv.slice(2);
const said = { heard: [], reason: null };
const socket = io(url, { auth: { token }, transports: ["websocket"], reconnectionDelay: 20 });
setTimeout(() => process.exit(2), 15_000).unref();
socket.onAny((event, payload) => said.heard.push([event, payload.code ?? null]));
socket.on("disconnect", (reason) => (said.reason = reason));
socket.on("connect_error", (error) => {
  console.log(JSON.stringify({ ...said, refused: error.data ?? null, active: socket.active }));
  socket.close();
});
