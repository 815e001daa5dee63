/**
 * The connection under `Aryv` (aryv-client.mjs): what comes in becomes `jobs` and `offers`, what goes out waits until it
 * can. An app uses what Aryv adds; what begins with _ is between the two.
 */

import { newId, http } from "./http.mjs";
import { ENDS, Jobs } from "./jobs.mjs";
import { Outbox, Refused } from "./outbox.mjs";
import { Rooms, later, pause } from "./rooms.mjs";
import { Track } from "./track.mjs";

/** @typedef {import("./jobs.mjs").Job} Job */
/** @typedef {Record<string, any>} Payload */
/** @typedef {Payload & {offerId: string, untilMs: number, answered: boolean, shownMs: number}} Offer   both by performance.now(); 0: not shown yet */

const ACK_MS = 8_000;
const AGAIN_MS = 1_000;
const FRAME_MS = 16;
const GRACE_MS = 1_000; // an accept that was on its way still counts

export class Connection {
  /** @type {"offline" | "connecting" | "online" | "denied"} */
  state = "offline";
  userId = "";
  /** Open offers by id. @type {Map<string, Offer>} */
  offers = new Map();
  /** What the driver works as, while he does. @type {Payload | null} */
  shift = null;

  _jobs = new Jobs();
  /** @type {Map<string, Set<Function>>} */
  #listeners = new Map();
  /** @type {any} */
  #socket = null;
  #changed = false;
  #line = 0;

