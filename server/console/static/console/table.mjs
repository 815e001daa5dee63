/**
 * A page that is a table: searched, filtered, older rows on demand, a story for each row with what can be done.
 */

import { byId, el, icon, say, show } from "../ui/dom.mjs";
import { api } from "./api.mjs";
import { button } from "./ask.mjs";

const TYPED_MS = 250;
const DRAINED_MS = 1_500; // what was done shows in history once the drain has carried it
const LIMIT = 50;

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {(row: any) => any} cell      text or an element
 * @property {string} [class]
 *
 * @typedef {object} Filter
 * @property {string} name                 of the query
 * @property {string} title
 * @property {[string, string][]} options  value and word; the first is "any"
 *
 * @typedef {object} Table
 * @property {string} title
 * @property {string} lead
 * @property {string} path
 * @property {string} searched              what can be searched for
 * @property {Filter[]} filters
 * @property {Column[]} columns             the first is the row's name, and opens its story
 * @property {string} empty                 what it says when there is nothing
 * @property {(row: any) => {title: string, facts: [string, any][], more?: any, actions: import("./ask.mjs").Action[]}} [story]
 * @property {(row: any) => string} [link]  where a row leads instead of to a story
 * @property {(query: Record<string, string>) => [string, Record<string, string>]} [asks]  path and query where `path` is not all
 */

/** Whether he asks for another window. @param {MouseEvent} event */
const elsewhere = (event) => event.ctrlKey || event.metaKey || event.shiftKey;

/** By area; where nobody says which there are, there is nothing to choose from.
 * @returns {Promise<Filter>} */
export async function areaFilter() {
  const areas = await api.get("/api/admin/areas").then((said) => said.data, () => []);
  return { name: "area", title: "Area", options: [["", "Any area"], ...areas.map((/** @type {any} */ area) => /** @type {[string, string]} */ ([area.id, area.name]))] };
}

/**
 * @param {HTMLElement} root
 * @param {Table} table
 */
export async function open(root, table) {
  const address = new URLSearchParams(location.search);
  const search = el("input", { type: "search", id: "q", value: address.get("q") ?? "", placeholder: table.searched, maxlength: "100", "aria-label": `Search ${table.title.toLowerCase()}` });
  const filters = table.filters.map((filter) => {
    const select = el("select", { name: filter.name, "aria-label": filter.title }, ...filter.options.map(([value, text]) => el("option", { value, text })));
    select.value = address.get(filter.name) ?? "";
    return select;
  });
  const body = el("tbody", {});
  const note = el("p", { class: "note soft", role: "status" });
  const older = el("button", { class: "button", type: "button", text: "Older", hidden: true });
  root.append(
    el("header", { class: "head" }, el("div", {}, el("h1", { text: table.title }), el("p", { class: "soft", text: table.lead })),
      el("button", { class: "button small", type: "button", id: "refresh", text: "Refresh", onclick: () => load() })),
    el("div", { class: "tools", role: "search" }, el("span", { class: "search" }, icon("search"), search), ...filters),
    el("div", { class: "card" },
      el("table", {}, el("thead", {}, el("tr", {}, ...table.columns.map((column) => el("th", { scope: "col", class: column.class, text: column.title })))), body),
      note, el("p", { class: "older" }, older)),
  );
  let cursor = "";
  let drained = 0;
  let turn = 0;

  async function load(more = false) {
    const mine = ++turn;
    const query = { q: search.value.trim(), ...Object.fromEntries(filters.map((select) => [select.name, select.value])) };
    const kept = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
    history.replaceState(null, "", kept.size ? `${location.pathname}?${kept}` : location.pathname);
    try {
      const [path, asked] = table.asks?.(query) ?? [table.path, query];
      const page = await api.get(path, { ...asked, limit: LIMIT, cursor: more ? cursor : "" });
      if (mine !== turn) return;
      const rows = page.data.map((/** @type {any} */ row) => line(row));
      if (more) body.append(...rows);
      else body.replaceChildren(...rows);
      cursor = page.pagination?.nextCursor ?? "";
      show(older, Boolean(cursor));
      say(note, body.children.length ? "" : kept.size ? "Nothing that fits. Search for less, or take a filter away." : table.empty);
    } catch (error) {
      if (mine === turn) say(note, error.message);
    }
  }

  /** @param {any} row */
  function line(row) {
    const cells = table.columns.map((column, at) => {
      const content = column.cell(row);
      if (at > 0) return el("td", { class: column.class, "data-title": column.title }, content);
      return el("th", { scope: "row", class: column.class }, opener(row, content));
    });
    const line = el("tr", { "data-id": row.id, class: "leads" }, ...cells);
    const opens = line.querySelector(".opens");
    // the whole row is as good as its link: but not for who clicks another link in it, or marks text to copy it
    const other = (/** @type {MouseEvent} */ event) => /** @type {Element} */ (event.target).closest("a, button") !== null || String(getSelection()) !== "";
    line.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      if (other(event)) return;
      if (elsewhere(event)) window.open(opens.href);
      else opens.click();
    });
    line.addEventListener("auxclick", (/** @type {MouseEvent} */ event) => {
      if (event.button === 1 && !other(event)) window.open(opens.href);
    });
    return line;
  }

  /** The link in the first cell; in a window of its own it finds the row alone.
   * @param {any} row
   * @param {any} content */
  function opener(row, content) {
    if (table.link) return el("a", { class: "opens", href: table.link(row) }, content);
    return el("a", { class: "opens", href: `${location.pathname}?q=${encodeURIComponent(row.id)}`, "aria-haspopup": "dialog", onclick: (/** @type {MouseEvent} */ event) => {
      if (elsewhere(event)) return;
      event.preventDefault();
      tell(row);
    } }, content);
  }

  /** @param {any} row */
  function tell(row) {
    const dialog = byId("story");
    const told = table.story?.(row) ?? { title: "", facts: [], actions: [] };
    const after = () => {
      dialog.close();
      load();
      clearTimeout(drained);
      drained = setTimeout(load, DRAINED_MS);
    };
    dialog.replaceChildren(
      el("header", {}, el("h2", { id: "storyTitle", text: told.title }),
        el("button", { class: "button bare", type: "button", "aria-label": "Close", onclick: () => dialog.close() }, icon("cross"))),
      el("dl", {}, ...told.facts.filter(([, value]) => value !== null && value !== undefined && value !== "").flatMap(([name, value]) => [el("dt", { text: name }), el("dd", {}, value)])),
      told.more ?? "",
      told.actions.length > 0 && el("p", { class: "actions" }, ...told.actions.map((action) => button(action, after))),
    );
    if (!dialog.open) dialog.showModal();
  }

  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(load, TYPED_MS);
  });
  for (const select of filters) select.addEventListener("change", () => load());
  older.addEventListener("click", () => load(true));
  await load();
  return () => {
    turn += 1;
    clearTimeout(typing);
    clearTimeout(drained);
  };
}
