// A stock client that is refused for now: prints what it was told of errors once it has come in by itself.
// node patient.mjs URL TRANSPORT TOKEN
import { io } from "socket.io-client";

const [url, transport, token] = process.argv.slice(2);
const errors = [];
const socket = io(url, {
  auth: { token },
  transports: [transport],
  reconnectionDelay: 20,
  reconnectionDelayMax: 100,
});
setTimeout(() => process.exit(2), 15_000).unref();
socket.on("connect_error", (error) => errors.push(error.message));
socket.on("connected", (said) => {
  console.log(JSON.stringify({ userId: said.userId, errors }));
  socket.close();
});
