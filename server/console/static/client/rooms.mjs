/**
 * Counts the facts of every room, so that each is taken once and in order, and asks `sync` for whatever did not come.
 * The rule is docs/protocol.md's; `Aryv` of aryv-client.mjs uses it, an app need not know it.
 *
 * | when | then |
 * |---|---|
 * | a fact comes twice, or late | dropped: its number is not greater |
 * | a number is missing | nothing more of that room is taken until `sync` has told what was missed |
 * | more was missed than is kept, or the server lost it | `stands(room, last)`: forget, and begin there |
 * | the room is not ours any more, or over for long | `gone(room)` |
 * | the connection breaks while we ask | the next `greeted` asks again, with the same counters |
 * | the answer was full, or not now | the rooms that are left are asked for again, a second later |
 *
 * @typedef {{room: string, epoch: string, seq: number}} Place
 * @typedef {Record<string, any>} Payload
 */

const ROOMS_AT_ONCE = 64;
const AGAIN_MS = 1_000;
const SNAPSHOTS = new Set(["connected", "joined_ride", "joined_package"]);

/** @param {number} ms */
export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Something for later that is no reason for a program to go on.
 * @param {number} ms
 * @param {() => void} work
 */
export function later(ms, work) {
  const timer = /** @type {any} */ (setTimeout(work, ms));
  timer.unref?.(); // Node's; a browser's is a number
  return timer;
}

export class Rooms {
  /** @type {Map<string, {epoch: string, seq: number}>} */
  #at = new Map();
  /** @type {Set<string>} */
  #wanted = new Set();
  /** @type {Promise<void> | null} */
  #asking = null;
  #line = 0;

  /**
   * @param {object} app
   * @param {(payload: Payload) => Promise<Payload>} app.ask   one `sync`; rejects when there was no answer
   * @param {(event: string, fact: Payload, missed: boolean) => boolean} app.take   true: it closed its room
   * @param {(room: string, last: Payload, recovered: boolean) => void} app.stands   what `sync` said it stands at
   * @param {(room: string) => void} app.gone
   * @param {() => [string, number][]} app.jobs   those not over, with the newest version seen
   */
  constructor(app) {
    this.app = app;
  }

  /**
   * `connected` came: asks for every room that does not stand where it did, and resolves when all of them do.
   * @param {Payload} said
   */
  greeted(said) {
    this.#line += 1;
    const own = said.room;
    const announced = new Set();
    for (const { room, epoch, seq } of [said, ...said.jobs]) {
      announced.add(room);
      const known = this.#at.get(room);
      if (known?.epoch === epoch && known?.seq === seq) continue;
      // of a job that this device has not heard of, all that was ever said; of the own room only what comes
      if (!known) this.#at.set(room, { epoch, seq: room === own ? seq : 0 });
      if (known || room !== own) this.#wanted.add(room);
    }
    for (const room of this.#at.keys()) if (!announced.has(room)) this.#wanted.add(room);
    return this.sync();
  }

  /** The connection is lost: an answer that comes all the same is of before. */
  lost() {
    this.#line += 1;
  }

  /**
   * A numbered event.
   * @param {string} event
   * @param {Payload} fact
   */
  hear(event, fact) {
    if (SNAPSHOTS.has(event)) return;
    if (!this.#next(event, fact, false)) {
      this.#wanted.add(fact.room);
      this.sync();
    }
  }

  /**
   * Asks for a room, though nothing of it is known to be missing: for its job's card.
   * @param {string} room
   */
  want(room) {
    if (!this.#at.has(room)) return;
    this.#wanted.add(room);
    this.sync();
  }

  /** Asks for all that is wanted; one question at a time. */
  sync() {
    this.#asking ??= this.#askAll().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #askAll() {
    while (this.#wanted.size > 0) {
      const line = this.#line;
      const rooms = [...this.#wanted].slice(0, ROOMS_AT_ONCE);
      const asked = rooms.map((room) => [room, this.#at.get(room)?.epoch ?? "", this.#at.get(room)?.seq ?? 0]);
      let answer;
      try {
        answer = await this.app.ask({ rooms: asked, jobs: this.app.jobs().slice(0, ROOMS_AT_ONCE) });
      } catch (error) {
        if (error.code === "offline" || !(error.retry || error.code === "rate_limited")) return; // the next greeting asks
      }
      if (line !== this.#line) continue; // of a connection that is no more: what was wanted is wanted still
      for (const each of answer?.rooms ?? []) this.#answered(each);
      if (!answer?.rooms.every((/** @type {Payload} */ each) => each.error?.code !== "unavailable")) await pause(AGAIN_MS);
    }
  }

  /** @param {Payload} each */
  #answered(each) {
    if (each.error?.code === "unavailable") return; // stays wanted
    this.#wanted.delete(each.room);
    if (each.error) {
      this.#at.delete(each.room);
      this.app.gone(each.room);
      return;
    }
    for (const [event, fact] of each.events) this.#next(event, fact, true);
    if (!each.recovered || this.#at.has(each.room)) this.#at.set(each.room, { epoch: each.epoch, seq: each.seq });
    this.app.stands(each.room, each.last, each.recovered);
  }

  /**
   * Takes a fact that is the next of its room; false when something is missing before it.
   * @param {string} event
   * @param {Payload} fact
   * @param {boolean} missed
   */
  #next(event, fact, missed) {
    const { room, epoch, seq } = fact;
    const known = this.#at.get(room) ?? { epoch, seq: seq - 1 }; // a room begins for us with what we first hear of it
    if (epoch === known.epoch && seq <= known.seq) return true;
    if (epoch !== known.epoch || seq !== known.seq + 1) return false;
    this.#at.set(room, { epoch, seq });
    if (this.app.take(event, fact, missed)) this.#at.delete(room);
    return true;
  }

  /**
   * Nothing more is asked of a room.
   * @param {string} room
   */
  forget(room) {
    this.#at.delete(room);
    this.#wanted.delete(room);
  }
}