  /**
   * @param {object} options
   * @param {Function} options.io   of socket.io-client
   * @param {string} options.url    of the server; "" in a page is where the page comes from
   * @param {string | (() => string | Promise<string>)} options.token   asked for at every connection
   * @param {Payload} [options.socket]   more options for `io`
   */
  constructor({ io, url, token, socket = {} }) {
    this.url = url;
    this._token = async () => (typeof token === "function" ? token() : token);
    const auth = (/** @type {Function} */ give) => this._token().then((token) => give({ token }), () => give({}));
    const options = { auth, transports: ["websocket"], reconnectionDelay: 300, reconnectionDelayMax: 8_000 };
    this.#open = () => io(url || undefined, { ...options, forceNew: true, ...socket });
    this.#outbox = new Outbox((event, payload) => this.ask(event, payload));
    this._track = new Track(
      (fix) => this.ask("location_update", fix),
      (fixes) => this.#outbox.add("location_batch", { batchId: newId(), fixes }),
    );
    this.#rooms = new Rooms({
      ask: (payload) => this.ask("sync", payload),
      take: (event, fact, missed) => this.#take(event, fact, missed),
      stands: (room, last, recovered) => this.#stands(room, last, recovered),
      gone: (room) => this.#gone(room),
      jobs: () => this._jobs.versions(),
    });
  }

  #open;
  #outbox;
  #rooms;
  _track;

  /** Jobs by id: those that are not over, and the last that are. */
  get jobs() {
    return this._jobs.all;
  }

  /** How many commands wait to be sent, or for their answer. */
  get waiting() {
    return this.#outbox.length;
  }

  /**
   * @param {"change" | "fact" | "denied" | "superseded"} type
   * @param {(said: any) => void} listener
   * @returns {() => void} takes the listener away
   */
  on(type, listener) {
    const all = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, all.add(listener));
    return () => all.delete(listener);
  }

  connect() {
    const socket = (this.#socket = this.#open());
    this.#set("connecting");
    socket.on("disconnect", (/** @type {string} */ reason) => this.#lost(socket, reason));
    socket.on("connect_error", (/** @type {any} */ error) => this.#failed(socket, error));
    socket.onAny((/** @type {string} */ event, /** @type {any} */ payload) => this.#hear(event, payload ?? {}));
    return this;
  }

  /** Ends the connection; `connect` begins a new one with what is known. */
  close() {
    const socket = this.#socket;
    if (!socket) return; // closed: the `change` of that may have brought us here once more
    this.#socket = null;
    socket.disconnect();
    this.#down("offline");
  }

  /**
   * One question, now: for what is of no use later (`quote`, `nearby`, `get_online_users`). Rejects with Refused.
   * @param {string} event
   * @param {Payload} [payload]
   * @returns {Promise<Payload>}
   */
  async ask(event, payload = {}) {
    if (!this.#socket?.connected) throw new Refused("offline", "There is no connection.", true);
    let answer;
    try {
      answer = await this.#socket.timeout(ACK_MS).emitWithAck(event, payload);
    } catch {
      throw new Refused("no_answer", "The server did not answer.", true);
    }
    if (!answer?.ok) throw new Refused(answer?.error?.code, answer?.error?.message, answer?.error?.retry);
    return answer;
  }

  /**
   * A command that must not be lost: resolves with its answer, however many connections that takes. Rejects with Refused.
   * @param {string} event
   * @param {Payload} payload
   * @param {number} [lastsMs]   after this it is given up
   */
  command(event, payload, lastsMs) {
    const sent = this.#outbox.add(event, { commandId: newId(), ...payload }, lastsMs);
    this._change();
    return sent.finally(() => this._change());
  }

  /** Something that an app may draw is another now; it is told once for all that happens at a time. */
  _change() {
    if (this.#changed) return;
    this.#changed = true;
    setTimeout(() => {
      this.#changed = false;
      this.#emit("change");
    }, FRAME_MS);
  }

  /** @param {string} type
   * @param {any} [said] */
  #emit(type, said) {
    for (const listener of this.#listeners.get(type) ?? []) listener(said);
  }

  /** @param {Connection["state"]} state */
  #set(state) {
    this.state = state;
    this._change();
  }

  // -- the line

  /** @param {Connection["state"]} state */
  #down(state) {
    this.#line += 1;
    this.#rooms.lost();
    this.#outbox.shut();
    this._track.shut();
    this.#set(state);
  }

  /** @param {any} socket
   * @param {string} reason */
  #lost(socket, reason) {
    if (socket !== this.#socket) return;
    this.#down("connecting");
    if (reason === "io server disconnect") this.#later(socket); // stock clients stay away after this
  }

  /** @param {any} socket
   * @param {any} error */
  #failed(socket, error) {
    if (socket !== this.#socket) return;
    if (error.data?.code === "unauthenticated") {
      this.#socket = null;
      socket.disconnect();
      this.#down("denied");
      this.#emit("denied", new Refused("unauthenticated", error.message));
    } else if (!socket.active) this.#later(socket);
  }

  /** @param {any} socket */
  #later(socket) {
    setTimeout(() => socket === this.#socket && socket.connect(), AGAIN_MS);
  }

  /** @param {Payload} said */
  async #greeted(said) {
    const line = (this.#line += 1);
    this.userId = this._jobs.me = said.userId;
    for (const card of said.jobs) this._jobs.put(card);
    this.#offered(said.offers);
    await this.#rooms.greeted(said);
    while (this.shift && line === this.#line) {
      try {
        await this.ask("go_online", { ...this.shift, ...this._track.here });
        break;
      } catch (error) {
        if (error.retry || error.code === "rate_limited") await pause(AGAIN_MS);
        else this.#endShift();
      }
    }
    if (line !== this.#line) return;
    this.#set("online");
    this.#outbox.open();
    if (this.shift) this._track.open();
  }

  #endShift() {
    this.shift = null;
    this._track.end();
    this._change();
  }

  // -- what is heard

  /** @param {string} event
   * @param {Payload} payload */
  #hear(event, payload) {
    if (event === "connected") this.#greeted(payload);
    else if (event === "superseded") {
      this.#endShift();
      this.#emit("superseded");
    } else if (payload.seq !== undefined) this.#rooms.hear(event, payload);
    else if (this._jobs.hear(event, payload)) this._change();
  }

  /**
   * A fact, the next of its room; true when nothing more will come of that room.
   * @param {string} event
   * @param {Payload} fact
   * @param {boolean} missed
   */
  #take(event, fact, missed) {
    let job;
    if (event === "offer") {
      if (!missed) this.#offered([...this.offers.values(), fact]); // one that was missed may be over: `last` knows
    } else if (event === "offer_withdrawn") this.offers.delete(fact.offerId);
    else {
      if (event === "driver_assigned" && fact.driverId === this.userId) this.#won(fact);
      job = this._jobs.hear(event, fact);
      // `last` has the card of a job that is new here, and where a new driver is, who may say nothing for seconds
      const unseen = event === "driver_assigned" && !missed && !job?.position && fact.driverId !== this.userId;
      if (job && job.room !== fact.room && !this.jobs.has(job.id)) this.#rooms.forget(job.room);
      if (job && this.jobs.has(job.id) && !job.over && (!job.pickup || unseen)) this.#rooms.want(fact.room);
    }
    this.#emit("fact", { event, payload: fact, missed });
    this._change();
    return job !== undefined && job.room === fact.room && (job.over || !this.jobs.has(job.id));
  }

  /** The offer has become a job. @param {Payload} fact */
  #won(fact) {
    for (const offer of this.offers.values()) {
      if (offer.job.rideId !== fact.rideId || offer.job.packageId !== fact.packageId) continue;
      this._jobs.put(offer.job);
      this.offers.delete(offer.offerId);
    }
  }

  /** These are the open offers. @param {Payload[]} offers */
  #offered(offers) {
    const now = performance.now();
    const fresh = { answered: false, shownMs: 0 };
    const open = offers.map((offer) => /** @type {Offer} */ ({ untilMs: now + offer.expiresInMs, ...fresh, ...offer }));
    this.offers = new Map(open.map((offer) => [offer.offerId, offer]));
    for (const offer of open) this._until(offer, offer.untilMs - now);
  }

  /** The offer stands for so long from now. @param {Offer} offer
   * @param {number} ms */
  _until(offer, ms) {
    const untilMs = performance.now() + ms;
    offer.untilMs = untilMs;
    later(ms + GRACE_MS, () => offer.untilMs === untilMs && this.offers.get(offer.offerId) === offer && this.offers.delete(offer.offerId) && this._change());
    this._change();
  }

  /**
   * Where a room stands, when it was asked for.
   * @param {string} room
   * @param {Payload} last
   * @param {boolean} recovered
   */
  #stands(room, last, recovered) {
    if (last.job) {
      const job = this._jobs.put(last.job);
      if (last.position) this._jobs.hear("driver_location", last.position);
      if (!recovered) this.#history(job, (found) => this._jobs.lines(job, found.messages));
      if (job.over) this.#rooms.forget(room);
    } else {
      for (const card of last.jobs) this._jobs.put(card);
      this.#offered(last.offers);
    }
    this._change();
  }

  /** A room that is not ours any more: what became of its job, the history knows. @param {string} room */
  #gone(room) {
    const job = this.jobs.get(room.slice(room.indexOf(":") + 1));
    if (!job || job.over) return;
    const ended = (/** @type {Payload} */ { status, state }) => ENDS.has(status) && Object.assign(job, { status, state, over: true });
    this.#history(job, ended, () => this.jobs.delete(job.id)); // one that is not over there was lost: `versions` tell of it
  }

  /**
   * @param {Job} job
   * @param {(found: Payload) => void} known
   * @param {() => void} [unknown]
   */
  async #history(job, known, unknown = () => {}) {
    try {
      known(await http(this.url, `/api/${job.kind}s/${job.id}`, { token: await this._token() }));
    } catch (error) {
      if (!error.retry) unknown();
    }
    this._change();
  }
}
