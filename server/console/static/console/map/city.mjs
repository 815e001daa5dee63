/**
 * The city as this page knows it: frames of the live feed put together (rooms/cityview.py says how rows are packed). It
 * asks anew whenever a frame was missed, and says how old what it shows is.
 */

import { io } from "../../vendor/socket.io.esm.min.js";

export const STATES = ["idle", "offered", "busy", "stale"];
const ASK_AGAIN_MS = 2_000;
const ACK_MS = 5_000;

/** @typedef {{id: string, name: string, classes: string[], area: string, lat: number, lng: number, x: number, y: number, heading: number, state: number, fixMs: number, placed: boolean}} Vehicle   `x`, `y`: on the globe's Mercator square, 0 to 1; `fixMs` of the server's clock */
/** @typedef {{id: string, kind: string, state: string, class: string, pickup: [number, number], dropoff: [number, number], stops: [number, number][], driverId: string | null, offeredTo: string | null, sinceMs: number, needsPerson: boolean}} Job */

/** @param {number} lat
 * @param {number} lng
 * @returns {[number, number]} */
export function mercator(lat, lng) {
  const sine = Math.sin((Math.max(-85.05, Math.min(85.05, lat)) * Math.PI) / 180);
  return [lng / 360 + 0.5, 0.5 - Math.log((1 + sine) / (1 - sine)) / (4 * Math.PI)];
}

export class City {
  /** By the feed's number. @type {Map<number, Vehicle>} */
  #numbers = new Map();
  /** @type {Map<string, Vehicle>} */
  vehicles = new Map();
  /** @type {Map<string, Job>} */
  jobs = new Map();
  /** Of the newest frame, by the server's clock; 0: none yet. */
  atMs = 0;
  /** When it came, by performance.now(). */
  heardMs = 0;
  /** Why the server does not show the city; "" while it does. */
  refused = "";
  /** Seconds until the joined job's driver is where he drives for it. @type {number | null} */
  etaS = null;
  /** @type {Job | null} */
  #joined = null;
  /** Of the newest frame. */
  #n = 0;
  /** What we show is not all: asked for, until a base begins. */
  #missed = true;
  /** @type {any} */
  #socket = null;
  #again = 0;

  /** @param {() => void} changed   something is to be drawn anew
   * @param {() => void} ended   this login is good no more */
  constructor(changed, ended) {
    this.changed = changed;
    this.ended = ended;
  }

  /** Follows the city until `close`.
   * @param {string} token */
  follow(token) {
    const socket = (this.#socket = io("", { auth: { token }, transports: ["websocket"], forceNew: true, reconnectionDelayMax: 5_000 }));
    socket.on("connect", () => {
      this.#n = 0; // it may be another node's feed
      this.#missed = true;
      this.#ask();
      if (this.#joined) this.#emit("join", this.#joined);
    });
    socket.on("city_base", (/** @type {any} */ frame) => this.hear(frame, true));
    socket.on("driver_location", (/** @type {any} */ told) => {
      if ((told.rideId ?? told.packageId) === this.#joined?.id) this.etaS = told.etaSeconds;
    });
    socket.on("city", (/** @type {any} */ frame) => this.hear(frame, false));
    socket.on("error", (/** @type {any} */ said) => said?.code === "unauthenticated" && this.#end());
    socket.on("connect_error", (/** @type {any} */ error) => {
      if (error.data?.code === "unauthenticated") this.#end();
      else if (!socket.active) this.#later(() => socket.connect()); // a refused handshake is not tried again by itself
    });
    socket.on("disconnect", (/** @type {string} */ reason) => {
      if (reason === "io server disconnect") this.#later(() => socket.connect());
    });
  }

  close() {
    clearTimeout(this.#again);
    this.#socket?.disconnect();
    this.#socket = null;
  }

  #end() {
    if (!this.#socket) return;
    this.close();
    this.ended();
  }

  /** @param {() => void} act */
  #later(act) {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#socket && act(), ASK_AGAIN_MS);
  }

  /** Hears of one job as its parties do, for its ETA; of none with null. @param {Job | null} job */
  join(job) {
    if (this.#joined) this.#emit("leave", this.#joined);
    this.#joined = job;
    this.etaS = null;
    if (job) this.#emit("join", job);
  }

  /** @param {"join" | "leave"} what
   * @param {Job} job */
  #emit(what, { kind, id }) {
    if (this.connected) this.#socket.emit(`${what}_${kind}`, { [`${kind}Id`]: id });
  }

  get connected() {
    return this.#socket?.connected === true;
  }

  /** The driver whom a job is with, or is offered to. @param {Job} job */
  carrier(job) {
    return this.vehicles.get(job.driverId ?? job.offeredTo ?? "");
  }

  /** One frame; `base` tells of the city as it is, the others what changed.
   * @param {any} frame
   * @param {boolean} base */
  hear(frame, base) {
    if (base && frame.first) {
      this.#numbers.clear();
      this.vehicles.clear();
      this.jobs.clear();
      this.#missed = false;
      this.refused = "";
    } else if (!base && frame.n !== this.#n + 1 && !this.#missed) {
      this.#missed = true;
      this.#ask();
    }
    this.#n = frame.n;
    this.atMs = frame.atMs;
    this.heardMs = performance.now();
    for (const [number, id, name, classes, area] of frame.drivers ?? []) {
      const known = this.vehicles.get(id);
      const vehicle = { ...(known ?? { lat: 0, lng: 0, x: 0, y: 0, heading: -1, state: 0, fixMs: 0, placed: false }), id, name, classes: classes.split(","), area };
      this.#numbers.set(number, vehicle);
      this.vehicles.set(id, vehicle);
    }
    for (const row of frame.places ?? []) this.#place(row, frame.atMs);
    for (const number of frame.gone ?? []) {
      const vehicle = this.#numbers.get(number);
      this.#numbers.delete(number);
      if (vehicle && this.vehicles.get(vehicle.id) === vehicle) this.vehicles.delete(vehicle.id);
    }
    for (const id of frame.over ?? []) this.jobs.delete(id);
    for (const job of frame.jobs ?? []) this.jobs.set(job.id, job);
    this.changed();
  }

  /** @param {number[]} row
   * @param {number} atMs */
  #place([number, lat, lng, heading, state, agoMs], atMs) {
    const vehicle = this.#numbers.get(number);
    if (!vehicle) return; // a part of the base that is still to come has it
    vehicle.lat = lat / 1e5;
    vehicle.lng = lng / 1e5;
    [vehicle.x, vehicle.y] = mercator(vehicle.lat, vehicle.lng);
    vehicle.heading = heading;
    vehicle.state = state;
    vehicle.fixMs = atMs - agoMs;
    vehicle.placed = true;
  }

  /** For the city from its beginning, again and again until it begins; the server begins once for all of these. */
  #ask() {
    const socket = this.#socket;
    if (!this.#missed || !socket?.connected) return;
    socket.timeout(ACK_MS).emit("watch_city", { n: this.#n }, (/** @type {any} */ silent, /** @type {any} */ answer) => {
      if (socket !== this.#socket || !this.#missed || !socket.connected) return;
      const error = silent ? { code: "no_answer", message: "The server does not answer." } : answer.error;
      if (error?.code === "unauthenticated" || error?.code === "forbidden") return this.#end();
      this.refused = error?.message ?? "";
      this.#later(() => this.#ask());
      this.changed();
    });
  }
}
