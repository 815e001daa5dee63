/**
 * Bars and lines over hours, or other moments, as plain SVG: a title, the figure of each hour on pointing at it, and a sentence for whoever
 * does not see it.
 */

import { el } from "../ui/dom.mjs";

const SVG = "http://www.w3.org/2000/svg";
const DOTS_MAX = 24;
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [640, 200, 58, 24, 12];

/** @param {string} tag
 * @param {Record<string, string | number>} attributes
 * @param {string} [text] */
function shape(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A round number not below it, whose half is round as well. @param {number} value */
export function ceiling(value) {
  if (value <= 2) return 2;
  const power = 10 ** Math.floor(Math.log10(value));
  return ([1, 2, 4, 6, 8, 10].find((step) => step * power >= value) ?? 10) * power;
}

/**
 * @typedef {object} Series
 * @property {string} name
 * @property {string} class     of its colour
 * @property {(number | null)[]} values   one an hour
 *
 * @param {{title: string, hours: Date[], series: Series[], format: (n: number) => string, total: string, line?: boolean, label?: (at: Date) => string}} chart
 */
export function chart({ title, hours, series, format, total, line = false, label = hourly(hours.length) }) {
  const top = ceiling(Math.max(0, ...series.flatMap((one) => one.values.map((value) => value ?? 0))));
  const across = (WIDTH - LEFT) / hours.length;
  const y = (/** @type {number} */ value) => HEIGHT - BOTTOM - (value / top) * (HEIGHT - BOTTOM - TOP);
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "plot" });
  svg.setAttribute("aria-label", `${title}: ${total}`);
  for (const share of [0, 0.5, 1]) {
    svg.append(shape("line", { x1: LEFT, x2: WIDTH, y1: y(top * share), y2: y(top * share), class: "rule" }));
    svg.append(shape("text", { x: LEFT - 8, y: y(top * share) + 4, class: "tick", "text-anchor": "end" }, format(top * share)));
  }
  const every = Math.ceil(hours.length / 6);
  hours.forEach((hour, at) => {
    if (at % every === 0) svg.append(shape("text", { x: LEFT + at * across, y: HEIGHT - 6, class: "tick" }, label(hour)));
  });
  for (const one of series) svg.append(...(line ? points(one, across, y) : bars(one, across, y)));
  hours.forEach((hour, at) => {
    const over = shape("rect", { x: LEFT + at * across, y: TOP, width: across, height: HEIGHT - BOTTOM - TOP, class: "over" });
    const said = series.map((one) => `${one.name}: ${one.values[at] === null ? "–" : format(/** @type {number} */ (one.values[at]))}`).join("\n");
    over.append(shape("title", {}, `${hour.toLocaleString("en-GB", { weekday: "short", hour: "2-digit", minute: "2-digit" })}\n${said}`));
    svg.append(over);
  });
  const keys = series.length > 1 && el("span", { class: "keys" }, ...series.map((one) => el("span", { class: `key ${one.class}`, text: one.name })));
  return el("figure", { class: "card chart" }, el("figcaption", {}, el("h2", { text: title }), el("p", { class: "number total", text: total }), keys), svg);
}

/** @param {Series} one
 * @param {number} across
 * @param {(value: number) => number} y */
function bars(one, across, y) {
  const gap = Math.min(3, across * 0.2);
  return one.values.map((value, at) =>
    shape("rect", { x: LEFT + at * across + gap / 2, width: Math.max(1, across - gap), y: y(value ?? 0), height: y(0) - y(value ?? 0), rx: Math.min(3, across / 4), class: `bar ${one.class}` }));
}

/** @param {Series} one
 * @param {number} across
 * @param {(value: number) => number} y */
function points(one, across, y) {
  const known = one.values.flatMap((value, at) => (value === null ? [] : [{ x: LEFT + (at + 0.5) * across, y: y(value) }]));
  if (known.length === 0) return [];
  const path = known.map((point, at) => `${at ? "L" : "M"}${point.x.toFixed(1)} ${point.y.toFixed(1)}`).join("");
  const [first, last] = [known[0], known[known.length - 1]];
  const area = `${path}L${last.x.toFixed(1)} ${y(0)}L${first.x.toFixed(1)} ${y(0)}Z`;
  // many points would be a string of beads: the last one is enough
  const dots = (known.length > DOTS_MAX ? [last] : known).map((point) => shape("circle", { cx: point.x, cy: point.y, r: 3, class: `dot ${one.class}` }));
  return [shape("path", { d: area, class: `area ${one.class}` }), shape("path", { d: path, class: `path ${one.class}` }), ...dots];
}

/** @param {number} hours */
const hourly = (hours) => (/** @type {Date} */ hour) => hour.toLocaleString("en-GB", hours > 48 ? { weekday: "short", day: "numeric" } : { hour: "2-digit", minute: "2-digit" });
