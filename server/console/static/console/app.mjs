/**
 * The console's shell: who is logged in, which page is shown. A page is a module with a `title` and `open(root)`, which
 * fills the element and may give back what ends it; it has the whole address, so that a search is a link.
 */

import { byId, el, icon, say, show } from "../ui/dom.mjs";
import { api } from "./api.mjs";

/** @typedef {{title: string, open: (root: HTMLElement) => Promise<void | (() => void)> | void | (() => void)}} Page */

/** @type {Record<string, {name: string, icon: any, group: string, load: () => Promise<Page>}>} */
const PAGES = {
  map: { name: "Live map", icon: "target", group: "City", load: () => import("./pages/map.mjs") },
  health: { name: "Health", icon: "pulse", group: "City", load: () => import("./pages/health.mjs") },
  figures: { name: "Figures", icon: "bars", group: "City", load: () => import("./pages/figures.mjs") },
  rides: { name: "Rides", icon: "car", group: "Work", load: () => import("./pages/rides.mjs") },
  packages: { name: "Parcels", icon: "box", group: "Work", load: () => import("./pages/packages.mjs") },
  replay: { name: "Replay", icon: "clock", group: "Work", load: () => import("./pages/replay.mjs") },
  drivers: { name: "Drivers", icon: "wheel", group: "Work", load: () => import("./pages/drivers.mjs") },
  users: { name: "People", icon: "person", group: "Work", load: () => import("./pages/users.mjs") },
  areas: { name: "Areas", icon: "pin", group: "Rules", load: () => import("./pages/areas.mjs") },
  letters: { name: "Dead letters", icon: "mail", group: "Rules", load: () => import("./pages/letters.mjs") },
  audit: { name: "Audit log", icon: "list", group: "Rules", load: () => import("./pages/audit.mjs") },
};
const FIRST = "map";

/** @type {() => void} */
let close = () => {};
let turn = 0;

function nav() {
  const groups = [...new Set(Object.values(PAGES).map((page) => page.group))];
  byId("nav").replaceChildren(
    ...groups.map((group) =>
      el("ul", { "aria-label": group },
        ...Object.entries(PAGES).filter(([, page]) => page.group === group).map(([id, page]) =>
          el("li", {}, el("a", { href: `/console/${id}`, "data-page": id }, icon(page.icon), el("span", { text: page.name }))))),
    ),
  );
}

const asked = () => {
  const id = location.pathname.split("/")[2] ?? "";
  return id === "" ? FIRST : id;
};

/** What a wrong address shows. @type {Page} */
const NOWHERE = {
  title: "There is no such page",
  open: (root) => root.append(el("header", { class: "head" }, el("div", {}, el("h1", { text: NOWHERE.title }),
    el("p", { class: "soft" }, "Choose one at the side, or look at the ", el("a", { href: "/console/map", text: "live map" }), ".")))),
};

async function open() {
  const mine = ++turn;
  close();
  close = () => {};
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  const id = asked();
  for (const link of document.querySelectorAll("#nav a")) {
    if (link.getAttribute("data-page") === id) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "center" });
    } else link.removeAttribute("aria-current");
  }
  const page = Object.hasOwn(PAGES, id) ? await PAGES[id].load() : NOWHERE;
  if (mine !== turn) return;
  document.title = `${page.title} · ARYV console`;
  const root = el("div", { class: "page" });
  byId("page").replaceChildren(root);
  const ended = await page.open(root);
  if (mine === turn) close = ended ?? (() => {});
  else ended?.();
}

/** @param {string} path */
export function go(path) {
  history.pushState(null, "", path);
  byId("page").focus({ preventScroll: true });
  open();
}

/** @param {string} [why]   the login is asked for */
function enter(why = "") {
  const inside = api.login !== null;
  show(byId("login"), !inside);
  show(byId("shell"), inside);
  if (!inside) {
    close();
    close = () => {};
    byId("page").replaceChildren();
    for (const dialog of document.querySelectorAll("dialog")) dialog.close();
    document.title = "ARYV console";
    say(byId("loginRefused"), why);
    show(byId("loginRefused"), why !== "");
    byId("email").focus();
    return;
  }
  say(byId("who"), `${api.login?.user.firstName} ${api.login?.user.lastName}`);
  open();
}

document.addEventListener("click", (event) => {
  const link = /** @type {HTMLElement} */ (event.target).closest?.("a");
  const path = link?.getAttribute("href") ?? "";
  if (event.defaultPrevented || !path.startsWith("/console") || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  go(path);
});
addEventListener("popstate", open);
byId("logout").addEventListener("click", () => api.logOut());
byId("login").addEventListener("submit", async (/** @type {Event} */ event) => {
  event.preventDefault();
  show(byId("loginRefused"), false);
  try {
    await api.enter(byId("email").value, byId("password").value);
    byId("password").value = "";
    enter();
  } catch (error) {
    say(byId("loginRefused"), error.message);
    show(byId("loginRefused"), true);
  }
});
api.ended = enter;
nav();
if (!api.login) await api.share();
enter();
