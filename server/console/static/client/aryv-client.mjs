/**
 * The client side of the dispatch server, for apps in a browser or in Node: one connection of one person that misses
 * nothing, says nothing twice, and always has the newest position.
 *
 *     import { io } from "socket.io-client";               // stock, 4.7 or newer
 *     import { Aryv, login } from "./aryv-client.mjs";
 *
 *     const { accessToken } = await login("https://…", "mira@example.org", "…");
 *     const aryv = new Aryv({ io, url: "https://…", token: () => accessToken });
 *     aryv.on("change", () => draw(aryv.jobs, aryv.offers));
 *     aryv.connect();
 *     await aryv.request("ride", { pickup, dropoff, class: "economy" });
 *
 * `jobs` and `offers` are what is known now; after each change of them, at most sixty times a second, comes one
 * `change`. A job may be drawn from `jobs` alone; facts are for what has to be said once (a sound, a notification).
 *
 * | on(…) | is given |
 * |---|---|
 * | `change` | nothing: `jobs`, `offers`, `state` or `shift` are others now |
 * | `fact` | `{event, payload, missed}`: each numbered event once, in order; `missed`: it was said while we were away |
 * | `denied` | Refused: the login has ended; nothing more comes |
 * | `superseded` | nothing: a newer device of this driver has taken over |
 *
 * What `ask` and `command` reject with is a Refused, whose `code` is one of docs/protocol.md. What becomes of rooms and
 * of commands when something breaks is told in rooms.mjs and outbox.mjs; besides:
 *
 * | when | then |
 * |---|---|
 * | the line breaks, the node dies, the server drains | it comes back by itself: `sync`, then the shift, then what waited |
 * | a driver is away | his fixes are kept (500, thinned beyond) and sent as one `location_batch` |
 * | positions come faster than they can be sent | of those that wait the newest is sent |
 * | a line of chat is said | it stands in the job at once, `waiting`, and becomes `sent` or `failed` |
 * | a job ended while we were away for long | its end is asked of the history over HTTP |
 */

import { Connection } from "./connection.mjs";
import { http, login, newId } from "./http.mjs";
import { idField } from "./jobs.mjs";
import { Refused } from "./outbox.mjs";
import { later, pause } from "./rooms.mjs";

export { Refused, http, login, newId };

/** @typedef {import("./jobs.mjs").Job} Job */
/** @typedef {import("./jobs.mjs").Point} Point */
/** @typedef {import("./connection.mjs").Offer} Offer */
/** @typedef {Record<string, any>} Payload */

const REQUEST_LASTS_MS = 60_000;
const READ_LASTS_MS = 30_000;
const RATE_AGAIN_MS = 1_000;
const RATE_TRIES = 15;
const TYPING_MS = 3_000;

export class Aryv extends Connection {
  #typedMs = -TYPING_MS;

  // -- what a passenger or sender says

  /**
   * Asks for a ride or a delivery. The job stands in `jobs` at once, `requesting`; it is taken out if it is refused.
   * @param {"ride" | "package"} kind
   * @param {Payload} trip   the fields of `request_ride` or `request_package`
   * @returns {Promise<Job>}
   */
  async request(kind, trip) {
    const id = newId();
    const name = idField(kind);
    const requester = { id: this.userId, name: "" };
    const job = this._jobs.put({ [name]: id, state: "requesting", status: "pending", ...trip, requester });
    try {
      const { fare } = await this.command(`request_${kind}`, { [name]: id, ...trip }, REQUEST_LASTS_MS);
      job.fare = fare;
    } catch (error) {
      if (job.version === 0) this.jobs.delete(id);
      throw error;
    } finally {
      this._change();
    }
    return job;
  }

  /** @param {string} jobId
   * @param {string} [reason] */
  cancel(jobId, reason) {
    const { kind } = this.#job(jobId);
    return this.command(`cancel_${kind}`, { [idField(kind)]: jobId, ...(reason && { reason }) });
  }

  /**
   * Stars for the other party, once, after the end. The history hears of an end a moment later: it is asked again.
   * @param {string} jobId
   * @param {number} rating   1 to 5
   * @param {string} [comment]
   */
  async rate(jobId, rating, comment = "") {
    const { kind } = this.#job(jobId);
    for (let tries = 1; ; tries++) {
      try {
        const options = { token: await this._token(), body: { rating, comment } };
        return await http(this.url, `/api/${kind}s/${jobId}/rate`, options);
      } catch (error) {
        if (!error.retry || tries === RATE_TRIES) throw error;
        await pause(RATE_AGAIN_MS);
      }
    }
  }

  // -- what both parties say

