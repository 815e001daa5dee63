/**
 * A map that asks nobody outside: areas, the operator's own lines and places, tiles only where he has named some. On it
 * pins, vehicles that glide, and ways. Leaflet comes as a plain script before this module.
 */

import { http } from "../client/aryv-client.mjs";
import { drawing, el } from "./dom.mjs";
import { Streets } from "./streets.mjs";

const L = /** @type {any} */ (window).L;
const NAMES_FROM = 12.5; // from farther away the names of places would lie on one another
const PIN_PX = 56, MARGIN_PX = 44; // of the map, around what shall be seen: a pin is tall, and a sheet lies on the lowest part
const GLIDE_M = 400; // who jumps farther has not driven there

/** @typedef {import("./streets.mjs").LatLng} LatLng */
/** @typedef {{latitude: number, longitude: number}} Point */

/** @param {Point} point
 * @returns {LatLng} */
export const at = ({ latitude, longitude }) => [latitude, longitude];

/** @param {{lat: number, lng: number}} latlng
 * @returns {Point} */
export const pointOf = ({ lat, lng }) => ({ latitude: Number(lat.toFixed(6)), longitude: Number(lng.toFixed(6)) });

/** @param {string} name */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--map-${name}`).trim();

/** How lines and surfaces of the base map are drawn, by `kind`, the lowest first; `px` are the pixels of a metre.
 * @type {Record<string, (px: number, paused: boolean) => object>} */
const STYLES = {
  area: (_, paused) => ({ fillColor: colour(paused ? "paused" : "area"), color: colour(paused ? "halt" : "edge"), weight: paused ? 2.5 : 1.5, fillOpacity: 1, dashArray: "6 5" }),
  water: () => ({ fillColor: colour("water"), fillOpacity: 1, stroke: false }),
  park: () => ({ fillColor: colour("park"), fillOpacity: 1, stroke: false }),
  street: (/** @type {number} */ px) => ({ color: colour("street"), weight: Math.max(1, 11 * px) }),
  avenue: (/** @type {number} */ px) => ({ color: colour("avenue"), weight: Math.max(2.2, 20 * px) }),
};

export class CityMap {
  /** @type {any[]} */
  #base = [];
  #tiles = false;
  /** @type {ResizeObserver} */
  #resizes;
  #centre = L.latLng(0, 0);
  /** @type {Map<string, any>} */
  #things = new Map();
  /** What shall be seen, also once a sheet has taken some of the map. @type {(Point | null | undefined)[]} */
  #looked = [];
  streets = new Streets(null);
  /** Named places of the base map. @type {{name: string, point: Point}[]} */
  places = [];
  /** @type {any[]} */
  areas = [];
  attribution = "";

  /** @param {HTMLElement} element */
  constructor(element) {
    this.leaflet = L.map(element, { zoomControl: false, attributionControl: false, zoomSnap: 0.25 });
    this.leaflet.setView([0, 0], 2);
    L.control.zoom({ position: "topright" }).addTo(this.leaflet);
    // on one canvas, above the tiles and below everything that moves
    this.leaflet.createPane("base").style.zIndex = "250";
    this.canvas = L.canvas({ padding: 0.4, pane: "base" });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.restyle());
    this.leaflet.on("zoomstart", () => element.querySelectorAll(".glides").forEach((each) => each.classList.remove("glides")));
    this.leaflet.on("zoomend", () => {
      this.restyle();
      element.classList.toggle("far", this.leaflet.getZoom() < NAMES_FROM);
    });
    this.#resizes = new ResizeObserver(() => {
      this.leaflet.invalidateSize({ pan: false });
      this.look(this.#looked);
    });
    this.leaflet.on("dragstart", () => (this.#looked = [])); // from then on he looks where he wants
    this.#resizes.observe(element);
  }

  /** The page it is on goes away. */
  close() {
    this.#resizes.disconnect();
    this.leaflet.remove();
    this.#base = [];
  }

  /**
   * Loads what the map stands on, and shows all of it.
   * @param {string} token
   * @param {number} [covered]   pixels at the left that something else lies on
   */
  async load(token, covered = 0) {
    const { areas, tiles, base } = await http("", "/api/map", { token });
    const headers = { Authorization: `Bearer ${token}` };
    const own = base ? await fetch("/api/map/base", { headers }).then((answer) => (answer.ok ? answer.json() : null)) : null;
    this.areas = areas.features.map((/** @type {any} */ area) => ({ ...area, properties: { ...area.properties, kind: "area" } }));
    this.streets = new Streets(own);
    this.#tiles = Boolean(tiles);
    this.#draw([...this.areas, ...(own?.features ?? [])]);
    if (tiles) L.tileLayer(tiles.url, { maxZoom: 19 }).addTo(this.leaflet);
    this.attribution = ["Leaflet", tiles?.attribution].filter(Boolean).join(" · ");
    const shown = own?.features.length ? L.geoJSON(own) : L.geoJSON(areas);
    if (!shown.getBounds().isValid()) return;
    this.#centre = shown.getBounds().getCenter();
    this.leaflet.fitBounds(shown.getBounds(), { animate: false, paddingTopLeft: [covered, 0] });
  }

  /** The place that is nearest to the middle of the city. */
  middle() {
    const far = (/** @type {{point: Point}} */ place) => this.#centre.distanceTo(at(place.point));
    return [...this.places].sort((a, b) => far(a) - far(b))[0] ?? null;
  }

  /** @param {any[]} features */
  #draw(features) {
    const kinds = Object.keys(STYLES);
    const drawn = features.filter(({ properties }) => kinds.includes(properties.kind));
    drawn.sort((a, b) => kinds.indexOf(a.properties.kind) - kinds.indexOf(b.properties.kind));
    this.#base = drawn.map((feature) => {
      const style = () => ({ ...STYLES[feature.properties.kind](this.#pixels(), feature.properties.paused), ...(this.#tiles && { fillOpacity: 0 }) });
      const layer = L.geoJSON(feature, { style, interactive: false, renderer: this.canvas });
      return { layer: layer.addTo(this.leaflet), style };
    });
    for (const { geometry, properties } of features) {
      if (properties.kind !== "place") continue;
      const [lng, lat] = geometry.coordinates;
      this.places.push({ name: properties.name, point: { latitude: lat, longitude: lng } });
      this.mark([lat, lng], el("span", { class: "place", text: properties.name }), { interactive: false, pane: "shadowPane" });
    }
  }

  /** How many pixels a metre has. */
  #pixels() {
    const { lat } = this.leaflet.getCenter();
    return 2 ** this.leaflet.getZoom() / (156_543.034 * Math.cos((lat * Math.PI) / 180));
  }

  restyle() {
    for (const { layer, style } of this.#base) layer.setStyle(style());
  }

  /**
   * An element at a place.
   * @param {LatLng} where
   * @param {Node} content
   * @param {Record<string, any>} options
   */
  mark(where, content, options) {
    const icon = L.divIcon({ className: "mark", iconSize: [0, 0], html: content });
    return L.marker(where, { icon, keyboard: false, ...options }).addTo(this.leaflet);
  }

  /**
   * A pin, one of each name; without a point it goes away.
   * @param {string} name
   * @param {Point | null | undefined} point
   * @param {"pickup" | "dropoff"} kind
   */
  pin(name, point, kind) {
    this.#put(name, point, () => this.mark([0, 0], pinPicture(kind), { interactive: false, zIndexOffset: 200 }));
  }

  /**
   * A vehicle, one of each name.
   * @param {string} name
   * @param {Point | null | undefined} point
   * @param {{kind: "car" | "courier", heading?: number | null, own?: boolean, still?: boolean, options?: object}} how
   *   `still`: it is moved by hand, and does not glide
   */
  vehicle(name, point, { kind, heading, own = false, still = false, options = {} }) {
    const thing = this.#put(name, point, () => {
      const turn = vehiclePicture(kind, own);
      return Object.assign(this.mark([0, 0], turn, { interactive: false, zIndexOffset: 400, ...options }), { turn, heading: 0 });
    });
    if (!thing) return undefined;
    const element = thing.getElement();
    element?.classList.toggle("glides", !still && thing.moved < GLIDE_M && thing.moved > 0);
    if (heading !== null && heading !== undefined) {
      // the short way round: 350 to 10 is 20 degrees
      thing.heading += ((heading - thing.heading + 540) % 360) - 180;
      thing.turn.firstChild.style.transform = `rotate(${thing.heading}deg)`;
    }
    return thing;
  }

  /**
   * A way on the map, one of each name.
   * @param {string} name
   * @param {LatLng[] | null} line
   * @param {"route" | "ahead" | "plan"} kind
   */
  way(name, line, kind) {
    const known = this.#things.get(name);
    if (!line) {
      known?.remove();
      this.#things.delete(name);
    } else if (known) known.setLatLngs(line);
    else this.#things.set(name, L.polyline(line, { className: `way ${kind}`, interactive: false }).addTo(this.leaflet));
  }

  /**
   * @param {string} name
   * @param {Point | null | undefined} point
   * @param {() => any} make
   */
  #put(name, point, make) {
    let thing = this.#things.get(name);
    if (!point) {
      thing?.remove();
      this.#things.delete(name);
      return undefined;
    }
    if (!thing) this.#things.set(name, (thing = make()));
    else thing.moved = this.leaflet.distance(thing.getLatLng(), at(point));
    thing.setLatLng(at(point));
    return thing;
  }

  /**
   * Shows all of these, unless they are in view already.
   * @param {(Point | null | undefined)[]} points
   * @param {boolean} [anyway]
   */
  look(points, anyway = false) {
    this.#looked = points;
    const there = points.filter((point) => point !== null && point !== undefined).map(at);
    if (there.length === 0 || this.leaflet.getSize().x === 0) return;
    const bounds = L.latLngBounds(there);
    if (!anyway && this.#shows(bounds)) return;
    const animate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.leaflet.fitBounds(bounds, { paddingTopLeft: [MARGIN_PX, PIN_PX], paddingBottomRight: [MARGIN_PX, MARGIN_PX], maxZoom: 16, animate });
  }

  /** With the pins that stand on them, and not under the edge of a sheet. @param {any} bounds */
  #shows(bounds) {
    const { x: width, y: height } = this.leaflet.getSize();
    const { min, max } = L.bounds([bounds.getNorthWest(), bounds.getSouthEast()].map((corner) => this.leaflet.latLngToContainerPoint(corner)));
    // a little less than what `look` leaves free: a pin is 40 high, a car is 19 from its middle and a sheet lies on 16
    return min.x > MARGIN_PX / 2 && min.y > PIN_PX - 8 && max.x < width - MARGIN_PX / 2 && max.y < height - MARGIN_PX + 6;
  }
}

/** @param {"pickup" | "dropoff"} kind */
function pinPicture(kind) {
  const inner = kind === "pickup" ? ["circle", { cx: "16", cy: "14", r: "4.5", class: "hole" }] : ["rect", { x: "11.8", y: "9.8", width: "8.4", height: "8.4", rx: "1.4", class: "hole" }];
  const drop = "M16 2.5c6.6 0 11.5 4.9 11.5 11.5C27.5 22 20 29 16 37.5 12 29 4.5 22 4.5 14 4.5 7.4 9.4 2.5 16 2.5Z";
  const picture = el("span", { class: `pin ${kind}` });
  picture.append(drawing(40, [["path", { d: drop, class: "drop" }], /** @type {any} */ (inner)]));
  return picture;
}

/** Seen from above, heading north.
 * @param {"car" | "courier"} kind
 * @param {boolean} own */
function vehiclePicture(kind, own) {
  const picture = el("span", { class: `vehicle ${kind}${own ? " own" : ""}` });
  const car = [
    ["rect", { x: "11.5", y: "5.5", width: "17", height: "29", rx: "6.5", class: "body" }],
    ["path", { d: "M14 15.5c3.5-1.8 8.5-1.8 12 0l-1.3 3.7a16 16 0 0 0-9.4 0L14 15.5Z", class: "glass" }],
    ["path", { d: "M15.2 28.5a16 16 0 0 1 9.6 0l.8 2.3c-3.3 1.3-7.9 1.3-11.2 0l.8-2.3Z", class: "glass" }],
  ];
  const courier = [
    ["path", { d: "M20 4.5 32 32.5 20 27.5 8 32.5 20 4.5Z", class: "body" }],
    ["rect", { x: "16", y: "17.5", width: "8", height: "8", rx: "1.5", class: "glass" }],
  ];
  const shapes = /** @type {any} */ (kind === "car" ? car : courier);
  picture.append(drawing(40, shapes));
  return picture;
}
