/** The areas on the live map: a name at the edge of each that can be clicked, which are paused, and what holds in them. */

import { el, money } from "../../ui/dom.mjs";
import { api } from "../api.mjs";
import { count, id, pill, plain } from "../words.mjs";
import { STATES } from "./city.mjs";

const EVERY_MS = 5_000;
const L = /** @type {any} */ (window).L;

/** @typedef {{id: string, name: string, currency: string, paused: boolean, version: number, policy: any, prices: any, jobs: number}} Area */

export class Areas {
  /** @type {Map<string, Area>} */
  all = new Map();
  /** @type {{policy: any, prices: any}} */
  defaults = { policy: {}, prices: {} };
  #turn = 0;
  /** @type {Map<string, HTMLElement>} */
  #names = new Map();

  /** @param {import("../../ui/map.mjs").CityMap} map
   * @param {(thing: {area: Area}) => void} choose
   * @param {() => void} changed */
  constructor(map, choose, changed) {
    this.map = map;
    this.choose = choose;
    this.changed = changed;
    this.timer = setInterval(() => this.read(), EVERY_MS);
  }

  close() {
    clearInterval(this.timer);
    this.#turn += 1;
  }

  /** What is known of them now; until somebody answers, what was known before stays. */
  async read() {
    const mine = ++this.#turn;
    const said = await api.get("/api/admin/areas").catch(() => null);
    if (!said || mine !== this.#turn) return;
    const here = new Set(this.map.areas.map((feature) => feature.properties.id));
    this.defaults = said.defaults;
    this.all = new Map(said.data.filter((/** @type {Area} */ area) => here.has(area.id)).map((/** @type {Area} */ area) => [area.id, area]));
    for (const feature of this.map.areas) {
      const area = this.all.get(feature.properties.id);
      if (!area) continue;
      feature.properties.paused = area.paused;
      this.#named(feature, area);
    }
    this.map.restyle();
    this.changed();
  }

  /** The name at the northern edge. @param {any} feature
   * @param {Area} area */
  #named(feature, area) {
    const name = this.#names.get(area.id) ?? el("span", { class: "areaName" });
    if (!this.#names.has(area.id)) {
      this.#names.set(area.id, name);
      const bounds = L.geoJSON(feature).getBounds();
      this.map.mark([bounds.getNorth(), bounds.getCenter().lng], name, { title: area.name, pane: "tooltipPane" })
        .on("click", () => this.choose({ area: this.all.get(area.id) ?? area }));
    }
    name.textContent = area.paused ? `${area.name} · paused` : area.name;
    name.classList.toggle("paused", area.paused);
  }

  /** The smallest that a place lies in. @param {{lat: number, lng: number}} place
   * @returns {Area | null} */
  at({ lat, lng }) {
    const around = this.map.areas.filter(({ geometry }) => polygons(geometry).some((rings) => inside(rings, lat, lng)));
    const size = (/** @type {any} */ feature) => {
      const { _southWest: a, _northEast: b } = L.geoJSON(feature).getBounds();
      return (b.lat - a.lat) * (b.lng - a.lng);
    };
    const [least] = around.sort((a, b) => size(a) - size(b));
    return this.all.get(least?.properties.id) ?? null;
  }
}

/** @param {any} geometry
 * @returns {[number, number][][][]} */
const polygons = (geometry) => (geometry.type === "Polygon" ? [geometry.coordinates] : geometry.coordinates);

/** By how many edges lie east of it, holes included.
 * @param {[number, number][][]} rings
 * @param {number} lat
 * @param {number} lng */
function inside(rings, lat, lng) {
  let odd = false;
  for (const ring of rings) {
    ring.forEach(([x, y], at) => {
      const [x2, y2] = ring[(at + 1) % ring.length];
      if (y > lat !== y2 > lat && lng < x + ((lat - y) / (y2 - y)) * (x2 - x)) odd = !odd;
    });
  }
  return odd;
}

/**
 * What the story of an area says.
 * @param {Areas} areas
 * @param {import("./city.mjs").City} city
 * @param {Map<string, import("./heat.mjs").Sums>} heat
 * @param {Area} before
 * @returns {[string, any][]}
 */
export function ofArea(areas, city, heat, before) {
  const area = areas.all.get(before.id) ?? before;
  const counts = STATES.map(() => 0);
  for (const vehicle of city.vehicles.values()) if (vehicle.area === area.id) counts[vehicle.state] += 1;
  const prices = { ...areas.defaults.prices, ...area.prices };
  const sum = (/** @type {number} */ amount) => money({ amount, currency: area.currency });
  const rides = Object.entries(prices.rides ?? {}).map(([name, one]) =>
    /** @type {[string, any]} */ ([plain(name), `${sum(one.base_minor)} + ${sum(one.per_km_minor)}/km + ${sum(one.per_min_minor)}/min, at least ${sum(one.minimum_minor)}`]));
  const parcels = Object.entries(prices.parcel_tiers ?? {}).map(([name, one]) => /** @type {[string, any]} */ ([`Parcel, ${name}`, `from ${sum(one.base_minor)}`]));
  const looked = heat.get(area.id);
  const [free, asked, busy, silent] = counts;
  return [
    ["State", area.paused ? pill("paused") : pill("active", "Open")],
    ["Drivers", `${count(free)} free, ${count(asked)} asked, ${count(busy)} on a job, ${count(silent)} silent`],
    ["Live jobs", count(area.jobs)],
    ...(looked ? [/** @type {[string, any]} */ (["Demand", `${count(looked.waiting)} wait, ${count(Math.round(looked.demand))} expected; ${looked.factor > 1 ? `surge up to ${looked.factor}` : "no surge"}`])] : []),
    ...rides, ...parcels,
    ["Own rules", Object.keys(area.policy).map(plain).join(", ") || "Defaults"],
    ["Version", count(area.version)],
    ["Id", id(area.id)],
    ["", el("a", { href: `/console/areas?q=${encodeURIComponent(area.id)}`, text: "Pause it or edit its prices and rules" })],
  ];
}
