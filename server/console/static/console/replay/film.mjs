/**
 * A job as it went, from what history has of it: what happened when, and how it stood at any moment. Pure.
 */

import { plain } from "../words.mjs";

const SILENT_MS = 90_000; // between fixes farther apart the car is not made to drive
const DEG_M = 111_195;

/** What a state is called when a job comes to it; the others are told by what was offered. */
const STEPS = /** @type {Record<string, string>} */ ({
  scheduled: "Kept for later", assigned: "Assigned", arrived: "At the pickup", in_progress: "On the way",
  arrived_pickup: "At the pickup", picked_up: "Picked up", in_transit: "On the way", arrived_dropoff: "At the door",
});
const ENDS = /** @type {Record<string, string>} */ ({ declined: "declined", expired: "did not answer in time", unseen: "did not see it", withdrawn: "was asked no longer", lost: "was asked no longer" });

/**
 * @typedef {{atMs: number, kind: "asked" | "offer" | "no" | "step" | "end" | "bad" | "chat", title: string, short: string}} Mark
 * @typedef {{atMs: number, state: string, driverId: string | null, reason: string}} Standing
 * @typedef {{atMs: number, lat: number, lng: number, metres: number}} Fix
 * @typedef {{atMs: number, who: string, own: boolean, text: string}} Line
 * @typedef {any} Decision   of GET /api/admin/jobs/{id}/decisions, with `atMs`
 */

/** @param {string | null | undefined} iso */
const ms = (iso) => (iso ? Date.parse(iso) : NaN);

/** The last of them that was there at the moment, or -1. @param {{atMs: number}[]} all
 * @param {number} atMs */
export const lastAt = (all, atMs) => all.findLastIndex((each) => each.atMs <= atMs);

export class Film {
  /**
   * @param {any} row         of the console's table of rides or parcels
   * @param {any} job         of GET /api/rides/{id} or /api/packages/{id}
   * @param {any[]} decisions the newest first
   * @param {number} nowMs    up to which an unfinished job is shown
   */
  constructor(row, job, decisions, nowMs) {
    this.row = row;
    /** @type {Decision[]} */
    this.decisions = decisions.map((each) => ({ ...each, atMs: ms(each.at) })).reverse();
    this.names = new Map(this.decisions.flatMap((each) => each.considered.map((/** @type {any} */ one) => [one.driverId, one.name ?? ""])));
    for (const person of [row.driver, row.requester]) if (person) this.names.set(person.id, person.name);
    /** @type {Fix[]} */
    this.fixes = fixes(job.track);
    this.ends = ["pickup", "dropoff"].map((role) => pointOf(job.track, role));
    /** @type {Standing[]} */
    this.standings = standings(row, job);
    /** @type {Line[]} */
    this.lines = job.messages.map((/** @type {any} */ line) => ({ atMs: ms(line.timestamp), who: line.senderName, own: line.senderId === row.requester.id, text: line.message }));
    const known = [...this.standings, ...this.lines].map((each) => each.atMs);
    this.startMs = Math.min(ms(row.createdAt), ...known);
    this.endMs = Math.max(ms(row.endedAt) || nowMs, this.startMs + 1_000, ...known);
    /** @type {Mark[]} */
    this.marks = this.#marks();
  }

  /** @param {string | null} id */
  name = (id) => (id && this.names.get(id)) || "a driver";

  /** @param {number} atMs */
  standing(atMs) {
    return this.standings[Math.max(0, lastAt(this.standings, atMs))];
  }

  /** Which decision held then: an index of `decisions`, or -1. @param {number} atMs */
  decided(atMs) {
    return lastAt(this.decisions, atMs);
  }

  /**
   * Where the car was, how far it had come, and the way behind it; null before its first fix.
   * @param {number} atMs
   */
  car(atMs) {
    const at = lastAt(this.fixes, atMs);
    if (at < 0) return null;
    const [from, to] = [this.fixes[at], this.fixes[at + 1]];
    const moves = to !== undefined && to.atMs - from.atMs <= SILENT_MS;
    const share = moves ? (atMs - from.atMs) / (to.atMs - from.atMs) : 0;
    const [lat, lng] = moves ? [from.lat + share * (to.lat - from.lat), from.lng + share * (to.lng - from.lng)] : [from.lat, from.lng];
    return { point: { latitude: lat, longitude: lng }, heading: heading(moves ? from : this.fixes[at - 1], moves ? to : from), metres: from.metres + (moves ? share * (to.metres - from.metres) : 0), behind: at };
  }

