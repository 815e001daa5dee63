/**
 * Demand and supply by cell: read every few seconds while it is shown, and explained beside the map. What cannot be read
 * is said so, and never looks like calm.
 */

import { el, show } from "../../ui/dom.mjs";
import { api } from "../api.mjs";
import { count } from "../words.mjs";

const EVERY_MS = 10_000;
const WORDS = { ride: "rides", package: "parcels" };

/** @typedef {{areaId: string, at: string, demand: number, waiting: number, supply: number, factor: number}} Sums */

export class Heat {
  /** @type {any[]} */
  cells = [];
  /** What goes on in each area that somebody has looked at, by its id. @type {Map<string, Sums>} */
  areas = new Map();
  shown = false;
  #turn = 0;
  #note = el("p", { class: "small", role: "status" });
  kind = el("select", { "aria-label": "Heat of", onchange: () => this.read() },
    el("option", { value: "ride", text: "Rides" }), el("option", { value: "package", text: "Parcels" }));
  legend = el("section", { class: "legend", "aria-label": "What the heat means", hidden: true }, this.kind,
    el("ul", { class: "keys" },
      el("li", {}, el("span", { class: "swatch short" }), "More asked for than drivers are free"),
      el("li", {}, el("span", { class: "swatch plenty" }), "Enough drivers are free")),
    el("p", { class: "soft small", text: "The fuller the colour, the more goes on in the cell." }), this.#note);

  /** @param {() => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.timer = setInterval(() => this.read(), EVERY_MS);
  }

  close() {
    clearInterval(this.timer);
    this.#turn += 1;
  }

  /** @param {boolean} shown */
  show(shown) {
    this.shown = shown;
    show(this.legend, shown);
    return this.read();
  }

  async read() {
    const mine = ++this.#turn;
    if (!this.shown) return this.#take([], [], "");
    const kind = this.kind.value;
    try {
      /** @type {Sums[]} */
      const areas = (await api.get("/api/admin/heat", { kind })).data.areas;
      const parts = await Promise.all(areas.map(({ areaId }) => api.get("/api/admin/heat", { area: areaId, kind })));
      if (mine !== this.#turn) return;
      const left = parts.reduce((sum, { data }) => sum + data.left, 0);
      this.#take(areas, parts.flatMap(({ data }) => data.cells), areas.length ? `${told(areas, WORDS[/** @type {keyof typeof WORDS} */ (kind)])}${left ? ` ${count(left)} calmer cells are left out.` : ""}` : "Nobody has looked at demand and supply lately: there is nothing to show.");
    } catch (error) {
      if (mine === this.#turn) this.#take([], [], `The heat cannot be read: ${error.message}`, true);
    }
  }

  /** @param {Sums[]} areas
   * @param {any[]} cells
   * @param {string} note
   * @param {boolean} [failed] */
  #take(areas, cells, note, failed = false) {
    this.cells = cells;
    this.areas = new Map(areas.map((area) => [area.areaId, area]));
    if (this.#note.textContent !== note) this.#note.textContent = note;
    this.#note.classList.toggle("refused", failed);
    this.changed();
  }
}

/** @param {Sums[]} areas
 * @param {string} jobs */
function told(areas, jobs) {
  const sum = (/** @type {(area: Sums) => number} */ of) => count(Math.round(areas.reduce((total, area) => total + of(area), 0)));
  const most = Math.max(...areas.map((area) => area.factor));
  return `${sum((area) => area.waiting)} ${jobs} wait, ${sum((area) => area.demand)} more are expected within 15 minutes, ${sum((area) => area.supply)} drivers are free; ${most > 1 ? `surge up to ${most}` : "no surge"}.`;
}
