/**
 * The few requests over HTTP that a client needs beside its socket, and ids.
 */

import { Refused } from "./outbox.mjs";

/** An id for a job, a message or a command: a UUID of version 7, which says when it was made. */
export function newId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  for (let at = 5, rest = Date.now(); at >= 0; at -= 1, rest = Math.floor(rest / 256)) bytes[at] = rest % 256;
  bytes[6] = (bytes[6] & 0x0f) | 0x70;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/**
 * One request: the `data` of its envelope. Rejects with Refused; `retry` where a later try may succeed.
 * @param {string} url
 * @param {string} path
 * @param {{token?: string, body?: Record<string, any>}} [options]   with a body it is a POST
 */
export async function http(url, path, { token = "", body } = {}) {
  /** @type {Record<string, string>} */
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) };
  const answer = await fetch(url + path, options).catch(() => null);
  const said = await answer?.json().catch(() => null);
  if (!answer || !said) throw new Refused("no_answer", `The server does not answer${url && ` at ${url}`}.`, true);
  if (!said.success) throw new Refused(said.code, said.message, answer.headers.has("Retry-After"));
  return said.data;
}

/**
 * Tokens for an address and a password: `{accessToken, refreshToken, expiresIn, user}`.
 * @param {string} url
 * @param {string} email
 * @param {string} password
 */
export const login = (url, email, password) => http(url, "/api/auth/login", { body: { email, password } });
