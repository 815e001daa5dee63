// The parts of the shared client module, each against a model. `node --test` runs it; SEED repeats a run.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Jobs } from "../../server/console/static/client/jobs.mjs";
import { Outbox, Refused } from "../../server/console/static/client/outbox.mjs";
import { Rooms } from "../../server/console/static/client/rooms.mjs";
import { Track } from "../../server/console/static/client/track.mjs";

const seed = Number(process.env.SEED ?? Math.floor(Math.random() * 2 ** 31));
console.log(`# SEED=${seed}`);
let state = seed;
const chance = () => (state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff) / 0x7fffffff;
const below = (most) => Math.floor(chance() * most);
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A server with one job room and one user's room, from which a phone hears by a line that loses, repeats and breaks. */
class Server {
  constructor(kept) {
    this.kept = kept;
    this.rooms = { "user:me": { epoch: "a", facts: [] }, "ride:1": { epoch: "a", facts: [] } };
  }

  say(room, what) {
    const { epoch, facts } = this.rooms[room];
    const fact = { room, epoch, seq: facts.length + 1, what };
    facts.push(fact);
    return fact;
  }

  greeting() {
    const [own, job] = Object.entries(this.rooms).map(([room, { epoch, facts }]) => ({ room, epoch, seq: facts.length }));
    return { ...own, jobs: [job] };
  }

  sync(asked) {
    return asked.map(([room, epoch, seq]) => {
      const { epoch: now, facts } = this.rooms[room];
      const recovered = epoch === now && facts.length - seq <= this.kept && seq <= facts.length;
      const events = recovered ? facts.slice(seq).map((fact) => ["fact", fact]) : [];
      return { room, epoch: now, seq: facts.length, recovered, events, last: { at: facts.length } };
    });
  }

  loses(room) {
    this.rooms[room] = { epoch: `${this.rooms[room].epoch}+`, facts: [] };
  }
}

test("whatever the line does, every fact is taken once and in order, or a snapshot stands for it", async () => {
  for (let run = 0; run < 400; run++) {
    const server = new Server(run % 3 === 0 ? 4 : 1_000);
    const stands = { "user:me": 0, "ride:1": 0 };
    let connected = false;
    let greeted = false;
    const rooms = new Rooms({
      ask: async (payload) => {
        await turn();
        if (!connected) throw new Refused("offline", "", true);
        if (chance() < 0.2) {
          connected = false;
          rooms.lost();
          throw new Refused("no_answer", "", true);
        }
        return { ok: true, rooms: server.sync(payload.rooms) };
      },
      take: (_, { room, seq }) => {
        assert.equal(seq, stands[room] + 1, `${room} in run ${run}`);
        stands[room] = seq;
        return false;
      },
      stands: (room, last, recovered) => {
        if (recovered) assert.equal(stands[room], last.at);
        stands[room] = last.at;
      },
      gone: () => assert.fail("no room is gone"),
      jobs: () => [],
    });
    const greet = () => {
      connected = true;
      if (!greeted) stands["user:me"] = server.greeting().seq; // of the own room only what comes
      greeted = true;
      return rooms.greeted(server.greeting());
    };
    const history = [];
    for (let step = 0; step < 60; step++) {
      const room = chance() < 0.3 ? "user:me" : "ride:1";
      if (chance() < 0.03) {
        server.loses(room);
        connected = false;
        rooms.lost();
      }
      const fact = server.say(room, step);
      history.push(fact);
      if (!connected && chance() < 0.2) greet();
      else if (connected && chance() < 0.85) rooms.hear("fact", fact);
      if (connected && chance() < 0.1) rooms.hear("fact", history[below(history.length)]);
      if (connected && chance() < 0.05) {
        connected = false;
        rooms.lost();
      }
      if (chance() < 0.5) await turn();
    }
    for (let tries = 0; tries < 50 && Object.keys(stands).some((room) => stands[room] !== server.rooms[room].facts.length); tries++) {
      await greet();
      await turn();
    }
    for (const room of Object.keys(stands)) assert.equal(stands[room], server.rooms[room].facts.length, `${room} in run ${run}`);
  }
});

