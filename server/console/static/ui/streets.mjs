/**
 * The way along the streets of a base map: its lines are the edges of a graph, their points the corners. Without streets
 * the way is a straight line.
 */

/** @typedef {[number, number]} LatLng   degrees */

const METRES_PER_DEGREE = 111_195;
const TURN_M = 60; // a turn is worth this detour: of many ways of one length the straight one is what people drive
const TURN_DEG = 30;

/** Metres between two points of one city.
 * @param {LatLng} a
 * @param {LatLng} b */
export function metres(a, b) {
  const shrink = Math.cos(((a[0] + b[0]) / 2) * (Math.PI / 180));
  return Math.hypot(b[0] - a[0], (b[1] - a[1]) * shrink) * METRES_PER_DEGREE;
}

/** Compass direction from a to b, 0 to 360.
 * @param {LatLng} a
 * @param {LatLng} b */
export function bearing(a, b) {
  const east = (b[1] - a[1]) * Math.cos((a[0] * Math.PI) / 180);
  return ((Math.atan2(east, b[0] - a[0]) * 180) / Math.PI + 360) % 360;
}

export class Streets {
  /** @type {LatLng[]} */
  #corners = [];
  /** @type {[number, number][][]} of each corner the next ones, and how far they are */
  #next = [];
  /** @type {Set<string>[]} the streets that meet there */
  #names = [];

  /** @param {{features: any[]} | null} base   GeoJSON */
  constructor(base) {
    const known = new Map();
    const corner = (/** @type {[number, number]} */ [lng, lat]) => {
      const key = `${lng},${lat}`;
      if (!known.has(key)) {
        known.set(key, this.#corners.push([lat, lng]) - 1);
        this.#next.push([]);
        this.#names.push(new Set());
      }
      return known.get(key);
    };
    for (const { geometry, properties } of base?.features ?? []) {
      if (geometry.type !== "LineString") continue;
      const line = geometry.coordinates.map(corner);
      if (properties.name) for (const at of line) this.#names[at].add(properties.name);
      for (let at = 1; at < line.length; at++) {
        const [a, b] = [line[at - 1], line[at]];
        const far = metres(this.#corners[a], this.#corners[b]);
        this.#next[a].push([b, far]);
        this.#next[b].push([a, far]);
      }
    }
  }

  /**
   * From a to b; both ends are in it.
   * @param {LatLng} a
   * @param {LatLng} b
   * @returns {LatLng[]}
   */
  way(a, b) {
    if (this.#corners.length === 0) return [a, b];
    const [start, goal] = [this.#nearest(a), this.#nearest(b)];
    const before = this.#search(start, goal);
    const corners = [];
    for (let at = /** @type {number | undefined} */ (goal); at !== undefined; at = before.get(at)) corners.unshift(this.#corners[at]);
    const way = corners.length > 0 && corners[0] === this.#corners[start] ? [a, ...corners, b] : [a, b];
    return way.filter((point, at) => at === 0 || metres(point, way[at - 1]) > 1);
  }

  /** What people call this place, or "".
   * @param {LatLng} point */
  address(point) {
    return this.#corners.length === 0 ? "" : [...this.#names[this.#nearest(point)]].slice(0, 2).join(" and ");
  }

  /** @param {LatLng} point */
  #nearest(point) {
    let best = 0;
    let least = Infinity;
    this.#corners.forEach((corner, at) => {
      const far = metres(corner, point);
      if (far < least) [best, least] = [at, far];
    });
    return best;
  }

  /** What a turn costs, in metres.
   * @param {number | undefined} from
   * @param {number} here
   * @param {number} to */
  #turn(from, here, to) {
    if (from === undefined) return 0;
    const [a, b, c] = [from, here, to].map((corner) => this.#corners[corner]);
    return Math.abs(((bearing(b, c) - bearing(a, b) + 540) % 360) - 180) > TURN_DEG ? TURN_M : 0;
  }

  /** A*: of each corner that was reached the one before it.
   * @param {number} start
   * @param {number} goal */
  #search(start, goal) {
    const goalAt = this.#corners[goal];
    /** @type {Map<number, number | undefined>} */
    const before = new Map([[start, undefined]]);
    const far = new Map([[start, 0]]);
    const open = new Map([[start, metres(this.#corners[start], goalAt)]]);
    while (open.size > 0) {
      let here = -1;
      let least = Infinity;
      for (const [corner, estimate] of open) if (estimate < least) [here, least] = [corner, estimate];
      if (here === goal) break;
      open.delete(here);
      for (const [next, edge] of this.#next[here]) {
        const reached = (far.get(here) ?? 0) + edge + this.#turn(before.get(here), here, next);
        if (reached >= (far.get(next) ?? Infinity)) continue;
        far.set(next, reached);
        before.set(next, here);
        open.set(next, reached + metres(this.#corners[next], goalAt));
      }
    }
    return before;
  }
}