  /**
   * A line of chat; it stands in the job at once.
   * @param {string} jobId
   * @param {string} text
   * @param {string} [id]   of a line that failed, to say it again
   */
  async say(jobId, text, id = newId()) {
    const job = this.#job(jobId);
    const line = { id, senderId: this.userId, senderName: "", text, at: new Date().toISOString() };
    this._jobs.line(job, { ...line, state: "waiting" });
    try {
      await this.command("send_message", { id, [idField(job.kind)]: jobId, message: text });
    } catch (error) {
      this._jobs.line(job, { ...line, state: "failed", error: error.message });
    } finally {
      this._change();
    }
  }

  /** Everything that the others have said has been seen. @param {string} jobId */
  read(jobId) {
    const job = this.#job(jobId);
    const last = job.messages.findLast((line) => line.state === "sent" && line.senderId !== this.userId);
    if (!last || job.over || job.readUpTo.get(this.userId) === last.id) return;
    job.readUpTo.set(this.userId, last.id);
    this.command("message_read", { [idField(job.kind)]: jobId, messageId: last.id }, READ_LASTS_MS).catch(() => {});
  }

  /** Call it at every key: the others see it while keys come. @param {string} jobId */
  typing(jobId) {
    const payload = { [idField(this.#job(jobId).kind)]: jobId };
    const began = performance.now() - this.#typedMs > TYPING_MS;
    this.#typedMs = performance.now();
    if (!began) return;
    this.ask("typing_start", payload).catch(() => {});
    const stop = () => {
      const restMs = TYPING_MS - (performance.now() - this.#typedMs);
      if (restMs > 0) later(restMs, stop);
      else this.ask("typing_stop", payload).catch(() => {});
    };
    later(TYPING_MS, stop);
  }

  // -- what a driver or courier says

  /**
   * Begins a shift; it is taken up again by itself after every lost connection.
   * @param {{classes: string[], capacity?: number, vehicleId?: string, offerSeen?: boolean}} shift
   * @param {Point} place
   */
  async goOnline(shift, { latitude, longitude }) {
    const answer = await this.ask("go_online", { ...shift, latitude, longitude });
    this.shift = shift;
    this._track.here = { latitude, longitude };
    this._track.open();
    this._change();
    return answer;
  }

  goOffline() {
    this.shift = null;
    this._track.end();
    return this.command("go_offline", {});
  }

  /**
   * Where the vehicle is; call it as often as the phone knows.
   * @param {Point & {heading?: number, speed?: number, accuracy?: number}} fix
   */
  fix(fix) {
    if (this.shift) this._track.add({ ...fix, timestamp: new Date().toISOString() });
  }

  /**
   * The offer is on the screen now. A shift with `offerSeen: true` promises this of every offer: the driver's time to
   * think begins with it, and an offer that is not shown within a second or two goes to the next driver.
   * @param {string} offerId
   */
  async seen(offerId) {
    const offer = this.offers.get(offerId);
    if (!offer || offer.shownMs) return;
    offer.shownMs = performance.now();
    const answer = await this.ask("offer_seen", { offerId });
    const still = this.offers.get(offerId);
    if (still) this._until(still, answer.expiresInMs);
  }

  /** Says where the vehicle is, too: whoever asked for it sees it from then on, and nothing of before.
   * @param {string} offerId */
  async accept(offerId) {
    const shownMs = this.offers.get(offerId)?.shownMs;
    const thought = shownMs ? { thoughtMs: Math.round(performance.now() - shownMs) } : {};
    const answer = await this.#answer("accept_offer", offerId, thought);
    this.fix(this._track.here);
    return answer;
  }

  /** @param {string} offerId
   * @param {string} [reason] */
  decline(offerId, reason) {
    return this.#answer("decline_offer", offerId, reason ? { reason } : {});
  }

  /**
   * Moves a job on: `arrived`, `in_progress`, `picked_up`, `delivered` …
   * @param {string} jobId
   * @param {string} status
   * @param {Payload} [more]   `otp`, `proof: {code}`, `reason`
   */
  move(jobId, status, more = {}) {
    const { kind } = this.#job(jobId);
    return this.command(`${kind}_status_update`, { [idField(kind)]: jobId, status, ...more });
  }

  // -- inside

  /** @param {string} jobId */
  #job(jobId) {
    const job = this.jobs.get(jobId);
    if (!job) throw new Refused("not_found", "There is no such job here.");
    return job;
  }

  /** @param {string} event
   * @param {string} offerId
   * @param {Payload} [more] */
  async #answer(event, offerId, more = {}) {
    const offer = this.offers.get(offerId);
    if (!offer || offer.answered) throw new Refused("offer_gone", "The offer is over.");
    offer.answered = true; // an accepted one leaves `offers` when the log says that it is a job now
    try {
      const answer = await this.command(event, { offerId, ...more }, Math.max(1, offer.untilMs - performance.now()));
      if (event === "decline_offer") this.offers.delete(offerId);
      return answer;
    } catch (error) {
      this.offers.delete(offerId);
      throw error;
    } finally {
      this._change();
    }
  }
}
