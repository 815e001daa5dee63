/**
 * Two apps in one window: side by side, or where that is too narrow behind one another, with a tab for each that says how
 * it goes there, so that nobody misses an offer while he looks at the other.
 */

import { byId, el, say } from "../ui/dom.mjs";

const LOOK_MS = 500;
const frames = /** @type {HTMLIFrameElement[]} */ ([...document.querySelectorAll("iframe")]);
const narrow = matchMedia("(max-width: 760px)");
/** What stands highest of that which is to be seen in an app. */
const NEWS = "#offer:not([hidden]) h2, #live:not([hidden]) #line, #shift:not([hidden]) #line";

const tabs = frames.map((frame) => el("button", { type: "button", role: "tab", "aria-controls": frame.id, onclick: () => show(frame) },
  el("strong", { text: frame.id.charAt(0).toUpperCase() + frame.id.slice(1) }), el("span", { class: "soft small" })));
let shown = frames[0];

/** @param {HTMLIFrameElement} frame */
function show(frame) {
  shown = frame;
  frames.forEach((each, at) => {
    each.classList.toggle("behind", each !== frame);
    tabs[at].setAttribute("aria-selected", String(each === frame));
    tabs[at].tabIndex = each === frame ? 0 : -1;
  });
}

byId("tabs").append(...tabs);
byId("tabs").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
  if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
  const next = (frames.indexOf(shown) + 1) % frames.length; // of two, either way is the other
  show(frames[next]);
  tabs[next].focus();
});
setInterval(() => {
  if (!narrow.matches) return;
  frames.forEach((frame, at) => {
    const news = [...(frame.contentDocument?.querySelectorAll(NEWS) ?? [])];
    say(tabs[at].lastChild, (news.find((line) => line.closest("#offer")) ?? news[0])?.textContent ?? "");
  });
}, LOOK_MS);
show(shown);
