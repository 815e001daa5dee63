/**
 * Commands that must not be lost: sent one by one, in order, each with an id of its own, again and again until the
 * server has answered. With the same id it does a thing once, however often it is asked.
 *
 * | when | then |
 * |---|---|
 * | there is no connection | it waits for the next one |
 * | the connection breaks before the answer | it is sent again over the next one: the first answer comes |
 * | the answer does not come | likewise, over this one |
 * | the server says "not now", or "slow down" | again, after a pause that grows up to 8 s |
 * | the server refuses | the promise rejects with its code, and the next command is sent |
 * | it has waited longer than it makes sense (`lastsMs`) | rejects with `expired`; if it was sent, it may have been done |
 * | too many wait | `add` rejects at once with `full` |
 */

import { later, pause } from "./rooms.mjs";

const PAUSES_MS = [250, 500, 1_000, 2_000, 4_000, 8_000];
const LASTS_MS = 600_000;

/** The server's "no", or ours: `code` is one of docs/protocol.md, or `offline`, `no_answer`, `expired`, `full`. */
export class Refused extends Error {
  /** @param {string} code
   * @param {string} [message]
   * @param {boolean} [retry] */
  constructor(code, message, retry = false) {
    super(message ?? code);
    this.name = "Refused";
    this.code = code;
    this.retry = retry;
  }
}

const EXPIRED = new Refused("expired", "This could not be sent in time.");

/** @typedef {{event: string, payload: Record<string, any>, resolve: (answer: any) => void,
 *   reject: (error: Refused) => void, timer: any}} Entry */

export class Outbox {
  /** @type {Entry[]} */
  #waiting = [];
  #open = false;
  #sending = false;

  /**
   * @param {(event: string, payload: Record<string, any>) => Promise<Record<string, any>>} ask
   *   one try; rejects with Refused
   * @param {number} [most]
   */
  constructor(ask, most = 100) {
    this.ask = ask;
    this.most = most;
  }

  get length() {
    return this.#waiting.length;
  }

  /**
   * Resolves with the server's answer; rejects with Refused.
   * @param {string} event
   * @param {Record<string, any>} payload   with an id of its own
   * @param {number} [lastsMs]
   * @returns {Promise<Record<string, any>>}
   */
  add(event, payload, lastsMs = LASTS_MS) {
    if (this.#waiting.length >= this.most) return Promise.reject(new Refused("full", "Too much waits to be sent."));
    return new Promise((resolve, reject) => {
      const entry = { event, payload, resolve, reject, timer: later(lastsMs, () => this.#end(entry, EXPIRED)) };
      this.#waiting.push(entry);
      this.#send();
    });
  }

  open() {
    this.#open = true;
    this.#send();
  }

  shut() {
    this.#open = false;
  }

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    for (let tries = 0; this.#open && this.#waiting.length > 0; ) {
      const first = this.#waiting[0];
      try {
        this.#end(first, null, await this.ask(first.event, first.payload));
        tries = 0;
      } catch (error) {
        if (error.code === "offline") break; // `open` begins anew
        if (error.retry || error.code === "rate_limited") {
          await pause(PAUSES_MS[Math.min(tries++, PAUSES_MS.length - 1)]);
        } else {
          this.#end(first, error);
          tries = 0;
        }
      }
    }
    this.#sending = false;
  }

  /**
   * @param {Entry} entry
   * @param {Refused | null} error
   * @param {Record<string, any>} [answer]
   */
  #end(entry, error, answer) {
    const at = this.#waiting.indexOf(entry);
    if (at < 0) return; // it was too late already
    this.#waiting.splice(at, 1);
    clearTimeout(entry.timer);
    if (error) entry.reject(error);
    else entry.resolve(answer);
  }
}
