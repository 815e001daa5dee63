// A job as the console's replay puts it together from history: pure, so each case is a small story.
import assert from "node:assert/strict";
import { test } from "node:test";

import { Film } from "../../server/console/static/console/replay/film.mjs";

const START = Date.parse("2026-01-01T10:00:00Z");
const at = (s) => new Date(START + s * 1000).toISOString();
const fact = (s, state, driverId = null, reason = "") => ({ event: "ride_status_update", timestamp: at(s), payload: { state, driverId, reason } });
const place = (role) => ({ geometry: { coordinates: [0, 0] }, properties: { role } });

/** @param fixes [second, longitude] along the equator */
function film({ facts = [], messages = [], decisions = [], fixes = [], job = {}, row = {} }) {
  const way = { geometry: { coordinates: fixes.map(([, lng]) => [lng, 0]) }, properties: { role: "track", timestamps: fixes.map(([s]) => at(s)) } };
  const track = { features: [place("pickup"), place("dropoff"), ...(fixes.length ? [way] : [])] };
  const whole = { id: "r", state: "completed", createdAt: at(0), endedAt: at(600), requester: { id: "p", name: "Pia" }, driver: { id: "d", name: "Dan" }, ...row };
  return new Film(whole, { kind: "ride", facts, messages, track, ...job }, decisions, START + 700_000);
}

const decision = (s, driverId, offer = null) => ({ at: at(s), driverId, offer, considered: [{ driverId: "d", name: "Dan" }, { driverId: "e", name: "Eve" }] });

test("the car drives evenly between fixes, stands where it fell silent, and is nowhere before the first", () => {
  const it = film({ fixes: [[100, 0], [104, 0.001], [400, 0.002], [404, 0.003]] });
  assert.equal(it.car(START + 99_000), null);
  const half = it.car(START + 102_000);
  assert.ok(Math.abs(half.point.longitude - 0.0005) < 1e-9 && Math.round(half.heading) === 90 && Math.round(half.metres) === 56);
  const silent = it.car(START + 300_000);
  assert.equal(silent.point.longitude, 0.001);
  assert.equal(Math.round(silent.metres), 111);
  assert.equal(it.car(START + 999_000).point.longitude, 0.003);
});

test("what happened is told once, in order, with what came of each offer", () => {
  const decisions = [decision(30, "d", { state: "accepted", endedAt: at(40) }), decision(20, null), decision(5, "e", { state: "unseen", endedAt: at(15) })];
  const assigned = { event: "driver_assigned", timestamp: at(40), payload: { state: "assigned", driverId: "d" } };
  const facts = [fact(5, "offered"), fact(15, "searching"), fact(30, "offered"), assigned, fact(100, "searching"), { event: "message_read", timestamp: at(50), payload: {} }, fact(200, "cancelled", null, "No time")];
  const messages = [{ timestamp: at(60), senderId: "p", senderName: "Pia", message: "<i>Hello</i>" }];
  const it = film({ facts, messages, decisions, row: { endedAt: at(200) } });
  assert.deepEqual(it.marks.map((mark) => [(mark.atMs - START) / 1000, mark.kind, mark.title]), [
    [0, "asked", "Asked for"], [5, "offer", "Offered to Eve"], [15, "no", "Eve did not see it"], [30, "offer", "Offered to Dan"],
    [40, "step", "Assigned to Dan"], [60, "chat", "Pia: <i>Hello</i>"], [100, "no", "Searched for another driver"], [200, "bad", "Cancelled: No time"],
  ]);
  assert.deepEqual([4, 5, 20, 99_999].map((s) => it.decided(START + s * 1000)), [-1, 0, 1, 2]);
  assert.deepEqual([-5, 4, 5, 50, 150, 900].map((s) => it.standing(START + s * 1000).state), ["searching", "searching", "offered", "assigned", "searching", "cancelled"]);
  assert.equal(it.standing(START + 50_000).driverId, "d");
});

test("a job that another driver took over was his from then on", () => {
  const given = (s, driverId, more) => ({ event: "driver_assigned", timestamp: at(s), payload: { state: "assigned", driverId, ...more } });
  const decisions = [decision(5, "d", { state: "accepted", endedAt: at(10) }), decision(20, "e", { state: "accepted", endedAt: at(30) })];
  const it = film({ facts: [given(10, "d"), given(30, "e", { takenOver: true })], decisions, row: { endedAt: null } });
  assert.deepEqual(it.marks.map(({ title }) => title), ["Asked for", "Offered to Dan", "Assigned to Dan", "Offered to Eve", "Taken over by Eve"]);
  assert.deepEqual([15, 25, 35].map((s) => it.standing(START + s * 1000).driverId), ["d", "d", "e"]);
});

test("of a job whose room is forgotten its own moments are left", () => {
  const it = film({ job: { assignedAt: at(20), arrivedAt: null, startedAt: at(90), endedAt: at(600) } });
  assert.deepEqual(it.standings.map(({ state }) => state), ["searching", "assigned", "in_progress", "completed"]);
  assert.deepEqual(it.marks.map(({ title }) => title), ["Asked for", "Assigned to Dan", "On the way", "Completed"]);
});

test("a job that is not over goes on until now", () => {
  const it = film({ facts: [fact(5, "offered")], row: { endedAt: null, driver: null, state: "offered" } });
  assert.equal(it.endMs, START + 700_000);
  assert.deepEqual(it.marks.map(({ title }) => title), ["Asked for", "Offered to a driver"]);
});
