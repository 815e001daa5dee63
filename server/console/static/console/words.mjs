/**
 * How the console says things: moments, ids, states, amounts.
 */

import { el } from "../ui/dom.mjs";

const MOODS = {
  good: ["active", "completed", "delivered", "idle", "in_progress", "in_transit", "arrived", "arrived_pickup", "arrived_dropoff", "picked_up", "assigned", "written"],
  wait: ["searching", "offered", "scheduled", "pending", "stale", "pending_verification", "failed", "returning", "busy", "paused"],
  bad: ["suspended", "cancelled", "no_driver", "no_courier", "no_show", "returned", "deactivated", "refused"],
};

/** A state as a pill, in plain words.
 * @param {string} state
 * @param {string} [text] */
export function pill(state, text = plain(state)) {
  const mood = Object.entries(MOODS).find(([, states]) => states.includes(state))?.[0] ?? "";
  return el("span", { class: `pill ${mood}`, text });
}

/** @param {string} word */
export const plain = (word) => {
  const text = word.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
};

/** How long ago, with the moment itself as title.
 * @param {string | null} iso */
export function ago(iso) {
  if (!iso) return "";
  const at = new Date(iso);
  return el("time", { datetime: iso, title: at.toLocaleString("en-GB"), class: "number", text: since((Date.now() - at.getTime()) / 1000) });
}

/** @param {number} seconds */
function since(seconds) {
  if (seconds < -60) return `in ${span(-seconds)}`;
  return seconds < 5 ? "now" : `${span(seconds)} ago`;
}

/** @param {number} seconds */
export function span(seconds) {
  if (seconds < 60) return `${Math.round(seconds)} s`;
  if (seconds < 3_600) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** @param {string | null} iso */
export const moment = (iso) => (iso ? new Date(iso).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }) : "");

/** An id that can be marked and copied whole, though little of it is shown. @param {string} id */
export const id = (id) => el("code", { class: "id", title: id, text: id });

/** A person as a link to his line among the people.
 * @param {{id: string, name: string} | null} person */
export const person = (person) => (person ? el("a", { href: `/console/users?q=${person.id}`, text: person.name || person.id.slice(-8) }) : "");

/** @param {number} bytes */
export function bytes(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const at = bytes > 0 ? Math.min(4, Math.floor(Math.log2(bytes) / 10)) : 0;
  const value = bytes / 1024 ** at;
  return `${at > 1 && value < 10 ? value.toFixed(1) : Math.round(value)} ${units[at]}`;
}

/** @param {number | null | undefined} ms */
export const milliseconds = (ms) => (ms === null || ms === undefined ? "–" : ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${Math.round(ms / 1000)} s`);

/** @param {number} n */
export const count = (n) => new Intl.NumberFormat("en").format(n);

/** A document as people can read it. @param {any} value */
export const json = (value) => el("pre", { class: "json", tabindex: "0", text: typeof value === "string" ? value : JSON.stringify(value, null, 2) });
