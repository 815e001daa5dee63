// The unmodified Node Socket.IO as a peer: the same small job as stock.py and server/bare_relay.py. Says on standard
// output which port it listens on, then serves until its standard input ends.
import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], perMessageDeflate: false, serveClient: false });

io.on("connection", (socket) => {
  const { room, drives } = socket.handshake.auth;
  if (drives) socket.on("location_update", (payload) => io.to(room).emit("driver_location", payload));
  else socket.join(room);
  socket.on("echo", (payload, ack) => ack(payload));
});

process.stdin.on("end", () => process.exit()).resume();
http.listen(0, "127.0.0.1", 4096, () => console.log(http.address().port));
