/**
 * What the console asks the server, with the token of whoever has logged in. A token that is over ends the login.
 *
 * A login is kept by its windows alone, and is gone with the last of them. A window that is opened beside another asks
 * the others for theirs; who logs out in one has left all of them.
 *
 * | when | then |
 * |---|---|
 * | no other window is open, or none has a login | nobody answers: it is asked for after SHARED_MS |
 * | two windows answer | the first counts |
 * | the answer comes late | it is not heard: the form is shown already |
 * | another window's login was another one | its end ends no other: the token is compared |
 */

import { http, login, newId } from "../client/http.mjs";
import { Refused } from "../client/outbox.mjs";

const KEY = "aryv.console";
const SHARED_MS = 250;
export const ENDED = "Your login has ended. Log in again.";

/** @typedef {{token: string, user: {id: string, firstName: string, lastName: string}}} Login */

class Api {
  constructor() {
    /** @type {Login | null} */
    this.login = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
    /** Called when the login is over; `why` in a sentence, "" where he left by himself. */
    this.ended = (/** @type {string} */ _why) => {};
    /** Other windows of this very origin. */
    this.others = new BroadcastChannel(KEY);
    /** @type {((login: Login) => void) | null} */
    this.asks = null;
    this.others.onmessage = ({ data }) => {
      if (data.ask && this.login) this.others.postMessage({ login: this.login });
      if (data.login) this.asks?.(data.login);
      if (data.left && data.left === this.login?.token) this.#end("");
    };
  }

  /** Takes the login of another window, where there is one. */
  async share() {
    const login = await new Promise((resolve) => {
      this.asks = resolve;
      setTimeout(() => resolve(null), SHARED_MS);
      this.others.postMessage({ ask: true });
    });
    this.asks = null;
    if (login) this.#keep(login);
  }

  /** @param {Login} login */
  #keep(login) {
    this.login = login;
    sessionStorage.setItem(KEY, JSON.stringify(login));
  }

  /** @param {string} email
   * @param {string} password */
  async enter(email, password) {
    const said = await login("", email, password);
    if (said.user.role !== "admin") throw new Refused("forbidden", "This account is no administrator's.", false);
    this.#keep({ token: said.accessToken, user: said.user });
  }

  /** @param {string} [why] */
  leave(why = "") {
    if (!this.login) return;
    this.others.postMessage({ left: this.login.token });
    this.#end(why);
  }

  /** @param {string} why */
  #end(why) {
    this.login = null;
    sessionStorage.removeItem(KEY);
    this.ended(why);
  }

  /** Ends this login here and at the server. */
  async logOut() {
    const token = this.login?.token;
    this.leave();
    try {
      await http("", "/api/auth/logout", { token, body: {} });
    } catch (error) {
      if (error.code !== "UNAUTHORIZED" && !this.login) this.ended("Logged out here; the server could not be told.");
    }
  }

  /** The whole envelope of a GET: lists have `pagination` beside `data`.
   * @param {string} path
   * @param {Record<string, string | number | null | undefined>} [query]
   * @returns {Promise<any>} */
  async get(path, query = {}) {
    const wanted = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
    const search = new URLSearchParams(wanted.map(([name, value]) => [name, String(value)]));
    const headers = { Authorization: `Bearer ${this.login?.token}` };
    const answer = await fetch(wanted.length ? `${path}?${search}` : path, { headers }).catch(() => null);
    const said = await answer?.json().catch(() => null);
    if (!answer || !said) throw new Refused("no_answer", "The server does not answer.", true);
    if (answer.status === 401 || answer.status === 403) this.leave(ENDED);
    if (!said.success) throw new Refused(said.code, said.message, answer.headers.has("Retry-After"));
    return said;
  }

  /** A command of the protocol. Its `commandId` makes a second try of the same harmless.
   * @param {string} event
   * @param {Record<string, any>} body
   * @returns {Promise<any>} */
  async command(event, body) {
    const whole = { commandId: newId(), ...body };
    try {
      return await http("", `/api/commands/${event}`, { token: this.login?.token, body: whole });
    } catch (error) {
      if (error.code === "UNAUTHORIZED") this.leave(ENDED);
      if (!error.retry) throw error;
      return http("", `/api/commands/${event}`, { token: this.login?.token, body: whole });
    }
  }
}

export const api = new Api();
