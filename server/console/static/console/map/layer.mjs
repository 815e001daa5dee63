/**
 * Everything that moves, on one canvas over the map: thousands of vehicles are drawn anew in a few milliseconds, where as
 * many elements would take a second. Far away they are dots, nearer shapes that show where they head.
 */

import { mercator, STATES } from "./city.mjs";

/** @typedef {import("./city.mjs").City} City */
/** @typedef {import("./city.mjs").Vehicle} Vehicle */
/** @typedef {import("./city.mjs").Job} Job */

const TILE = 256;
const SHAPES_FROM = 13;
const SHAPES_MAX = 1_500;
const TURNS = 24;
const OLD_MS = 20_000;
const HIT_PX = 14;
const BEFORE_PICKUP = ["assigned", "arrived", "arrived_pickup"];
const WAITING = ["searching", "scheduled"];

export class Layer {
  /** @type {Map<string, {canvas: HTMLCanvasElement, half: number}>} */
  #sprites = new Map();
  /** @type {Map<string, string>} */
  #colours = new Map();
  #dark = matchMedia("(prefers-color-scheme: dark)");
  #repaint = () => {
    this.#sprites.clear();
    this.draw();
  };
  /** Pixels of the screen to one of the page. */
  #ratio = 1;
  #wanted = false;
  #zooming = false;
  /** Which states are shown. @type {Set<number>} */
  states = new Set([0, 1, 2, 3]);
  showJobs = true;
  /** @type {{boundary: [number, number][], demand: number, waiting: number, supply: number, pressure: number}[]} */
  heat = [];
  /** The id of the job or vehicle that is looked at. */
  chosen = "";
  /** The way of the chosen job so far. @type {[number, number][]} */
  trail = [];
  /** Milliseconds that drawing took, of late. @type {number[]} */
  took = [];

  /** @param {any} leaflet
   * @param {City} city */
  constructor(leaflet, city) {
    this.leaflet = leaflet;
    this.city = city;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "city";
    this.canvas.setAttribute("aria-hidden", "true");
    leaflet.getContainer().append(this.canvas);
    this.context = /** @type {CanvasRenderingContext2D} */ (this.canvas.getContext("2d"));
    leaflet.on("move resize zoomend", () => this.draw());
    leaflet.on("zoomstart", () => this.#hide(true));
    leaflet.on("zoomend", () => this.#hide(false));
    this.#dark.addEventListener("change", this.#repaint);
  }

  close() {
    this.#dark.removeEventListener("change", this.#repaint);
    this.canvas.remove();
  }

  /** With the next frame of the screen. */
  draw() {
    if (this.#wanted) return;
    this.#wanted = true;
    requestAnimationFrame(() => {
      this.#wanted = false;
      if (!this.canvas.isConnected || this.#zooming) return;
      const began = performance.now();
      this.paint();
      this.took.push(performance.now() - began);
      if (this.took.length > 1_000) this.took.splice(0, 500);
    });
  }

  /** What lies at a point of the container, in pixels: a vehicle or a job.
   * @param {{x: number, y: number}} point
   * @returns {{vehicle?: Vehicle, job?: Job} | null} */
  find(point) {
    const view = this.#view();
    /** @type {{vehicle?: Vehicle, job?: Job} | null} */
    let best = null;
    let least = HIT_PX;
    const look = (/** @type {number} */ x, /** @type {number} */ y, /** @type {any} */ it) => {
      const away = Math.hypot(x * view.scale - view.left - point.x, y * view.scale - view.top - point.y);
      if (away < least) [least, best] = [away, it];
    };
    if (this.showJobs) for (const job of this.city.jobs.values()) for (const [place] of this.#ends(job)) look(...mercator(...place), { job });
    for (const vehicle of this.city.vehicles.values()) if (this.#shown(vehicle)) look(vehicle.x, vehicle.y, { vehicle });
    return best;
  }

  /** Now, all of it. */
  paint() {
    this.#colours.clear();
    const ratio = devicePixelRatio || 1;
    if (ratio !== this.#ratio) {
      this.#ratio = ratio;
      this.#sprites.clear();
    }
    const { x: width, y: height } = this.leaflet.getSize();
    if (this.canvas.width !== width * ratio || this.canvas.height !== height * ratio) {
      [this.canvas.width, this.canvas.height] = [width * ratio, height * ratio];
      [this.canvas.style.width, this.canvas.style.height] = [`${width}px`, `${height}px`];
    }
    const context = this.context;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    const view = { ...this.#view(), width, height };
    this.#drawHeat(view);
    if (this.showJobs) this.#drawWays(view);
    this.#drawVehicles(view);
    if (this.showJobs) this.#drawEnds(view);
  }

  #view() {
    const { min } = this.leaflet.getPixelBounds();
    return { scale: TILE * 2 ** this.leaflet.getZoom(), left: min.x, top: min.y };
  }

  /** @param {boolean} zooming */
  #hide(zooming) {
    this.#zooming = zooming;
    this.canvas.hidden = zooming;
    if (!zooming) this.draw();
  }

  /** @param {Vehicle} vehicle */
  #shown(vehicle) {
    return vehicle.placed && this.states.has(vehicle.state);
  }

  /** A colour of the page, asked for once a picture. @param {string} name */
  #colour(name) {
    const known = this.#colours.get(name);
    if (known !== undefined) return known;
    const found = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    this.#colours.set(name, found);
    return found;
  }

  /** @param {any} view */
  #drawVehicles(view) {
    const { scale, left, top, width, height } = view;
    /** @type {[Vehicle, number, number][][]} */
    const seen = STATES.map(() => []);
    let count = 0;
    for (const vehicle of this.city.vehicles.values()) {
      if (!this.#shown(vehicle)) continue;
      const x = vehicle.x * scale - left, y = vehicle.y * scale - top;
      if (x < -20 || y < -20 || x > width + 20 || y > height + 20) continue;
      seen[vehicle.state].push([vehicle, x, y]);
      count += 1;
    }
    const shapes = this.leaflet.getZoom() >= SHAPES_FROM && count <= SHAPES_MAX;
    const context = this.context;
    // who waits for an answer, or is lost, lies above the many
    for (const state of [2, 0, 3, 1]) {
      if (!shapes) context.fillStyle = this.#colour(`--city-${STATES[state]}`);
      for (const [vehicle, x, y] of seen[state]) {
        if (vehicle.id === this.chosen) this.#ring(x, y, 15);
        if (!shapes) context.fillRect(Math.round(x - 2.5), Math.round(y - 2.5), 5, 5);
        else {
          context.globalAlpha = this.city.atMs - vehicle.fixMs > OLD_MS ? 0.5 : 1;
          const turn = vehicle.heading < 0 ? -1 : Math.round((vehicle.heading / 360) * TURNS) % TURNS;
          this.#stamp(this.#vehicle(state, turn, vehicle.classes[0] === "parcel"), x, y);
        }
      }
    }
    context.globalAlpha = 1;
  }

  /** A small picture that is drawn once and then stamped, on whole pixels: thousands of paths would take a browser without
   * a graphics card longer than a frame has.
   * @param {string} name
   * @param {number} half   of its side
   * @param {(context: CanvasRenderingContext2D) => void} draw   with the middle at 0, 0 */
  #sprite(name, half, draw) {
    const known = this.#sprites.get(name);
    if (known) return known;
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = Math.ceil(2 * half * this.#ratio);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.scale(this.#ratio, this.#ratio);
    context.translate(half, half);
    draw(context);
    const sprite = { canvas, half };
    this.#sprites.set(name, sprite);
    return sprite;
  }

  /** @param {{canvas: HTMLCanvasElement, half: number}} sprite
   * @param {number} x
   * @param {number} y */
  #stamp({ canvas, half }, x, y) {
    this.context.drawImage(canvas, Math.round(x) - half, Math.round(y) - half, 2 * half, 2 * half);
  }

  /** A vehicle from above.
   * @param {number} state
   * @param {number} turn   -1: nobody knows where it heads
   * @param {boolean} courier */
  #vehicle(state, turn, courier) {
    return this.#sprite(`${state} ${turn} ${courier}`, 13, (context) => this.#drawVehicle(context, state, turn, courier));
  }

  /** @param {CanvasRenderingContext2D} context
   * @param {number} state
   * @param {number} turn
   * @param {boolean} courier */
  #drawVehicle(context, state, turn, courier) {
    context.rotate((Math.max(0, turn) / TURNS) * 2 * Math.PI);
    context.fillStyle = this.#colour(`--city-${STATES[state]}`);
    context.strokeStyle = this.#colour("--card");
    context.lineWidth = 1.8;
    context.beginPath();
    if (turn < 0) {
      if (courier) context.rect(-5, -5, 10, 10);
      else context.arc(0, 0, 5.5, 0, 2 * Math.PI);
    } else if (courier) {
      context.moveTo(0, -9);
      for (const [x, y] of [[7, 7], [0, 4], [-7, 7]]) context.lineTo(x, y);
    } else context.roundRect(-4.5, -8.5, 9, 17, [4.5, 4.5, 3, 3]);
    context.closePath();
    context.stroke();
    context.fill();
    if (turn >= 0 && !courier) {
      context.fillStyle = this.#colour("--card");
      context.globalAlpha = 0.85;
      context.fillRect(-2.8, -4.4, 5.6, 2.8);
    }
  }

  /** @param {any} view
   * @param {[number, number]} place
   * @returns {[number, number]} */
  #at({ scale, left, top }, place) {
    const [x, y] = mercator(...place);
    return [x * scale - left, y * scale - top];
  }

  /** Offers as they fly, who drives where, and the chosen job's whole way. @param {any} view */
  #drawWays(view) {
    const context = this.context;
    /** @type {[number, number][][]} */
    const many = [];
    for (const job of this.city.jobs.values()) {
      const carrier = this.city.carrier(job);
      const chosen = this.#isChosen(job);
      if (chosen) {
        this.#lines([[job.pickup, ...job.stops, job.dropoff].map((place) => this.#at(view, place))], this.#colour("--ink"), 2, [1, 6]);
        this.#lines([this.trail.map((place) => this.#at(view, place))], this.#colour("--map-route"), 4, []);
      }
      if (!carrier?.placed || !(job.offeredTo || job.driverId)) continue;
      const to = !job.driverId || BEFORE_PICKUP.includes(job.state) ? job.pickup : job.dropoff;
      /** @type {[number, number][]} */
      const way = [[carrier.x * view.scale - view.left, carrier.y * view.scale - view.top], this.#at(view, to)];
      if (beside(way, view)) continue;
      if (!job.driverId) this.#lines([way], this.#colour("--city-offered"), 2, [4, 5]);
      else if (chosen) this.#lines([way], this.#colour("--city-busy"), 3, []);
      else many.push(way);
    }
    // hairlines, all at once: wider ones of hundreds of jobs would take longer than everything else
    context.globalAlpha = 0.6;
    this.#lines(many, this.#colour("--city-busy"), 1, []);
    context.globalAlpha = 1;
  }

  /** Whether it, or who carries it, is looked at. @param {Job} job */
  #isChosen(job) {
    return this.chosen !== "" && (job.id === this.chosen || this.city.carrier(job)?.id === this.chosen);
  }

  /** What is drawn of a job: where its driver has to be, and of the chosen one the other end too. Whether it is the
   * dropoff is told with the place. @param {Job} job
   * @returns {[[number, number], boolean][]} */
  #ends(job) {
    const onBoard = job.driverId !== null && !BEFORE_PICKUP.includes(job.state);
    const [next, other] = onBoard ? [job.dropoff, job.pickup] : [job.pickup, job.dropoff];
    return this.#isChosen(job) ? [[other, !onBoard], [next, onBoard]] : [[next, onBoard]];
  }

  /** Where jobs begin and end; who still waits is filled. @param {any} view */
  #drawEnds(view) {
    for (const job of this.city.jobs.values()) {
      const waits = WAITING.includes(job.state) || job.driverId === null;
      const look = job.needsPerson ? "held" : waits ? "waits" : "on";
      for (const [place, dropoff] of this.#ends(job)) {
        const [x, y] = this.#at(view, place);
        if (x < -20 || y < -20 || x > view.width + 20 || y > view.height + 20) continue;
        if (job.id === this.chosen) this.#ring(x, y, 12);
        this.#stamp(this.#sprite(`${look} ${dropoff}`, 8, (context) => this.#drawEnd(context, look, dropoff)), x, y);
      }
    }
  }

  /** @param {CanvasRenderingContext2D} context
   * @param {"held" | "waits" | "on"} look
   * @param {boolean} dropoff */
  #drawEnd(context, look, dropoff) {
    context.fillStyle = this.#colour({ held: "--bad", waits: "--city-offered", on: "--card" }[look]);
    context.strokeStyle = this.#colour(look === "on" ? "--city-busy" : "--card");
    context.lineWidth = 2;
    context.beginPath();
    if (dropoff) context.rect(-4.5, -4.5, 9, 9);
    else context.arc(0, 0, look === "waits" ? 6 : 5, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  }

  /** Warm where more is asked for than anybody is there to take it. @param {any} view */
  #drawHeat(view) {
    const context = this.context;
    for (const { boundary, demand, waiting, supply } of this.heat) {
      const wanted = demand + waiting;
      const share = wanted + supply > 0 ? wanted / (wanted + supply) : 0;
      context.globalAlpha = Math.min(0.5, 0.1 + 0.08 * Math.log2(1 + wanted + supply));
      context.fillStyle = share > 0.5 ? this.#colour("--city-short") : this.#colour("--city-plenty");
      context.beginPath();
      for (const place of boundary) context.lineTo(...this.#at(view, place));
      context.closePath();
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** @param {[number, number][][]} ways
   * @param {string} colour
   * @param {number} width
   * @param {number[]} dashes */
  #lines(ways, colour, width, dashes) {
    const context = this.context;
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.lineCap = width > 1 ? "round" : "butt";
    context.setLineDash(dashes);
    context.beginPath();
    for (const way of ways) for (const [at, [x, y]] of way.entries()) at ? context.lineTo(x, y) : context.moveTo(x, y);
    context.stroke();
    context.setLineDash([]);
  }

  /** @param {number} x
   * @param {number} y
   * @param {number} radius */
  #ring(x, y, radius) {
    const context = this.context;
    context.strokeStyle = this.#colour("--focus");
    context.lineWidth = 2.5;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** Whether all of these lie beyond one and the same edge.
 * @param {[number, number][]} points
 * @param {{width: number, height: number}} view */
function beside(points, { width, height }) {
  const beyond = (/** @type {(point: [number, number]) => boolean} */ edge) => points.every(edge);
  return beyond(([x]) => x < 0) || beyond(([x]) => x > width) || beyond(([, y]) => y < 0) || beyond(([, y]) => y > height);
}
