/**
 * Building pages: elements with text and attributes, never with markup, so that whatever people have typed stays text.
 */

const SVG = "http://www.w3.org/2000/svg";

/** Outlines on a grid of 24. */
const ICONS = {
  car: "M5 16v2.5M19 16v2.5M3.5 12.5 5.4 7.4A2 2 0 0 1 7.3 6h9.4a2 2 0 0 1 1.9 1.4l1.9 5.1M3.5 12.5h17a1 1 0 0 1 1 1V16h-19v-2.5a1 1 0 0 1 1-1ZM6.5 14.2h.01M17.5 14.2h.01",
  box: "M4 8.2 12 4l8 4.2v7.6L12 20l-8-4.2V8.2ZM4 8.2l8 4.1 8-4.1M12 12.3V20M8 6.1l8 4.2",
  person: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20c.8-3.6 3.8-5.5 7.5-5.5s6.7 1.9 7.5 5.5",
  wheel: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 14.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM3.5 10.5c2.5.8 4.5 1.2 6 1M20.5 10.5c-2.5.8-4.5 1.2-6 1M12 14.5V21",
  bike: "M5.5 18.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM18.5 18.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM5.5 15 9 8.5h6l3.5 6.5M9 8.5l3.5 6.5h-7M8 6h2.5M15 8.5 14.2 5.5H17",
  send: "M4 12 20 4l-5 16-3.5-6.5L4 12ZM11.5 13.5 20 4",
  star: "m12 3.6 2.6 5.3 5.9.9-4.3 4.1 1 5.9-5.2-2.8-5.2 2.8 1-5.9L3.5 9.8l5.9-.9L12 3.6Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  cross: "M6 6l12 12M18 6 6 18",
  pin: "M12 21s6.5-6.2 6.5-11A6.5 6.5 0 0 0 5.5 10c0 4.8 6.5 11 6.5 11ZM12 12.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  target: "M12 19a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM12 2v5M12 17v5M2 12h5M17 12h5",
  columns: "M4 5h16v14H4zM12 5v14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM16 16l4.5 4.5",
  pulse: "M3 12h4l3-7 4 14 3-7h4",
  bars: "M5 20V10M12 20V4M19 20v-7",
  mail: "M4 6h16v12H4zM4 7l8 6 8-6",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  clock: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3.5 2",
  play: "M8 5.5v13L18.5 12 8 5.5Z",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  lock: "M6 11h12v9H6zM8.5 11V8a3.5 3.5 0 0 1 7 0v3",
};

/**
 * @param {string} tag
 * @param {Record<string, any>} [props]   `class`, `text`, `on…` a listener, the rest attributes; null and false are left out
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {any}
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/**
 * A picture beside a text; it says nothing to a screen reader.
 * @param {keyof typeof ICONS} name
 */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  for (const [key, value] of Object.entries({ viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" })) svg.setAttribute(key, value);
  return svg;
}

/**
 * Shapes as SVG, for what lies on a map.
 * @param {number} size   of the square that they are drawn in
 * @param {[string, Record<string, string>][]} shapes   tag and attributes
 */
export function drawing(size, shapes) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${size} ${size}`);
  svg.setAttribute("aria-hidden", "true");
  for (const [tag, attributes] of shapes) {
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    svg.append(shape);
  }
  return svg;
}

/** Only where it is another text: what a screen reader has said need not be said again.
 * @param {Element} element
 * @param {string} text */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** @param {{hidden: boolean}} element
 * @param {boolean} shown */
export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

/** @param {string} id */
export const byId = (id) => /** @type {any} */ (document.getElementById(id));

/** @param {{amount: number, currency: string} | undefined} fare   minor units */
export function money(fare) {
  if (!fare) return "";
  const format = new Intl.NumberFormat("en", { style: "currency", currency: fare.currency });
  return format.format(fare.amount / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}

/** @param {number | null | undefined} seconds */
export function minutes(seconds) {
  if (seconds === null || seconds === undefined) return "";
  return seconds < 45 ? "less than a minute" : `${Math.round(seconds / 60)} min`;
}

/** @param {number | undefined} metres */
export function kilometres(metres) {
  if (metres === undefined) return "";
  return metres < 1000 ? `${Math.round(metres / 10) * 10} m` : `${(metres / 1000).toFixed(1)} km`;
}

/** @param {string} iso */
export const clock = (iso) => new Date(iso).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });

/** @param {string} name */
export const initials = (name) => name.split(/\s+/).map((part) => part[0] ?? "").join("").slice(0, 2).toUpperCase();