  #marks() {
    const { row } = this;
    /** @type {Mark[]} */
    const marks = [{ atMs: ms(row.createdAt), kind: "asked", title: "Asked for", short: "Asked for" }];
    for (const each of this.decisions) {
      if (!each.driverId) continue;
      const name = this.name(each.driverId);
      marks.push({ atMs: each.atMs, kind: "offer", title: `Offered to ${name}`, short: "Offered" });
      const end = ENDS[each.offer?.state];
      if (end && each.offer.endedAt) marks.push({ atMs: ms(each.offer.endedAt), kind: "no", title: `${name} ${end}`, short: plain(each.offer.state) });
    }
    this.standings.slice(1).forEach((each, at) => {
      const title = STEPS[each.state];
      const before = this.standings[at];
      if (each.state === before.state && each.driverId === before.driverId) return;
      if (each.state === "assigned" && each.state === before.state) marks.push({ atMs: each.atMs, kind: "step", title: `Taken over by ${this.name(each.driverId)}`, short: "Taken over" });
      else if (title) marks.push({ atMs: each.atMs, kind: "step", title: each.state === "assigned" ? `Assigned to ${this.name(each.driverId)}` : title, short: title });
      else if (each.state === "offered" && this.decisions.length === 0) marks.push({ atMs: each.atMs, kind: "offer", title: "Offered to a driver", short: "Offered" });
      else if (!["searching", "offered"].includes(each.state)) {
        const good = ["completed", "delivered"].includes(each.state);
        marks.push({ atMs: each.atMs, kind: good ? "end" : "bad", title: plain(each.state) + (each.reason ? `: ${each.reason}` : ""), short: plain(each.state) });
      } else if (!["scheduled", "searching", "offered"].includes(before.state)) marks.push({ atMs: each.atMs, kind: "no", title: "Searched for another driver", short: "Given back" });
    });
    for (const line of this.lines) marks.push({ atMs: line.atMs, kind: "chat", title: `${line.who}: ${line.text}`, short: "" });
    return marks.sort((a, b) => a.atMs - b.atMs);
  }
}

/** @param {any} row
 * @param {any} job
 * @returns {Standing[]} */
function standings(row, job) {
  const first = { atMs: ms(row.createdAt), state: row.scheduledAt ? "scheduled" : "searching", driverId: null, reason: "" };
  const told = job.facts.filter((/** @type {any} */ { event }) => event === "driver_assigned" || event.endsWith("_status_update")).map((/** @type {any} */ fact) =>
    ({ atMs: ms(fact.timestamp), state: fact.payload.state ?? fact.payload.status, driverId: fact.payload.driverId ?? null, reason: fact.payload.reason ?? "" }));
  if (told.length > 0) return [first, ...told];
  // nothing was told of it that is still kept: its own moments have to do
  const driverId = row.driver?.id ?? null;
  const steps = row.class === "parcel" || job.kind === "package" ? ["assigned", "arrived_pickup", "picked_up"] : ["assigned", "arrived", "in_progress"];
  const own = [job.assignedAt, job.arrivedAt, job.startedAt].map((iso, at) => ({ atMs: ms(iso), state: steps[at], driverId, reason: "" }));
  const end = { atMs: ms(job.endedAt), state: row.state, driverId, reason: row.reason ?? "" };
  return [first, ...[...own, end].filter((each) => !Number.isNaN(each.atMs))];
}

/** @param {any} track
 * @returns {Fix[]} */
function fixes(track) {
  const way = track.features.find((/** @type {any} */ feature) => feature.properties.role === "track");
  let metres = 0;
  /** @type {Fix[]} */
  const all = [];
  (way?.geometry.coordinates ?? []).forEach((/** @type {[number, number]} */ [lng, lat], /** @type {number} */ at) => {
    const before = all.at(-1);
    if (before) metres += Math.hypot(lat - before.lat, (lng - before.lng) * Math.cos((lat * Math.PI) / 180)) * DEG_M;
    all.push({ atMs: ms(way.properties.timestamps[at]), lat, lng, metres });
  });
  return all;
}

/** @param {any} track
 * @param {string} role */
function pointOf(track, role) {
  const [longitude, latitude] = track.features.find((/** @type {any} */ feature) => feature.properties.role === role).geometry.coordinates;
  return { latitude, longitude };
}

/** Degrees from north; null where it did not move. @param {Fix | undefined} from
 * @param {Fix | undefined} to */
function heading(from, to) {
  if (!from || !to || to.metres - from.metres < 1) return null;
  const east = (to.lng - from.lng) * Math.cos((to.lat * Math.PI) / 180);
  return (Math.atan2(east, to.lat - from.lat) * 180) / Math.PI;
}
