/**
 * What a client knows of its jobs: cards and facts in, one plain object per job out. No socket, no clock, no page.
 *
 * @typedef {{latitude: number, longitude: number, address?: string}} Point
 * @typedef {object} Message
 * @property {string} id
 * @property {string} senderId
 * @property {string} senderName
 * @property {string} text
 * @property {string} type       `text`, `location` or `image`
 * @property {string} at         ISO-8601
 * @property {"sent" | "waiting" | "failed"} state   `waiting`: said here, and not yet by the server
 * @property {string} [error]    why it failed
 *
 * @typedef {object} Job
 * @property {string} id
 * @property {"ride" | "package"} kind
 * @property {string} room
 * @property {string} state      a state of docs/protocol.md, or `requesting`: not yet answered by the server
 * @property {string} status     the platform's word for it
 * @property {number} version    0 before the server has said any
 * @property {boolean} over
 * @property {Point} [pickup]
 * @property {Point} [dropoff]
 * @property {{amount: number, currency: string}} [fare]   in minor units
 * @property {{id: string, name: string}} [requester]
 * @property {{id: string, name: string, vehicle?: string} | null} driver
 * @property {{name: string, himself: boolean} | null} left   the driver it had before it was searched for again; `himself`: he gave it back
 * @property {number | null} etaSeconds   of the driver to where he goes next
 * @property {Record<string, any> | null} position   the newest `driver_location`
 * @property {string} code       what a ride or delivery is proved by; only its requester is told
 * @property {boolean} needsCode whether its driver is asked for that code
 * @property {boolean} needsPerson
 * @property {boolean} finishing whether its driver has another ride on board, after which this one comes
 * @property {string} reason
 * @property {Message[]} messages
 * @property {Map<string, string>} readUpTo   by reader: the id of the last line he has read
 * @property {{state: string, at: string}[]} story
 * @property {string} typing     the name of who is typing, or ""
 * @property {Record<string, any>} [parcel]
 * @property {string} [note]
 */

export const ENDS = new Set(["completed", "cancelled"]);
const WITHOUT_DRIVER = new Set(["scheduled", "searching", "offered"]);
const FINISHED_KEPT = 20;

/** @param {Record<string, any>} payload */
export const jobIdOf = (payload) => payload.rideId ?? payload.packageId ?? "";

/** @param {string} kind */
export const idField = (kind) => (kind === "ride" ? "rideId" : "packageId");

export class Jobs {
  /** @type {Map<string, Job>} */
  all = new Map();
  me = "";

  /**
   * A job as the server shows it (of `connected`, `sync`, an offer), or as its requester has just asked for it.
   * @param {Record<string, any>} card
   * @returns {Job}
   */
  put(card) {
    const id = jobIdOf(card);
    const kind = card.rideId ? "ride" : "package";
    const known = this.all.get(id);
    const job = known ?? this.#blank(id, kind);
    if ((card.version ?? 0) >= job.version) {
      const { rideId, packageId, epoch, seq, ...rest } = card;
      Object.assign(job, rest, { over: ENDS.has(card.status), needsPerson: card.needsPerson === true, finishing: card.finishing === true, needsCode: card.needsCode === true });
      if (job.driver) job.left = null;
      if (!job.driver) Object.assign(job, { position: null, etaSeconds: null });
    }
    this.all.set(id, job);
    this.#forgetOld();
    return job;
  }

  /**
   * A fact, or a volatile event, of a job; the job that it changed, if any.
   * @param {string} event
   * @param {Record<string, any>} said
   * @returns {Job | undefined}
   */
  hear(event, said) {
    if (event === "notification") return this.#told(said);
    const id = jobIdOf(said);
    if (event.endsWith("_status_update") || event === "driver_assigned") return this.#moved(id, said);
    const job = this.all.get(id);
    if (!job) return undefined;
    if (event === "driver_location") return this.#seen(job, said);
    if (event === "new_message") return this.line(job, { ...said, text: said.message, at: said.timestamp, state: "sent" });
    if (event === "message_read") job.readUpTo.set(said.readerId, said.messageId);
    else if (event === "user_typing") job.typing = said.isTyping ? said.userName : "";
    else return undefined;
    return job;
  }

