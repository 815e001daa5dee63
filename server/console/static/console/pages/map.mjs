/** The city as it is now: who is where, what is asked for, which offers fly, and the story of whatever is clicked. */

import { el, icon, say, show } from "../../ui/dom.mjs";
import { CityMap } from "../../ui/map.mjs";
import { api, ENDED } from "../api.mjs";
import { Areas } from "../map/areas.mjs";
import { City, STATES } from "../map/city.mjs";
import { Heat } from "../map/heat.mjs";
import { Layer } from "../map/layer.mjs";
import { story } from "../map/story.mjs";
import { count, pill, plain, span } from "../words.mjs";

export const title = "Live map";
const LISTED = 40;
const PANEL_PX = 312; // at the left, as map.css has it
const LATE_MS = 4_000;
const STATE_WORDS = { idle: "Free", offered: "Asked", busy: "On a job", stale: "Silent" };

/** @param {HTMLElement} root */
export async function open(root) {
  const status = el("p", { class: "state", role: "status" });
  const heatToggle = toggle("Heat", "Where more is asked for than anybody is there to take, per cell");
  const jobs = toggle("Jobs", "Rides and parcels", true);
  const states = STATES.map((state) => Object.assign(toggle(STATE_WORDS[/** @type {keyof typeof STATE_WORDS} */ (state)], "", true), { state }));
  for (const each of states) each.prepend(el("span", { class: `dot ${each.state}` }));
  const search = el("input", { id: "q", type: "search", placeholder: "Name or id", "aria-label": "Search", autocomplete: "off" });
  const areaList = el("ul", { class: "areas", "aria-label": "Areas" });
  const list = el("ul", { class: "found", "aria-label": "On the map" });
  const told = el("section", { class: "told card", tabindex: "-1", "aria-label": "What was chosen", hidden: true });
  const ground = el("div", { class: "ground", role: "application", "aria-label": "Map of the city; what is on it is listed beside it" });
  root.classList.add("city");
  const key = el("ul", { class: "keys jobKey", "aria-label": "What a job's colour means" },
    ...[["offered", "Nobody has it yet"], ["on", "A driver has it"], ["held", "Held: a person must look"]].map(([look, text]) => el("li", { class: "small" }, el("span", { class: `dot ${look}` }), text)));
  const heat = new Heat(() => ((layer.heat = heat.cells), layer.draw()));
  root.append(
    ground,
    el("aside", { class: "panel card", "aria-label": "What is shown" },
      el("header", { class: "head" }, el("h1", { text: title }), status),
      el("div", { class: "toggles", role: "group", "aria-label": "Drivers and couriers" }, ...states),
      el("div", { class: "toggles", role: "group", "aria-label": "Layers" }, jobs, heatToggle),
      key, heat.legend, areaList,
      el("label", { class: "search" }, icon("search"), search), list),
    told,
  );

  const map = new CityMap(ground);
  const city = new City(changed, () => api.leave(ENDED));
  const layer = new Layer(map.leaflet, city);
  const areas = new Areas(map, choose, drawAreas);
  let over = false;
  /** @type {(() => void) | null} */
  let untell = null;

  /** @param {{vehicle?: any, job?: any, area?: any} | null} thing */
  function choose(thing) {
    untell?.();
    untell = null;
    layer.chosen = thing?.job?.id ?? thing?.vehicle?.id ?? thing?.area?.id ?? "";
    layer.trail = [];
    show(told, thing !== null);
    if (thing) told.scrollIntoView({ block: "nearest" });
    if (thing) untell = story(told, city, thing, { choose, draw: (trail) => ((layer.trail = trail), layer.draw()), areas, heat });
    layer.draw();
    drawAreas();
    draw();
  }

  function drawAreas() {
    const lines = [...areas.all.values()].map((area) => el("li", {}, el("button", { type: "button", class: "areaChip", "data-id": area.id, "aria-current": area.id === layer.chosen ? "true" : null, onclick: () => choose({ area }) }, area.name, area.paused && pill("paused"))));
    refill(areaList, lines);
  }

  let drawn = 0;
  function changed() {
    layer.draw();
    const now = performance.now();
    if (now - drawn > 900) draw();
  }

  function draw() {
    if (over) return;
    drawn = performance.now();
    const counts = STATES.map(() => 0);
    for (const vehicle of city.vehicles.values()) if (vehicle.placed) counts[vehicle.state] += 1;
    states.forEach((each, at) => say(each.count, count(counts[at])));
    say(jobs.count, count(city.jobs.size));
    const age = performance.now() - city.heardMs;
    const mood = city.refused ? pill("refused", city.refused) : !city.connected ? pill("refused", "Reconnecting") : city.atMs === 0 ? pill("stale", "Loading") : age > LATE_MS ? pill("stale", `${span(age / 1000)} old`) : pill("active", "Live");
    if (status.textContent !== mood.textContent) status.replaceChildren(mood);
    const text = search.value.trim().toLowerCase();
    const lines = text ? [...found(text)] : [...waiting()];
    const shown = lines.slice(0, LISTED).map((thing) => line(thing, city.atMs, layer.chosen, (it) => {
      choose(it);
      if (it.area) return;
      const place = it.job ? it.job.pickup : [it.vehicle.lat, it.vehicle.lng];
      map.leaflet.setView(place, Math.max(14, map.leaflet.getZoom()), { animate: false });
    }));
    refill(list, shown.length ? shown : [el("li", { class: "soft small", text: text ? "Nobody and nothing of that name." : "Nobody waits." })]);
  }

  /** Jobs nobody has yet, the longest first, then the others. */
  function* waiting() {
    const all = [...city.jobs.values()].sort((a, b) => Number(a.driverId !== null) - Number(b.driverId !== null) || a.sinceMs - b.sinceMs);
    for (const job of all) yield { job };
  }

  /** @param {string} text */
  function* found(text) {
    for (const vehicle of city.vehicles.values()) if (vehicle.placed && (vehicle.name.toLowerCase().includes(text) || vehicle.id.startsWith(text))) yield { vehicle };
    for (const job of city.jobs.values()) if (job.id.startsWith(text)) yield { job };
    for (const area of areas.all.values()) if (area.name.toLowerCase().includes(text)) yield { area };
  }

  states.forEach((each, at) => each.addEventListener("click", () => {
    if (layer.states.has(at)) layer.states.delete(at);
    else layer.states.add(at);
    press(each, layer.states.has(at));
    layer.draw();
  }));
  jobs.addEventListener("click", () => {
    layer.showJobs = !layer.showJobs;
    press(jobs, layer.showJobs);
    show(key, layer.showJobs);
    layer.draw();
  });
  heatToggle.addEventListener("click", () => {
    press(heatToggle, !heat.shown);
    heat.show(!heat.shown);
  });
  search.addEventListener("input", draw);
  map.leaflet.on("click", (/** @type {any} */ event) => {
    const area = areas.at(event.latlng);
    choose(layer.find(event.containerPoint) ?? (area && { area }));
  });

  try {
    await map.load(api.login?.token ?? "", matchMedia("(max-width: 760px)").matches ? 0 : PANEL_PX);
    ground.append(el("p", { class: "credit small soft", text: map.attribution }));
    await areas.read();
  } catch (error) {
    status.replaceChildren(pill("refused", error.message));
  }
  const timer = setInterval(draw, 1_000);
  if (!over) city.follow(api.login?.token ?? "");
  draw();
  Object.assign(window, { aryvCity: { city, layer, map } }); // for who measures, and for the tests
  return () => {
    over = true;
    clearInterval(timer);
    untell?.();
    heat.close();
    areas.close();
    city.close();
    layer.close();
    map.close();
    root.classList.remove("city");
  };
}

