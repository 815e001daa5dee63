// The same losses of a line, with Node's own server and its connection state recovery, or with this one and `sync`.
// What the phone was told of the lines that were said is printed, and whether it was connected when it was not told.
// node recovery.mjs node
// node recovery.mjs dispatch URL SPEAKER_TOKEN PHONE_TOKEN RIDE_ID
import { createServer } from "node:http";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { Line } from "./cut.mjs";
import { Follower } from "./follower.mjs";

// Long enough for the phone to be back before the server gives up what it has lost.
const PINGS = { phoneFirst: {}, lostTwice: { pingInterval: 3000, pingTimeout: 2000 } };
const PATIENCE_MS = 15_000;
const PHONE = { transports: ["websocket"], reconnectionDelay: 50, reconnectionDelayMax: 50 };
const [kind, url, speakerToken, phoneToken, rideId] = process.argv.slice(2);

setTimeout(() => (console.error("no end in time"), process.exit(2)), 4 * PATIENCE_MS).unref();

async function until(what) {
  for (const end = Date.now() + PATIENCE_MS; !what(); ) {
    if (Date.now() > end) throw new Error(`not true in time: ${what}`);
    await new Promise((done) => setTimeout(done, 5));
  }
}

// A server of socket.io as its documentation advises: who was not recovered joins his rooms anew.
async function nodeWorld(pings) {
  const http = createServer();
  const server = new Server(http, { ...pings, connectionStateRecovery: {} });
  const reasons = [];
  server.on("connection", (socket) => {
    if (!socket.recovered) socket.join("ride");
    socket.on("here", (answer) => answer());
    socket.on("disconnect", (reason) => reasons.push(reason));
  });
  await new Promise((done) => http.listen(0, "127.0.0.1", done));
  return {
    port: http.address().port,
    auth: {},
    follow: (socket, take) => socket.on("line", take),
    say: async (text) => server.to("ride").emit("line", text),
    // an answer on the phone's connection comes after all that was emitted to it before
    told: (phone) => phone.timeout(PATIENCE_MS).emitWithAck("here"),
    givenUp: () => until(() => reasons.includes("ping timeout")),
    close: () => server.close(),
  };
}

async function dispatchWorld() {
  const speaker = io(url, { ...PHONE, auth: { token: speakerToken }, forceNew: true });
  await new Promise((done) => speaker.once("connected", done));
  const said = async (text) => {
    const answer = await speaker.timeout(PATIENCE_MS).emitWithAck("send_message", { rideId, message: text });
    if (!answer.ok) throw new Error(JSON.stringify(answer));
  };
  return {
    port: Number(new URL(url).port),
    auth: { token: phoneToken },
    follow: (socket, take) => {
      new Follower(socket, (event, fact) => event === "new_message" && fact.rideId === rideId && take(fact.message));
    },
    say: said,
    told: (phone, heard, text) => until(() => heard.includes(text)),
    givenUp: (line) => line,
    close: () => speaker.close(),
  };
}

class Play {
  constructor(world, line, name) {
    Object.assign(this, { world, line, name, heard: [], recovered: [] });
  }

  async begin(address) {
    this.phone = io(address, { ...PHONE, auth: this.world.auth, forceNew: true });
    this.world.follow(this.phone, (text) => text.startsWith(this.name) && this.heard.push(text.slice(this.name.length)));
    this.phone.on("connect", () => this.recovered.push(this.phone.recovered));
    await until(() => this.phone.connected);
    await this.say("one");
  }

  async say(text) {
    await this.world.say(this.name + text);
    await this.world.told(this.phone, this.heard, text);
  }

  // The line is lost, something is said, and the phone comes back by itself.
  async lose(text, how) {
    const times = this.recovered.length;
    const givenUp = this.line.lose(how);
    await until(() => !this.phone.connected);
    await this.world.say(this.name + text);
    this.line.mend();
    await until(() => this.recovered.length > times);
    return { givenUp: () => this.world.givenUp(givenUp) };
  }

  end() {
    const { heard, recovered } = this;
    const result = { heard, recovered: recovered.map(Boolean), connected: this.phone.connected };
    this.phone.close();
    return result;
  }
}

// The phone notices the loss before the server does.
async function phoneFirst(play) {
  await play.lose("two", { serverSees: false });
  await play.say("three");
}

// Two losses; the server gives up the second connection when the third has long been there.
async function lostTwice(play) {
  await play.lose("two", { serverSees: true });
  await play.say("three");
  const { givenUp } = await play.lose("four", { serverSees: false });
  await givenUp();
  await play.say("five");
}

const results = {};
for (const scenario of [phoneFirst, lostTwice]) {
  const world = await (kind === "node" ? nodeWorld(PINGS[scenario.name]) : dispatchWorld());
  const line = new Line("127.0.0.1", world.port);
  const play = new Play(world, line, `${scenario.name}: `);
  await play.begin(await line.listen());
  await scenario(play);
  results[scenario.name] = play.end();
  line.close();
  world.close();
}
console.log(JSON.stringify(results));
process.exit(0);