  /**
   * A line of the chat: a new one, or what became of one that is there. Lines that wait stand behind all others.
   * @param {Job} job
   * @param {Record<string, any>} line
   */
  line(job, line) {
    const { id, senderId, senderName, text, type = "text", at, state, error } = line;
    const others = job.messages.filter((each) => each.id !== id);
    const waiting = state === "sent" ? others.findIndex((each) => each.state !== "sent") : -1;
    others.splice(waiting < 0 ? others.length : waiting, 0, { id, senderId, senderName, text, type, at, state, error });
    job.messages = others;
    if (job.typing === senderName) job.typing = "";
    return job;
  }

  /**
   * The chat as the history has it, where facts do not reach back so far.
   * @param {Job} job
   * @param {Record<string, any>[]} lines
   */
  lines(job, lines) {
    const known = new Set(job.messages.map((each) => each.id));
    for (const { id, senderId, senderName, message: text, type, timestamp: at } of lines) {
      if (!known.has(id)) job.messages.push({ id, senderId, senderName, text, type, at, state: "sent" });
    }
    job.messages.sort((a, b) => Number(a.state !== "sent") - Number(b.state !== "sent") || a.at.localeCompare(b.at));
  }

  /** Those that are not over, with the newest version that this client saw; `sync` wants to know.
   * @returns {[string, number][]} */
  versions() {
    return [...this.all.values()].filter((job) => !job.over && job.version > 0).map((job) => [job.id, job.version]);
  }

  /**
   * @param {string} id
   * @param {Record<string, any>} said
   */
  #moved(id, said) {
    const job = this.all.get(id) ?? this.#blank(id, said.rideId ? "ride" : "package");
    if (said.version <= job.version) return job;
    const before = job.driver;
    const { state, status, version, timestamp, reason = "", etaSeconds = job.etaSeconds } = said;
    Object.assign(job, { state, status, version, reason, etaSeconds, over: ENDS.has(status) });
    job.needsPerson = said.needsPerson === true;
    job.finishing = said.finishing === true;
    if (said.needsCode) job.needsCode = true;
    job.story.push({ state, at: timestamp });
    if (said.driverName) job.driver = { id: said.driverId, name: said.driverName, vehicle: said.vehicle };
    else if (!said.driverId || WITHOUT_DRIVER.has(state)) job.driver = null;
    if (job.driver) job.left = null;
    else if (before) job.left = { name: before.name, himself: said.updatedBy === before.id };
    if (!job.driver || job.over) Object.assign(job, { position: null, etaSeconds: null });
    else if (job.driver.id !== before?.id) job.position = null; // where the one was who had it
    if (before?.id === this.me && job.driver?.id !== this.me && !job.over) this.all.delete(id); // given to somebody else: not his business any more
    else this.all.set(id, job);
    return job;
  }

  /** The newest position wins, in whatever order they come.
   * @param {Job} job
   * @param {Record<string, any>} said */
  #seen(job, said) {
    if (job.over || (job.position && job.position.timestamp > said.timestamp)) return undefined;
    job.position = said;
    job.etaSeconds = said.etaSeconds ?? job.etaSeconds;
    return job;
  }

  /** @param {Record<string, any>} said */
  #told(said) {
    const job = this.all.get(jobIdOf(said.data ?? {}));
    if (job && said.data.code) job.code = said.data.code;
    if (job && said.type === "job_taken_over" && said.data.version > job.version) this.all.delete(job.id); // its room tells him nothing of it
    return job;
  }

  /** @param {string} id
   * @param {"ride" | "package"} kind
   * @returns {Job} */
  #blank(id, kind) {
    return {
      id, kind, room: `${kind}:${id}`, state: "requesting", status: "pending", version: 0, over: false,
      driver: null, etaSeconds: null, position: null, code: "", needsCode: false, left: null, needsPerson: false, finishing: false, reason: "",
      messages: [], readUpTo: new Map(), story: [], typing: "",
    };
  }

  /** Of those that are over the newest stay, for a receipt and a rating. */
  #forgetOld() {
    const over = [...this.all.values()].filter((job) => job.over);
    for (const job of over.slice(0, -FINISHED_KEPT)) this.all.delete(job.id);
  }
}
