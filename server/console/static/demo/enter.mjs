/**
 * What every page of the demo begins with: a person of its own, a map, a connection, and a word about how it goes.
 */

import { io } from "../vendor/socket.io.esm.min.js";
import { Aryv, http } from "../client/aryv-client.mjs";
import { byId, el, say, show } from "../ui/dom.mjs";
import { CityMap } from "../ui/map.mjs";

/** @typedef {{user: {id: string, firstName: string, lastName: string, vehicle: string | null}, accessToken: string}} Person */

/**
 * @param {"passenger" | "driver" | "courier"} role
 * @param {string} page   each page of a window is somebody else, and stays that one when it is loaded again
 * @returns {Promise<{aryv: Aryv, map: CityMap, person: Person}>}
 */
export async function enter(role, page) {
  const key = `aryv.demo.${page}`;
  const map = new CityMap(byId("map"));
  for (;;) {
    try {
      const person = await somebody(role, key);
      await map.load(person.accessToken);
      say(byId("credit"), map.attribution);
      say(byId("who"), `${person.user.firstName} ${person.user.lastName}`);
      const aryv = new Aryv({ io, url: "", token: person.accessToken });
      aryv.on("change", () => tell(aryv));
      aryv.on("denied", () => {
        sessionStorage.removeItem(key);
        location.reload();
      });
      byId("again").addEventListener("click", () => {
        aryv.close();
        sessionStorage.removeItem(key);
        location.reload();
      });
      Object.assign(window, { aryv }); // for whoever wants to talk to it from the console of the browser
      return { aryv: aryv.connect(), map, person };
    } catch (error) {
      if (error.code === "UNAUTHORIZED") sessionStorage.removeItem(key); // of a server that was begun anew
      tellState("bad", error.message);
      await new Promise((resolve) => setTimeout(resolve, 1_500));
    }
  }
}

/** @param {string} role
 * @param {string} key
 * @returns {Promise<Person>} */
async function somebody(role, key) {
  const known = sessionStorage.getItem(key);
  if (known) return JSON.parse(known);
  const made = await http("", "/api/demo/people", { body: { role } });
  sessionStorage.setItem(key, JSON.stringify(made));
  return made;
}

/** @param {Aryv} aryv */
function tell(aryv) {
  const waiting = aryv.waiting > 0 ? ` · ${aryv.waiting} to send` : "";
  if (aryv.state === "online") tellState("good", "Live");
  else if (aryv.state === "denied") tellState("bad", "Logged out");
  else tellState("wait", `Connecting${waiting}`);
}

/** @param {string} mood
 * @param {string} text */
function tellState(mood, text) {
  const pill = byId("state");
  pill.className = `pill ${mood}`;
  say(pill, text);
}

let hiding = 0;

/** A short word about what did not work, or did. @param {string} text */
export function toast(text) {
  const toast = byId("toast");
  say(toast, text);
  show(toast, true);
  clearTimeout(hiding);
  hiding = setTimeout(() => show(toast, false), 6_000);
}

/** Runs what a person has asked for, and says so when it does not work.
 * @param {() => Promise<any>} work */
export const attempt = (work) => work().catch((error) => toast(error.message));

/**
 * Four stages as a line; where it stands is said to a screen reader as well.
 * @param {HTMLElement} list
 * @param {string[]} names
 * @param {number} now
 */
export function stages(list, names, now) {
  if (list.children.length !== names.length) list.replaceChildren(...names.map((name) => el("li", { text: name })));
  [...list.children].forEach((item, at) => {
    item.className = at < now ? "done" : at === now ? "now" : "";
    if (at === now) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
}
