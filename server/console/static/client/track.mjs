/**
 * A driver's positions on their way out. One is under way at a time; of those that wait for it the newest is sent. What
 * could not be sent is kept, and goes as one batch when there is a connection again: it is history then, not news.
 */

const KEPT = 500; // of a `location_batch` at most

/** @typedef {{latitude: number, longitude: number, timestamp: string, heading?: number, speed?: number, accuracy?: number}} Fix */

export class Track {
  /** @type {Fix | null} */
  #next = null;
  /** @type {Fix[]} */
  #kept = [];
  #open = false;
  #sending = false;
  /** Where the vehicle was last. @type {{latitude: number, longitude: number}} */
  here = { latitude: 0, longitude: 0 };

  /**
   * @param {(fix: Fix) => Promise<any>} send   one `location_update`; rejects with Refused
   * @param {(fixes: Fix[]) => Promise<any>} sendKept   one `location_batch`
   */
  constructor(send, sendKept) {
    this.send = send;
    this.sendKept = sendKept;
  }

  /** @param {Fix} fix */
  add(fix) {
    this.here = { latitude: fix.latitude, longitude: fix.longitude };
    if (!this.#open) return this.#keep(fix);
    this.#next = fix;
    this.#send();
  }

  /** The shift goes on: what was kept is sent. */
  open() {
    this.#open = true;
    if (this.#kept.length > 0) this.sendKept(this.#kept.splice(0)).catch(() => {}); // refused: it was too old
  }

  shut() {
    this.#open = false;
    if (this.#next) this.#keep(this.#next);
    this.#next = null;
  }

  /** The shift is over. */
  end() {
    this.#open = false;
    this.#next = null;
    this.#kept = [];
  }

  async #send() {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#open && this.#next) {
      const fix = this.#next;
      this.#next = null;
      try {
        await this.send(fix);
      } catch (error) {
        if (error.retry) this.#keep(fix);
      }
    }
    this.#sending = false;
  }

  /** Of a long time without a connection every second of the older half goes: the shape of the way stays.
   * @param {Fix} fix */
  #keep(fix) {
    this.#kept.push(fix);
    if (this.#kept.length > KEPT) this.#kept = this.#kept.filter((_, at) => at % 2 === 0 || at > KEPT / 2);
  }
}
