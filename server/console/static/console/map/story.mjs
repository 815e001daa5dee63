/** What there is to know of one driver or one job on the map: what the feed says, and what the history says. */

import { clock, el, icon, minutes, say } from "../../ui/dom.mjs";
import { api } from "../api.mjs";
import { past } from "../past.mjs";
import { id, pill, plain, span } from "../words.mjs";
import { ofArea } from "./areas.mjs";
import { STATES } from "./city.mjs";

const EVERY_MS = 5_000;

/**
 * Fills `root` and keeps it true until the returned function is called.
 * @param {HTMLElement} root
 * @param {import("./city.mjs").City} city
 * @param {{vehicle?: import("./city.mjs").Vehicle, job?: import("./city.mjs").Job, area?: import("./areas.mjs").Area}} thing
 * @param {{choose: (thing: any) => void, draw: (trail: [number, number][]) => void, areas: import("./areas.mjs").Areas, heat: import("./heat.mjs").Heat}} page
 */
export function story(root, city, thing, { choose, draw, areas, heat }) {
  const facts = el("dl", {});
  const more = el("div", { class: "more" });
  const head = thing.job ? `${thing.job.kind === "ride" ? "Ride" : "Parcel"}` : thing.vehicle?.name ?? thing.area?.name ?? "";
  root.replaceChildren(
    el("header", {}, el("h2", { text: head }), el("button", { class: "button bare", type: "button", "aria-label": "Close", onclick: () => choose(null) }, icon("cross"))),
    facts, more,
  );
  let over = false;

  function live() {
    if (over) return;
    const rows = thing.area ? ofArea(areas, city, heat.areas, thing.area) : thing.job ? ofJob(city, city.jobs.get(thing.job.id), thing.job, choose) : ofVehicle(city, city.vehicles.get(thing.vehicle?.id ?? ""), thing.vehicle, choose);
    const text = rows.map(([, value]) => (typeof value === "string" ? value : value.textContent)).join("\n");
    if (facts.dataset.text === text) return;
    facts.dataset.text = text;
    // who stands on a button here keeps his place
    const held = [...facts.querySelectorAll("button, a")].indexOf(/** @type {any} */ (document.activeElement));
    facts.replaceChildren(...rows.flatMap(([name, value]) => [el("dt", { text: name }), el("dd", {}, value)]));
    if (held >= 0) /** @type {HTMLElement | undefined} */ (facts.querySelectorAll("button, a")[held])?.focus({ preventScroll: true });
  }

  async function history() {
    if (thing.vehicle && more.children.length === 0) more.append(past(thing.vehicle.id));
    if (!thing.job) return;
    const { kind, id } = thing.job;
    try {
      const { data } = await api.get(`/api/${kind}s/${id}`);
      if (over) return;
      const track = data.track.features.find((/** @type {any} */ feature) => feature.properties.role === "track");
      draw((track?.geometry.coordinates ?? []).map((/** @type {[number, number]} */ [lng, lat]) => [lat, lng]));
      const said = data.facts.filter((/** @type {any} */ fact) => fact.event !== "new_message");
      more.replaceChildren(el("h3", { text: "What happened" }), el("ol", { class: "happened" }, ...said.slice(-12).map((/** @type {any} */ fact) =>
        el("li", {}, el("time", { class: "number soft", text: clock(fact.timestamp) }), el("span", { text: words(fact) })))));
    } catch (error) {
      if (!over) say(more, error.code === "NOT_FOUND" ? "The history has not heard of it yet." : error.message);
    }
  }

  city.join(thing.job ?? null);
  live();
  history();
  const timers = [setInterval(live, 1_000), setInterval(history, EVERY_MS)];
  return () => {
    over = true;
    city.join(null);
    timers.forEach(clearInterval);
  };
}

/** @param {any} fact */
function words({ event, payload }) {
  if (event.endsWith("status_update")) return `${plain(payload.state ?? payload.status)}${payload.reason ? `: ${payload.reason}` : ""}`;
  return plain(event);
}

/**
 * @param {import("./city.mjs").City} city
 * @param {import("./city.mjs").Job | undefined} job
 * @param {import("./city.mjs").Job} before
 * @param {(thing: any) => void} choose
 * @returns {[string, any][]}
 */
function ofJob(city, job, before, choose) {
  const link = el("a", { href: `/console/${before.kind}s?q=${before.id}`, text: "Everything about it" });
  if (!job) return [["State", pill("", "Over")], ["Id", id(before.id)], ["", link]];
  const carrier = city.carrier(job);
  const him = carrier && el("button", { class: "link", type: "button", text: carrier.name, onclick: () => choose({ vehicle: carrier }) });
  return [
    ["State", el("span", { class: "pills" }, pill(job.state), job.needsPerson && pill("refused", "Waits for a person"))],
    ...(job.kind === "ride" ? [/** @type {[string, any]} */ (["Class", plain(job.class)])] : []),
    ...(him ? [/** @type {[string, any]} */ ([job.driverId ? "With" : "Offered to", him])] : []),
    ...(job.driverId && city.etaS !== null ? [/** @type {[string, any]} */ (["Arrives in", minutes(city.etaS)])] : []),
    ["Since", span(Math.max(0, (city.atMs - job.sinceMs) / 1000))],
    ["Id", id(job.id)],
    ["", link],
  ];
}

/**
 * @param {import("./city.mjs").City} city
 * @param {import("./city.mjs").Vehicle | undefined} vehicle
 * @param {import("./city.mjs").Vehicle | undefined} before
 * @param {(thing: any) => void} choose
 * @returns {[string, any][]}
 */
function ofVehicle(city, vehicle, before, choose) {
  const it = vehicle ?? before;
  if (!it) return [];
  const link = el("a", { href: `/console/drivers?q=${it.id}`, text: "Everything about him" });
  if (!vehicle) return [["State", pill("", "Offline")], ["Id", id(it.id)], ["", link]];
  const carried = [...city.jobs.values()].filter((job) => job.driverId === it.id || job.offeredTo === it.id);
  return [
    ["State", pill(STATES[it.state])],
    ["Classes", it.classes.map(plain).join(", ")],
    ["Area", it.area],
    ["Last fix", it.placed ? `${span(Math.max(0, (city.atMs - it.fixMs) / 1000))} ago` : "none yet"],
    ...carried.map((job) => /** @type {[string, any]} */ ([job.driverId === it.id ? "Carries" : "Is asked for", el("button", { class: "link", type: "button", text: `${plain(job.kind === "ride" ? "ride" : "parcel")}, ${plain(job.state).toLowerCase()}`, onclick: () => choose({ job }) })])),
    ["Id", id(it.id)],
    ["", link],
  ];
}