test("a room that is not ours any more is gone, and its counter with it", async () => {
  const gone = [];
  const rooms = new Rooms({
    ask: async ({ rooms }) => ({ ok: true, rooms: rooms.map(([room]) => ({ room, error: { code: "not_found" } })) }),
    take: () => false, stands: () => {}, gone: (room) => gone.push(room), jobs: () => [],
  });
  rooms.hear("fact", { room: "ride:1", epoch: "a", seq: 4 });
  await rooms.greeted({ room: "user:me", epoch: "a", seq: 0, jobs: [] });
  await rooms.greeted({ room: "user:me", epoch: "a", seq: 0, jobs: [] });
  assert.deepEqual(gone, ["ride:1"]);
});

test("commands go in order and one by one, and each is sent until it is answered", async () => {
  const heard = [];
  const answers = { a: ["no_answer", "rate_limited", null], b: ["forbidden"], c: [null] };
  const outbox = new Outbox(async (event, payload) => {
    heard.push(`${event}${payload.commandId}`);
    const code = answers[event].shift();
    if (code) throw new Refused(code, "", code === "no_answer");
    return { ok: true, event };
  });
  const all = [outbox.add("a", { commandId: 1 }), outbox.add("b", { commandId: 2 }), outbox.add("c", { commandId: 3 })];
  await turn();
  assert.deepEqual(heard, [], "nothing is sent before there is a connection");
  outbox.open();
  const [a, b, c] = await Promise.allSettled(all);
  assert.deepEqual(heard, ["a1", "a1", "a1", "b2", "c3"]);
  assert.deepEqual([a.value.event, b.reason.code, c.value.event], ["a", "forbidden", "c"]);
  assert.equal(outbox.length, 0);
});

test("what waits is bounded in number and in time", async () => {
  const outbox = new Outbox(() => assert.fail("there is no connection"), 2);
  const holding = setTimeout(() => {}, 5_000); // the outbox is no reason for Node to wait
  const [soon, later] = [outbox.add("a", {}, 10), outbox.add("b", {}, 20)];
  await assert.rejects(outbox.add("c", {}), { code: "full" });
  await assert.rejects(soon, { code: "expired" });
  await assert.rejects(later, { code: "expired" });
  clearTimeout(holding);
});

test("of positions that wait the newest is sent; without a line they become one batch, thinned", async () => {
  const [sent, batches] = [[], []];
  let answer = () => {};
  const track = new Track((fix) => (sent.push(fix.timestamp), new Promise((resolve) => (answer = resolve))), async (fixes) => batches.push(fixes));
  const fix = (timestamp) => ({ latitude: 1, longitude: timestamp, timestamp });
  track.open();
  for (let at = 0; at < 10; at++) track.add(fix(at));
  answer();
  await turn();
  assert.deepEqual(sent, [0, 9]);
  track.shut();
  for (let at = 10; at < 1_210; at++) track.add(fix(at));
  track.open();
  const [kept] = batches;
  assert.ok(kept.length <= 500 && kept.length > 250, `${kept.length}`);
  assert.equal(kept.at(-1).timestamp, 1_209);
  assert.deepEqual(kept.map((each) => each.timestamp), kept.map((each) => each.timestamp).sort((a, b) => a - b));
});

const card = (more) => ({ rideId: "1", kind: "ride", status: "confirmed", state: "assigned", version: 3, pickup: {}, driver: { id: "d", name: "D" }, ...more });

test("the newest position and the newest version win, in whatever order they come", () => {
  const jobs = new Jobs();
  jobs.me = "p";
  const job = jobs.put(card());
  for (const second of [1, 3, 2]) jobs.hear("driver_location", { rideId: "1", latitude: second, timestamp: `2026-01-01T00:00:0${second}.000Z` });
  assert.equal(job.position.latitude, 3);
  jobs.hear("ride_status_update", { rideId: "1", state: "arrived", status: "confirmed", version: 4, driverId: "d" });
  jobs.put(card());
  assert.equal(job.state, "arrived");
  jobs.hear("ride_status_update", { rideId: "1", state: "completed", status: "completed", version: 6, driverId: "d" });
  assert.deepEqual([job.over, job.position], [true, null]);
});