/** @param {string} name
 * @param {string} about
 * @param {boolean} [pressed]
 * @returns {any} */
function toggle(name, about, pressed = false) {
  const number = el("span", { class: "number soft" });
  const button = el("button", { class: "toggle", type: "button", title: about || null, "aria-pressed": String(pressed) }, el("span", { text: name }), number);
  return Object.assign(button, { count: number });
}

/** @param {HTMLElement} button
 * @param {boolean} pressed */
const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

/** Another content for a list; who stands in it with the keyboard keeps his place.
 * @param {HTMLElement} list
 * @param {HTMLElement[]} lines */
function refill(list, lines) {
  const held = list.contains(document.activeElement) ? /** @type {HTMLElement} */ (document.activeElement).dataset.id : "";
  list.replaceChildren(...lines);
  if (held) /** @type {HTMLElement | null} */ (list.querySelector(`[data-id="${CSS.escape(held)}"]`))?.focus({ preventScroll: true });
}

/** A parcel has one class only. @param {any} job */
const called = (job) => (job.kind === "ride" ? `Ride · ${plain(job.class)}` : "Parcel");

/** @param {any} thing
 * @param {number} atMs
 * @param {string} chosen
 * @param {(thing: any) => void} choose */
function line(thing, atMs, chosen, choose) {
  const { job, vehicle, area } = thing;
  const id = job?.id ?? vehicle?.id ?? area.id;
  const name = area ? area.name : job ? called(job) : vehicle.name;
  const state = area ? (area.paused ? "Paused" : "Area") : job ? `${plain(job.state)} · ${span(Math.max(0, (atMs - job.sinceMs) / 1000))}` : STATE_WORDS[/** @type {keyof typeof STATE_WORDS} */ (STATES[vehicle.state])];
  return el("li", {}, el("button", { type: "button", class: "line", "data-id": id, "aria-current": id === chosen ? "true" : null, onclick: () => choose(thing) },
    el("span", { class: `dot ${area ? "area" : job ? (job.needsPerson ? "held" : job.driverId ? "busy" : "offered") : STATES[vehicle.state]}` }),
    el("span", { class: "name", text: name }), el("span", { class: "soft small", text: state })));
}
