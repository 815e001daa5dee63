/**
 * A vehicle that is driven: along a way at a steady speed, or put somewhere by hand.
 */

import { bearing, metres } from "../ui/streets.mjs";

/** @typedef {import("../ui/streets.mjs").LatLng} LatLng */

const TURN_MS = 50;

export class Wheel {
  speedMps = 25;
  heading = 0;
  /** What is left of the way. @type {LatLng[]} */
  ahead = [];
  #arrived = () => {};
  #lastMs = performance.now();

  /**
   * @param {LatLng} here
   * @param {() => void} moved   `here` or `heading` are others now
   */
  constructor(here, moved) {
    /** @type {LatLng} */
    this.here = here;
    this.moved = moved;
    setInterval(() => this.#roll(), TURN_MS);
  }

  /**
   * @param {LatLng[]} way   from here on
   * @param {() => void} [arrived]   called once, at its end; not when something else came meanwhile
   */
  drive(way, arrived = () => {}) {
    this.ahead = way.slice(1);
    this.#arrived = arrived;
  }

  /** Stands here now.
   * @param {LatLng} here */
  put(here) {
    if (metres(this.here, here) > 1) this.heading = bearing(this.here, here);
    this.here = here;
    this.stop();
    this.moved();
  }

  stop() {
    this.ahead = [];
    this.#arrived = () => {};
  }

  get drives() {
    return this.ahead.length > 0;
  }

  #roll() {
    const now = performance.now();
    let left = (this.speedMps * (now - this.#lastMs)) / 1000;
    this.#lastMs = now;
    if (!this.drives) return;
    while (this.drives && left > 0) {
      const [next] = this.ahead;
      const far = metres(this.here, next);
      if (far > 0.5) this.heading = bearing(this.here, next);
      if (far <= left) {
        this.here = next;
        this.ahead.shift();
        left -= far;
      } else {
        const part = left / far;
        const [lat, lng] = this.here;
        this.here = [lat + (next[0] - lat) * part, lng + (next[1] - lng) * part];
        left = 0;
      }
    }
    this.moved();
    if (!this.drives) {
      const arrived = this.#arrived;
      this.stop();
      arrived();
    }
  }
}
