/**
 * A carrier who needs nobody: takes what he is offered, drives where he has to be, and goes through the steps. A code is
 * told to him in the chat, or typed.
 */

import { at } from "../ui/map.mjs";
import { NEXT, hasCode } from "./words.mjs";

/** @typedef {import("../client/aryv-client.mjs").Job} Job */

const LOOK_MS = 400;
const THINK_MS = 1_000;
const DONE_MS = 6_000; // how long a finished job is looked at
const CODE = /\b\d{4,8}\b/;

export class Autopilot {
  #on = false;
  #busy = "";
  #since = 0;

  /** @param {Record<string, any>} car   what carrier.mjs lets him use */
  constructor(car) {
    this.car = car;
    setInterval(() => this.#on && this.#look(), LOOK_MS);
  }

  get on() {
    return this.#on;
  }

  set on(on) {
    this.#on = on;
    this.#busy = ""; // what was begun before is begun anew
  }

  #look() {
    const { aryv, current, open } = this.car;
    const job = current();
    if (job && !job.over) return this.#carry(job);
    if (job) return this.#soon(`done ${job.id}`, DONE_MS, () => this.car.done(job));
    const offer = open();
    if (offer) this.#soon(`offer ${offer.offerId}`, THINK_MS, () => aryv.accept(offer.offerId).catch(() => {}));
  }

  /** @param {Job} job */
  #carry(job) {
    const next = NEXT[job.kind][job.state];
    if (!next) return;
    const what = `${job.id} ${job.version}`;
    if (next.place) {
      if (this.#busy === what) return;
      this.#busy = what;
      this.car.driveTo(at(this.car.target(job)), () => this.car.step(job, ""));
      return;
    }
    const code = job.messages.findLast((line) => line.senderId !== this.car.aryv.userId && CODE.test(line.text))?.text.match(CODE)?.[0] ?? "";
    if (hasCode(job) && !code) return; // he waits to be told
    this.#soon(`${what} ${code}`, THINK_MS, () => this.car.step(job, code));
  }

  /**
   * Once, a moment after it was first wanted.
   * @param {string} what
   * @param {number} afterMs
   * @param {() => void} act
   */
  #soon(what, afterMs, act) {
    if (this.#busy !== what) {
      this.#busy = what;
      this.#since = performance.now();
    } else if (performance.now() - this.#since > afterMs) {
      this.#since = Infinity;
      act();
    }
  }
}