test("a job that is given to somebody else is not its driver's business any more, and stays its passenger's", () => {
  for (const [me, stays] of [["d", false], ["p", true]]) {
    const jobs = new Jobs();
    jobs.me = me;
    jobs.put(card());
    jobs.hear("ride_status_update", { rideId: "1", state: "searching", status: "pending", version: 4, driverId: null });
    assert.equal(jobs.all.has("1"), stays);
  }
});

test("a job that another driver takes over is his, and where the first one was is forgotten", () => {
  for (const [me, stays] of [["d", false], ["p", true]]) {
    const jobs = new Jobs();
    jobs.me = me;
    const job = jobs.put(card());
    jobs.hear("driver_location", { rideId: "1", latitude: 1, longitude: 1, timestamp: "t1" });
    const taken = { rideId: "1", state: "assigned", status: "confirmed", version: 4, driverId: "e", driverName: "E", vehicle: "V", etaSeconds: 60 };
    const told = { type: "job_taken_over", data: { rideId: "1", version: 4, reason: "another driver is nearer" } };
    if (me === "d") jobs.hear("notification", told);
    else jobs.hear("driver_assigned", { ...taken, takenOver: true, reason: "another driver is nearer" });
    assert.equal(jobs.all.has("1"), stays);
    if (me === "d") {
      jobs.put({ ...card(), version: 5 });
      jobs.hear("notification", told); // told late: it is his again
      assert.equal(jobs.all.has("1"), true);
      continue;
    }
    assert.deepEqual([job.driver?.id, job.position, job.etaSeconds], ["e", null, 60]);
  }
});

test("that a ride comes after another is known from the fact or from a card, until it begins", () => {
  const jobs = new Jobs();
  const job = jobs.put({ ...card(), finishing: true });
  assert.equal(job.finishing, true);
  jobs.put(card());
  assert.equal(job.finishing, false);
  const said = (version, state) => ({ rideId: "1", state, status: "confirmed", version, driverId: "d", driverName: "D" });
  jobs.hear("driver_assigned", { ...said(8, "assigned"), finishing: true });
  assert.equal(job.finishing, true);
  jobs.hear("ride_status_update", said(9, "arrived"));
  assert.equal(job.finishing, false);
});

test("who had a job before it is searched for again is known until somebody else has it", () => {
  const jobs = new Jobs();
  jobs.me = "p";
  const job = jobs.put(card());
  const searching = (version, updatedBy) => jobs.hear("ride_status_update", { rideId: "1", state: "searching", status: "pending", version, driverId: null, updatedBy });
  searching(4, "d");
  assert.deepEqual([job.driver, job.left], [null, { name: "D", himself: true }]);
  jobs.hear("ride_status_update", { rideId: "1", state: "offered", status: "pending", version: 5, driverId: null, updatedBy: "system" });
  assert.equal(job.left.name, "D");
  jobs.hear("driver_assigned", { rideId: "1", state: "assigned", status: "confirmed", version: 6, driverId: "e", driverName: "E", needsCode: true });
  assert.deepEqual([job.left, job.needsCode], [null, true]);
  searching(7, "system");
  assert.deepEqual(job.left, { name: "E", himself: false });
});

test("a line that waits stands behind those that are said, and takes its place when it is", () => {
  const jobs = new Jobs();
  const job = jobs.put(card());
  const line = (id, state) => ({ id, senderId: "p", senderName: "P", text: id, at: "t", state });
  jobs.line(job, line("mine", "waiting"));
  jobs.hear("new_message", { rideId: "1", id: "theirs", message: "theirs", timestamp: "t" });
  assert.deepEqual(job.messages.map((each) => each.id), ["theirs", "mine"]);
  jobs.hear("new_message", { rideId: "1", id: "mine", message: "mine", timestamp: "t" });
  jobs.hear("new_message", { rideId: "1", id: "last", message: "last", timestamp: "t" });
  assert.deepEqual(job.messages.map((each) => [each.id, each.state]), [["theirs", "sent"], ["mine", "sent"], ["last", "sent"]]);
});
